//! Codes are found where they are written; links are read as links.

use super::{link_targets, named_in_place, titled};

#[test]
fn codes_written_in_place_are_found() {
    let source = "Error::Conflict { code: \"in_progress\", detail: x } // code: \"comment\"\nlet code: &str = \"no\"; Exit { code: \"Not A Code\" }";
    assert_eq!(named_in_place(source), ["in_progress"]);
}

#[test]
fn links_of_a_line() {
    assert_eq!(link_targets("see [a](b.md) and [c](d.md#e), f(g)").collect::<Vec<_>>(), ["b.md", "d.md#e"]);
}

#[test]
fn the_table_of_titles_is_read() {
    let source = "(\"no\", \"x\"),\npub const CODES: &[(&str, &str)] = &[\n    (\"conflict\", \"Not now\"),\n];\n(\"no\", \"x\"),\n";
    assert_eq!(titled(source), ["conflict"]);
}
