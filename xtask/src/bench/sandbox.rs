//! Cold starts of a sandbox, without the platform: the sandbox crate's own example measures, this reads its numbers.

use anyhow::Context as _;
use serde_json::Value;

use super::{Figures, progress};

/// Sandboxes that are started; the issue of a percentile needs many.
const ROUNDS: usize = 200;

/// Adds min, median and p99; a host that cannot is said in a note.
pub fn cold_starts(quick: bool, figures: &mut Figures) {
    progress("cold starts of a sandbox");
    let rounds = if quick { 50 } else { ROUNDS };
    let keys = ["sandbox_min_ms", "sandbox_median_ms", "sandbox_p99_ms"];
    match measure(rounds) {
        Ok(times) => {
            for (key, share) in keys.into_iter().zip([0.0, 0.5, 0.99]) {
                figures.add(key, super::load::percentile(&times, share));
            }
        }
        Err(error) => keys.into_iter().for_each(|key| figures.absent(key, format!("{error:#}"))),
    }
}

/// Milliseconds of each round, sorted: the example prints `{"create_ms": [..]}` as its last line.
fn measure(rounds: usize) -> anyhow::Result<Vec<f64>> {
    let output = crate::root::cargo()
        .args(["run", "--release", "--quiet", "--package", "livery-sandbox", "--example", "cold_start", "--"])
        .arg(rounds.to_string())
        .output()
        .context("cannot start cargo")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{}", errors.lines().last().unwrap_or("the example failed"));
    let line = text.lines().last().context("the example printed nothing")?;
    let document: Value = serde_json::from_str(line).context("the example's last line")?;
    let times = document["create_ms"].as_array().context("no create_ms")?;
    let mut times: Vec<f64> = times.iter().filter_map(Value::as_f64).collect();
    anyhow::ensure!(times.len() >= rounds, "{} of {rounds} rounds were measured", times.len());
    times.sort_by(f64::total_cmp);
    Ok(times)
}
