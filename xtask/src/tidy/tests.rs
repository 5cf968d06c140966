//! The house rules hold in this repository.

#[test]
fn the_house_is_in_order() {
    let findings = super::check().unwrap();
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} findings:\n{}", lines.len(), lines.join("\n"));
}
