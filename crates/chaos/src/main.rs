//! The program behind `cargo xtask chaos`, which builds the binaries it kills.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use livery_chaos::matrix::{self, Engine, Results, Verdict, table};

/// Kill Livery in every way and see that nothing is lost.
#[derive(Debug, Parser)]
struct Arguments {
    /// A debug build of `livery`: only that can be told where to die.
    #[arg(long, value_name = "FILE")]
    binary: PathBuf,
    /// A release build, when there is one: nothing of the planned deaths may be in it.
    #[arg(long, value_name = "FILE")]
    release_binary: Option<PathBuf>,
    /// Only a part of it.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Only cells whose name contains this, such as `sqlite-shell`.
    #[arg(long, value_name = "TEXT", default_value = "")]
    cells: String,
    /// Leave the data directories and logs of cells that failed, and say where.
    #[arg(long)]
    keep: bool,
    /// Write the crash matrix to its page.
    #[arg(long)]
    write: bool,
}

/// A part of the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Every effect, every phase.
    Matrix,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let count = runtime.block_on(all(&arguments))?;
    say(&format!("{} passed, {} failed, {} skipped", count.passed, count.failed, count.skipped));
    Ok(if count.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The three numbers of the last line.
#[derive(Debug, Default)]
struct Count {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Count {
    fn add(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Failed(_) => self.failed += 1,
            Verdict::Skipped(_) => self.skipped += 1,
        }
    }
}

async fn all(arguments: &Arguments) -> anyhow::Result<Count> {
    let (home, work) = matrix::work_folder()?;
    let mut count = Count::default();
    if arguments.only.is_none() {
        count.add(&no_deaths_in_release(arguments)?);
    }
    let results = crash_matrix(arguments, &work).await?;
    results.iter().for_each(|(_, verdict)| count.add(verdict));
    if arguments.keep {
        say(&format!("what is left of it is in {}", home.keep().display()));
    }
    Ok(count)
}

/// The word that plans a death is in the debug build, where the search finds it, and not in the release build.
fn no_deaths_in_release(arguments: &Arguments) -> anyhow::Result<Verdict> {
    const WORD: &[u8] = b"LIVERY_CRASH_AT";
    let has_word = |path: &std::path::Path| -> anyhow::Result<bool> {
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        Ok(bytes.windows(WORD.len()).any(|window| window == WORD))
    };
    let Some(release) = &arguments.release_binary else {
        say("SKIPPED: no release build to search for planned deaths");
        return Ok(Verdict::Skipped("no release build".to_owned()));
    };
    let clean = has_word(&arguments.binary)? && !has_word(release)?;
    say(&format!("{} the release build cannot be told to die", if clean { "ok     " } else { "FAILED " }));
    Ok(if clean { Verdict::Passed } else { Verdict::Failed(vec!["the release build knows planned deaths".to_owned()]) })
}

async fn crash_matrix(arguments: &Arguments, work: &std::path::Path) -> anyhow::Result<Results> {
    let cells = Engine::ALL.iter().flat_map(|engine| matrix::cells(*engine));
    let cells: Vec<_> = cells.filter(|cell| cell.name().contains(&arguments.cells)).collect();
    say(&format!("the crash matrix: {} cells", cells.len()));
    let results = matrix::run(&arguments.binary, work, &cells, arguments.keep, say).await?;
    if arguments.write {
        anyhow::ensure!(arguments.cells.is_empty(), "a part of the matrix is not published");
        std::fs::write(table::PAGE, table::page(&results)).with_context(|| format!("writing {}", table::PAGE))?;
    }
    Ok(results)
}

#[expect(clippy::print_stdout, reason = "a program that reports")]
fn say(line: &str) {
    println!("{line}");
}
