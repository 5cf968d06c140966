//! The program behind `cargo xtask chaos`, which builds the binaries it kills.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use livery_chaos::matrix::{self, Engine, Results, Verdict, table};
use livery_chaos::node::{Keeper, knows_flag};
use livery_chaos::run;
use livery_testkit::Postgres;

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
    /// How long the chaos run sends runs and breaks things.
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// How many runs it sends.
    #[arg(long, default_value_t = 1000)]
    runs: usize,
    /// What its schedule is drawn from; a new one when nothing is said, and printed either way.
    #[arg(long)]
    seed: Option<u64>,
    /// How many nodes it has.
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// On what the chaos run works: several nodes on Postgres, or one on SQLite.
    #[arg(long, value_enum, default_value = "postgres")]
    engine: On,
    /// Leave the data directories and logs of cells that failed, and say where.
    #[arg(long)]
    keep: bool,
    /// Start a Postgres server, print the address of an empty database, and hold it until standard input ends.
    #[arg(long)]
    hold_postgres: bool,
    /// Write the crash matrix to its page.
    #[arg(long)]
    write: bool,
}

/// A part of the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Every effect, every phase.
    Matrix,
    /// Nodes killed and paused, the database restarted, at random.
    Run,
}

/// An engine, on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum On {
    /// One node.
    Sqlite,
    /// Several.
    Postgres,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.hold_postgres {
        return hold_postgres();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let count = runtime.block_on(all(&arguments))?;
    say(&format!("{} passed, {} failed, {} skipped", count.passed, count.failed, count.skipped));
    Ok(if count.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// For `cargo xtask bench`, which has no database of its own.
fn hold_postgres() -> anyhow::Result<ExitCode> {
    let postgres = Postgres::start()?;
    say(&postgres.create_database("livery")?);
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    drop(postgres);
    Ok(ExitCode::SUCCESS)
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
    if arguments.only != Some(Part::Run) {
        let results = crash_matrix(arguments, &work).await?;
        results.iter().for_each(|(_, verdict)| count.add(verdict));
    }
    if arguments.only != Some(Part::Matrix) {
        chaos_run(arguments, &work, &mut count).await?;
    }
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

async fn chaos_run(arguments: &Arguments, work: &std::path::Path, count: &mut Count) -> anyhow::Result<()> {
    let engine = if arguments.engine == On::Sqlite { Engine::Sqlite } else { Engine::Postgres };
    let options = run::Options {
        // What ships, when it is there.
        binary: arguments.release_binary.clone().unwrap_or_else(|| arguments.binary.clone()),
        length: Duration::from_secs_f64(arguments.minutes * 60.0),
        runs: arguments.runs,
        seed: arguments
            .seed
            .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_secs())),
        nodes: arguments.nodes,
        engine,
    };
    if engine == Engine::Postgres && !knows_flag(&options.binary, "--database").await? {
        say("SKIPPED: the chaos run on Postgres: the binary knows no --database");
        count.skipped += run::PROPERTIES.len();
        return Ok(());
    }
    let keeper = Keeper::start(if arguments.keep { std::path::Path::new("") } else { work })?;
    let work = work.join("run");
    std::fs::create_dir_all(&work)?;
    let findings = run::run(&options, &work, keeper, say).await?;
    for property in run::PROPERTIES {
        match findings.get(property) {
            None => {
                count.passed += 1;
                say(&format!("ok      {property}"));
            }
            Some(finding) => {
                count.failed += 1;
                say(&format!("FAILED  {property}: {} times, such as", finding.count));
                finding.examples.iter().for_each(|words| say(&format!("        {words}")));
            }
        }
    }
    say(&format!(
        "this schedule again: cargo xtask chaos --only run --seed {} --minutes {} --runs {} --nodes {}",
        options.seed, arguments.minutes, arguments.runs, arguments.nodes
    ));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a program that reports")]
fn say(line: &str) {
    println!("{line}");
}
