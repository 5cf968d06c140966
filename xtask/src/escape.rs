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

/// Says to the tests that there be as many of everything as is promised.
const LONG: (&str, &str) = ("LIVERY_LONG", "1");
/// The page that holds the table, between these lines.
const PAGE: &str = "docs/escape.md";
const FENCES: [&str; 2] = ["<!-- table -->\n", "<!-- end of table -->\n"];

/// What the command line says.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// 10,000 rounds, 1,000 at once and SIGKILL among 50 of each tier, in place of a few of each: about half an hour.
    #[arg(long)]
    pub long: bool,
    /// Write the table into docs/escape.md.
    #[arg(long)]
    pub write: bool,
}

/// Runs the sandbox's integration tests, prints the table and ends with `N passed, N failed, N skipped`: of its cells.
///
/// # Errors
/// A test failed, or a cell or a control is without evidence.
pub fn run(options: &Options) -> anyhow::Result<()> {
    crate::setup::before_tests()?;
    let folder = crate::root::folder().join("target/xtask");
    std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let path = folder.join(format!("checks-{}.log", std::process::id()));
    std::fs::write(&path, "").with_context(|| format!("writing {}", path.display()))?;
    let name = path.to_str().context("the project's path is no text")?;
    let mut environment = vec![(VARIABLE, name)];
    environment.extend(options.long.then_some(LONG));
    let outcome = crate::outcome::run_leaving_out(&TESTS, &[], &environment);
    let evidence = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    std::fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
    let table = table(&evidence);
    println!("\n{}", table.text);
    println!("{} passed, {} failed, {} skipped", table.passed, table.failed, table.skipped);
    if options.write {
        write_page(&table.text)?;
    }
    outcome?;
    anyhow::ensure!(table.failed == 0, "{} checks have a wall or a control nobody saw hold", table.failed);
    Ok(())
}

fn write_page(table: &str) -> anyhow::Result<()> {
    let path = crate::root::folder().join(PAGE);
    let page = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let page = with_table(&page, table).with_context(|| format!("{PAGE} has no place for the table"))?;
    std::fs::write(&path, page).with_context(|| format!("writing {}", path.display()))
}

/// The page with this table between its fences.
fn with_table(page: &str, table: &str) -> Option<String> {
    let (before, rest) = page.split_once(FENCES[0])?;
    let (_, after) = rest.split_once(FENCES[1])?;
    Some(format!("{before}{}\n{table}\n{}{after}", FENCES[0], FENCES[1]))
}

#[cfg(test)]
mod tests {
    use super::with_table;

    #[test]
    fn a_table_takes_the_place_of_the_one_before() {
        let page = "# Checks\n<!-- table -->\nold\n<!-- end of table -->\nMore.\n";
        let written = with_table(page, "| new |\n").unwrap();
        assert_eq!(written, "# Checks\n<!-- table -->\n\n| new |\n\n<!-- end of table -->\nMore.\n");
        assert_eq!(with_table(&written, "| new |\n").unwrap(), written);
        assert!(with_table("# Checks\n", "").is_none());
    }
}
