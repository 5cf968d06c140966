//! The figures for people and for machines.

use anyhow::Context as _;
use serde::Serialize;

use super::reference::{Better, Measured, Row, row};

/// One line for machines.
#[derive(Serialize)]
struct Line<'a> {
    key: &'a str,
    what: &'a str,
    unit: &'a str,
    value: Option<f64>,
    must: Option<f64>,
    goal: Option<f64>,
    peer: Option<f64>,
    /// How many times better than the peer; below 1: worse.
    times_better: Option<f64>,
    verdict: &'a str,
    note: Option<&'a str>,
    broken: Option<&'a str>,
}

/// A JSON object with the machine and a list of figures.
pub fn json(measured: &[Measured]) -> anyhow::Result<String> {
    let lines: Vec<Line<'_>> = measured.iter().filter_map(line).collect();
    let document = serde_json::json!({"machine": machine(), "figures": lines});
    serde_json::to_string_pretty(&document).context("writing JSON")
}

fn line(figure: &Measured) -> Option<Line<'_>> {
    let row = row(figure.key)?;
    Some(Line {
        key: row.key,
        what: row.what,
        unit: row.unit,
        value: figure.value,
        must: row.must,
        goal: row.goal,
        peer: row.peer,
        times_better: figure.value.and_then(|value| times_better(row, value)),
        verdict: verdict(row, figure.value),
        note: figure.note.as_deref(),
        broken: figure.broken.as_deref(),
    })
}

/// A table in Markdown, so that it can be kept as it is.
pub fn text(measured: &[Measured]) -> String {
    let none = || "–".to_owned();
    let heads = ["measure", "livery", "must", "goal", "verdict", "peer", "times better"];
    let mut rows = vec![heads.map(str::to_owned)];
    for figure in measured {
        let Some(line) = line(figure) else { continue };
        let with_unit = |value: Option<f64>| value.map_or_else(none, |value| format!("{} {}", short(value), line.unit));
        rows.push([
            line.what.to_owned(),
            with_unit(line.value),
            line.must.map_or_else(none, short),
            line.goal.map_or_else(none, short),
            line.verdict.to_owned(),
            with_unit(line.peer),
            line.times_better.map_or_else(none, |times| format!("{}×", short(times))),
        ]);
    }
    let mut text = format!("{}\n\n{}", machine(), markdown(&rows));
    for figure in measured {
        for (label, words) in [("note", &figure.note), ("BROKEN", &figure.broken)] {
            if let Some(words) = words {
                text.push_str(&format!("\n{label}: {}: {words}", row(figure.key).map_or(figure.key, |row| row.what)));
            }
        }
        if let Some(Row { peer_note, what, .. }) = row(figure.key).filter(|row| !row.peer_note.is_empty()) {
            text.push_str(&format!("\npeer: {what}: {peer_note}"));
        }
    }
    text.push_str(
        "\nThe peer was measured elsewhere, on a machine of the same size: an order of magnitude, not a quotation.",
    );
    text
}

fn markdown(rows: &[[String; 7]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(widths) {
            text.push_str(&format!("| {cell:<width$} "));
        }
        text.push_str("|\n");
        if index == 0 {
            let dashes = widths.map(|width| "-".repeat(width + 2)).join("|");
            text.push_str(&format!("|{dashes}|\n"));
        }
    }
    text
}

/// Three significant digits, and whole numbers from a hundred on.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || size.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn times_better(row: &Row, value: f64) -> Option<f64> {
    let peer = row.peer?;
    let (better, worse) = match row.better {
        Better::Lower => (value, peer),
        Better::Higher => (peer, value),
    };
    (better > 0.0).then_some(worse / better)
}

fn verdict(row: &Row, value: Option<f64>) -> &'static str {
    let Some(value) = value else { return "not taken" };
    let reaches = |aim: f64| match row.better {
        Better::Lower => value <= aim,
        Better::Higher => value >= aim,
    };
    match (row.must, row.goal) {
        (_, Some(goal)) if reaches(goal) => "goal",
        (Some(must), _) if reaches(must) => "must",
        (Some(_), _) => "MISSED",
        _ => "–",
    }
}

/// The processor, cores, memory and kernel the figures belong to.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let after = |text: &str, name: &str| -> Option<String> {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let model = after(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let memory = after(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{model}, {cores} cores, {memory}, Linux {}", kernel.trim())
}

#[cfg(test)]
mod tests;
