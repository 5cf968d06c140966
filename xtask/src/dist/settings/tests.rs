//! Help texts in both layouts that the command line has: beside the option, and below it.

use super::{Setting, file, settings};

const BESIDE: &str = "\
Serve

Usage: livery up [OPTIONS]

Options:
      --data <DIR>             Where everything is kept [env: LIVERY_DATA=] [default: livery-data]
      --allow-upstream <CIDR>  Allow upstreams in this private range (repeatable).
                               Without it every private address is refused [env:
                               LIVERY_ALLOW_UPSTREAM=]
  -h, --help                   Print help
";
const BELOW: &str = "\
Options:
      --database <URL>
          Where the store is

          More about it

          [env: LIVERY_DATABASE=]

  -q, --quiet
          Say less
";

fn setting(flag: &str, variable: &str, text: &str) -> Setting {
    Setting { flag: flag.to_owned(), variable: variable.to_owned(), text: text.to_owned() }
}

#[test]
fn options_are_read_in_both_layouts() {
    let allow = "Allow upstreams in this private range (repeatable). Without it every private address is refused";
    assert_eq!(
        settings(BESIDE),
        [
            setting("--data", "LIVERY_DATA", "Where everything is kept [default: livery-data]"),
            setting("--allow-upstream", "LIVERY_ALLOW_UPSTREAM", allow),
            setting("--help", "", "Print help"),
        ]
    );
    assert_eq!(
        settings(BELOW),
        [
            setting("--database", "LIVERY_DATABASE", "Where the store is More about it"),
            setting("--quiet", "", "Say less"),
        ]
    );
}

#[test]
fn the_file_is_all_comments_and_has_each_variable() {
    let file = file(BESIDE);
    assert!(file.lines().all(|line| line.is_empty() || line.starts_with('#')), "{file}");
    assert!(file.contains("\n#LIVERY_ALLOW_UPSTREAM=\n"), "{file}");
    assert!(!file.contains("LIVERY_DATA="), "the unit sets it: {file}");
}
