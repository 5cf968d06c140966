//! The crash matrix: for every effect in the code's own list, every phase around it and every engine, the real binary dies
//! there, starts again, and the run has to end as it would have.
//!
//! Walk on: [`scenario`] is the run that has the effect, [`door`] what has it made, [`cell`] one death and what follows,
//! [`outside`] what it reaches through connections, [`leftovers`] what may not be left, [`table`] the published page.

pub mod cell;
pub mod door;
pub mod leftovers;
pub mod outside;
pub mod scenario;
pub mod table;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use livery_platform::effects::{EffectKind, Phase};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::cell::{Control, Stage};
use crate::node::Keeper;

/// Cells at a time. They mostly wait: for a process to start, a lease to be renewed, a webhook to come.
const PARALLEL: usize = 4;

/// Where the log lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Engine {
    /// One file.
    Sqlite,
    /// A server.
    Postgres,
}

impl Engine {
    /// Both.
    pub const ALL: &'static [Self] = &[Self::Sqlite, Self::Postgres];

    /// The name in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// One death.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// On which engine.
    pub engine: Engine,
    /// Around what.
    pub effect: EffectKind,
    /// When.
    pub phase: Phase,
}

impl Cell {
    /// Names the cell's model, its endpoint and its folder.
    pub fn name(self) -> String {
        format!("{}-{}-{}", self.engine.as_str(), self.effect, self.phase).replace('_', "-")
    }
}

/// How a cell went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As it must.
    Passed,
    /// What was wrong.
    Failed(Vec<String>),
    /// Why nobody looked.
    Skipped(String),
}

/// What was found, in the order of the list.
pub type Results = Vec<(Cell, Verdict)>;

/// Every cell of an engine.
pub fn cells(engine: Engine) -> Vec<Cell> {
    let of = |effect: &EffectKind| {
        let effect = *effect;
        effect.phases().iter().map(move |phase| Cell { engine, effect, phase: *phase })
    };
    EffectKind::ALL.iter().flat_map(of).collect()
}

/// The one cell of each effect that tells most: the death in the middle, or the one behind the effect.
pub fn telling_cells(engine: Engine) -> Vec<Cell> {
    let best = |effect: &EffectKind| {
        let phases = effect.phases();
        let wanted = [Phase::During, Phase::After, Phase::Committed];
        let phase = wanted.into_iter().find(|phase| phases.contains(phase))?;
        Some(Cell { engine, effect: *effect, phase })
    };
    EffectKind::ALL.iter().filter_map(best).collect()
}

/// Performs these cells below `work`, and says each aloud. With `keep`, what is there stays there.
///
/// # Errors
/// Not even the first start works.
pub async fn run(binary: &Path, work: &Path, cells: &[Cell], keep: bool, say: fn(&str)) -> anyhow::Result<Results> {
    let keeper = Keeper::start(if keep { Path::new("") } else { work })?;
    let mut results = Results::new();
    for engine in Engine::ALL {
        let wanted: Vec<Cell> = cells.iter().copied().filter(|cell| cell.engine == *engine).collect();
        if !wanted.is_empty() {
            results.extend(run_engine(*engine, binary, work, &keeper, wanted, say).await?);
        }
    }
    results.sort_by_key(|(cell, _)| *cell);
    Ok(results)
}

async fn run_engine(
    engine: Engine,
    binary: &Path,
    work: &Path,
    keeper: &Keeper,
    cells: Vec<Cell>,
    say: fn(&str),
) -> anyhow::Result<Results> {
    let stage = match Stage::set(engine, binary, &work.join(engine.as_str()), keeper).await? {
        Ok(stage) => Arc::new(stage),
        Err(why) => {
            say(&format!("SKIPPED: {} cells on {}: {why}", cells.len(), engine.as_str()));
            return Ok(cells.into_iter().map(|cell| (cell, Verdict::Skipped(why.clone()))).collect());
        }
    };
    let turns = Arc::new(Semaphore::new(PARALLEL));
    let (mut tasks, mut results) = (JoinSet::new(), Results::new());
    for effect in EffectKind::ALL {
        let of_effect: Vec<Cell> = cells.iter().copied().filter(|cell| cell.effect == *effect).collect();
        if of_effect.is_empty() {
            continue;
        }
        if let Some(why) = stage.lacks(*effect) {
            let skipped = |cell| report(cell, Verdict::Skipped(why.to_owned()), 0.0, say);
            results.extend(of_effect.into_iter().map(skipped));
            continue;
        }
        let (stage, turns) = (Arc::clone(&stage), Arc::clone(&turns));
        tasks.spawn(async move { run_effect(stage, turns, of_effect, say).await });
    }
    while let Some(done) = tasks.join_next().await {
        results.extend(done?);
    }
    Ok(results)
}

/// The run as it ends when nobody dies, then every death.
async fn run_effect(stage: Arc<Stage>, turns: Arc<Semaphore>, cells: Vec<Cell>, say: fn(&str)) -> Results {
    let Some(first) = cells.first().copied() else { return Results::new() };
    let control = {
        let _turn = turns.acquire().await;
        stage.control(first.effect).await
    };
    let control = match control {
        Ok(control) => Arc::new(control),
        Err(error) => {
            let wrong = vec![format!("the run does not even end well without a crash: {error:#}")];
            return cells.into_iter().map(|cell| report(cell, Verdict::Failed(wrong.clone()), 0.0, say)).collect();
        }
    };
    let mut tasks = JoinSet::new();
    for cell in cells {
        let (stage, turns, control) = (Arc::clone(&stage), Arc::clone(&turns), Arc::clone(&control));
        tasks.spawn(async move {
            let _turn = turns.acquire().await;
            let begun = Instant::now();
            let verdict = judge(&stage, cell, &control).await;
            report(cell, verdict, begun.elapsed().as_secs_f64(), say)
        });
    }
    let mut results = Results::new();
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok(result) => results.push(result),
            Err(error) => say(&format!("FAILED a cell was lost: {error}")),
        }
    }
    results
}

async fn judge(stage: &Stage, cell: Cell, control: &Control) -> Verdict {
    match stage.perform(cell, control).await {
        Ok(wrong) if wrong.is_empty() => Verdict::Passed,
        Ok(wrong) => Verdict::Failed(wrong),
        Err(error) => Verdict::Failed(vec![format!("{error:#}")]),
    }
}

fn report(cell: Cell, verdict: Verdict, seconds: f64, say: fn(&str)) -> (Cell, Verdict) {
    let word = match &verdict {
        Verdict::Passed => "ok",
        Verdict::Failed(_) => "FAILED",
        Verdict::Skipped(_) => "SKIPPED",
    };
    let (engine, effect, phase) = (cell.engine.as_str(), cell.effect.as_str(), cell.phase.as_str());
    let mut line = format!("{word:<7} {engine:<9} {effect:<17} {phase:<14} {seconds:>5.1} s");
    if let Verdict::Failed(wrong) = &verdict {
        for words in wrong {
            line.push_str(&format!("\n        {words}"));
        }
    }
    say(&line);
    (cell, verdict)
}

/// A folder for the work of this program, removed at its end.
///
/// # Errors
/// The temporary folder cannot be written.
pub fn work_folder() -> anyhow::Result<(tempfile::TempDir, PathBuf)> {
    use std::os::unix::fs::PermissionsExt as _;
    let home = tempfile::Builder::new().prefix("livery-chaos-").tempdir()?;
    // Livery leaves root and must still reach its data directory.
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755))?;
    let path = home.path().canonicalize()?;
    Ok((home, path))
}
