//! `cargo xtask escape`: the attempts to get out of a sandbox, alone and counted, and the table of what held where.
//!
//! A row is a check ([`list`]), a column a wall: a tier, with the launcher as root or as an ordinary user. A cell is filled by
//! evidence alone, which tests write down after they saw it; so is the control, the same attempt where no wall stands.

pub mod list;
pub mod table;

use anyhow::Context as _;

use self::table::table;

/// Names the file that tests add their evidence to.
const VARIABLE: &str = "LIVERY_CHECKS";
/// Whose tests they are.
const TESTS: [&str; 4] = ["--package", "livery-sandbox", "--test", "*"];

/// Runs the sandbox's integration tests, prints the table and ends with `N passed, N failed, N skipped`: of its cells.
///
/// # Errors
/// A test failed, or a cell or a control is without evidence.
pub fn run() -> anyhow::Result<()> {
    crate::setup::before_tests()?;
    let folder = crate::root::folder().join("target/xtask");
    std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let path = folder.join(format!("checks-{}.log", std::process::id()));
    std::fs::write(&path, "").with_context(|| format!("writing {}", path.display()))?;
    let name = path.to_str().context("the project's path is no text")?;
    let outcome = crate::outcome::run_leaving_out(&TESTS, &[], &[(VARIABLE, name)]);
    let evidence = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    std::fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
    let table = table(&evidence);
    println!("\n{}", table.text);
    println!("{} passed, {} failed, {} skipped", table.passed, table.failed, table.skipped);
    outcome?;
    anyhow::ensure!(table.failed == 0, "{} checks have a wall or a control nobody saw hold", table.failed);
    Ok(())
}
