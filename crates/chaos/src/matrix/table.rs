//! The published table: made from the results, and checked against the code's list.

use livery_platform::effects::{EffectKind, Phase};

use super::{Cell, Engine, Results, Verdict};

/// Where it is published, from the repository's root.
pub const PAGE: &str = "docs/crash-matrix.md";

const HEAD: &str = "# The crash matrix

For every effect in Livery's own list (`livery_platform::effects`), the process is killed with SIGKILL at every moment around
it, started again on the same data, and the run has to end as the one nobody killed: same status, same output, the model asked
equally often, one run for one request, a log without gaps and doubles with one end, every webhook delivered under one id and in
order, and no process, mount, control group or workspace left. What runs reach through connections (an API, a mail server, a
database) runs outside the killed process and counts by itself: nothing is lost, nothing is done twice, nobody is asked twice. This page is written by `cargo xtask chaos --only matrix --write`;
[chaos.md](chaos.md) says how to run it.

The moments: **before_intent**, decided and nothing written; **before**, the intent is in the log and nothing is begun;
**during**, begun; **after**, done and the result not written; **committed**, the result is written and nothing that follows is
begun. A dash: no moment of its own. \"Never repeated\" means that the model is told `outcome unknown` when the effect was
interrupted, and decides itself.
";

/// The page.
pub fn page(results: &Results) -> String {
    let mut page = HEAD.to_owned();
    for engine in Engine::ALL {
        page.push_str(&format!("\n## {}\n\n", title(*engine)));
        page.push_str("| effect | interrupted, it is |");
        for phase in Phase::ALL {
            page.push_str(&format!(" {phase} |"));
        }
        page.push_str(&format!("\n|---|---|{}\n", "---|".repeat(Phase::ALL.len())));
        for effect in EffectKind::ALL {
            page.push_str(&line(*engine, *effect, results));
        }
    }
    page
}

const fn title(engine: Engine) -> &'static str {
    match engine {
        Engine::Sqlite => "SQLite",
        Engine::Postgres => "Postgres",
    }
}

fn line(engine: Engine, effect: EffectKind, results: &Results) -> String {
    let mut line = format!("| `{effect}` | {} |", effect.recovery().words());
    for phase in Phase::ALL {
        let cell = Cell { engine, effect, phase: *phase };
        let word = match results.iter().find(|(known, _)| *known == cell).map(|(_, verdict)| verdict) {
            _ if !effect.phases().contains(phase) => "–",
            Some(Verdict::Passed) => "ends as it would have",
            Some(Verdict::Failed(_)) => "**fails**",
            Some(Verdict::Skipped(_)) | None => "not run",
        };
        line.push_str(&format!(" {word} |"));
    }
    line.push('\n');
    line
}

/// What of the list a page lacks or has too much, by engine.
pub fn differences(page: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for engine in Engine::ALL {
        let part = page.split("\n## ").find(|part| part.starts_with(title(*engine))).unwrap_or_default();
        let lines: Vec<&str> = part.lines().filter(|line| line.starts_with("| `")).collect();
        for effect in EffectKind::ALL {
            let start = format!("| `{effect}` |");
            let Some(line) = lines.iter().find(|line| line.starts_with(&start)) else {
                wrong.push(format!("{}: no line for {effect}", title(*engine)));
                continue;
            };
            let cells: Vec<&str> = line.split('|').skip(3).map(str::trim).collect();
            for (phase, cell) in Phase::ALL.iter().zip(cells) {
                if (cell == "–") == effect.phases().contains(phase) {
                    wrong.push(format!("{}: {effect} {phase} is {cell:?}", title(*engine)));
                }
            }
        }
        if lines.len() != EffectKind::ALL.len() {
            wrong.push(format!("{}: {} lines for {} effects", title(*engine), lines.len(), EffectKind::ALL.len()));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::{differences, page};

    #[test]
    fn a_page_of_the_list_differs_in_nothing_and_another_does() {
        let good = page(&Vec::new());
        assert_eq!(differences(&good), Vec::<String>::new());
        assert!(!differences(&good.replace("| `shell` |", "| `shall` |")).is_empty());
        let with_phase =
            good.replacen("| `finish` | repeated, which does no harm | – |", "| `finish` | x | not run |", 1);
        assert!(!differences(&with_phase).is_empty());
    }

    #[test]
    fn the_published_page_has_the_lists_effects() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/crash-matrix.md");
        let page = std::fs::read_to_string(path).unwrap();
        assert_eq!(differences(&page), Vec::<String>::new(), "run `cargo xtask chaos --only matrix --write`");
    }
}
