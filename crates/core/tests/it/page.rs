//! `docs/agents.md` tells the truth: its files make an agent without a finding, its broken one gets the findings it shows.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use livery_core::agent::{Agent, Folder};

/// The fenced blocks of the page, by what follows the language.
fn blocks() -> BTreeMap<String, String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/agents.md");
    let page = fs::read_to_string(page).unwrap();
    let mut blocks = BTreeMap::new();
    let mut open: Option<(String, String)> = None;
    for line in page.lines() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(info), None) => {
                let name = info.split_once(' ').map_or(String::new(), |(_, name)| name.to_owned());
                open = Some((name, String::new()));
            }
            (Some(_), Some((name, text))) => drop(blocks.insert(name, text)),
            (None, Some((name, text))) => open = Some((name, text + line + "\n")),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "every block is closed");
    blocks
}

#[test]
fn the_files_of_the_page_are_an_agent() {
    let blocks = blocks();
    let files = blocks.iter().filter(|(name, _)| name.contains('.'));
    let folder = Folder::from_entries(files.map(|(path, text)| (path.as_str(), text.as_str(), false))).unwrap();
    let report = Agent::check(&folder);
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert_eq!(findings, Vec::<String>::new());
    let agent = report.agent.unwrap();
    assert_eq!((agent.own_tools.len(), agent.skills.len()), (1, 1));
    assert!(folder.contains("files/invoices.csv") && folder.contains("scripts/check.yaml"));
}

#[test]
fn the_broken_agent_of_the_page_gets_the_findings_it_shows() {
    let blocks = blocks();
    let folder = Folder::from_entries([("AGENT.md", blocks["broken"].as_str(), false)]).unwrap();
    let findings: String = Agent::parse(&folder).unwrap_err().iter().map(|finding| format!("{finding}\n")).collect();
    assert_eq!(findings, blocks["findings"]);
}
