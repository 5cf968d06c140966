//! Rules about crates: who may name whom, which outside crate lives in which room, what every manifest says.

use super::Finding;
use super::rules::{CONFINED_IN_TESTS, CONFINED_PACKAGES, DEV_EDGES, EDGES, UNSAFE_CRATES};
use super::tree::{Crate, Tree};

/// The direction of architecture: an edge that is not in the table is a finding, and so is a crate without a row.
pub fn edges(tree: &Tree, findings: &mut Vec<Finding>) {
    for krate in &tree.crates {
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == krate.name) else {
            findings.push(Finding::new(&krate.manifest, 0, "a crate without a row in xtask's table of edges"));
            continue;
        };
        for dependency in &krate.dependencies {
            let Some(target) = house_name(&dependency.package) else { continue };
            let in_tests = dependency.dev && DEV_EDGES.contains(&target);
            // A crate's own tests may use any crate its code may reach by allowed steps.
            let reachable = dependency.dev && reaches(&krate.name, target);
            if !allowed.contains(&target) && !in_tests && !reachable {
                findings.push(Finding::new(
                    &krate.manifest,
                    0,
                    format!("{} may not depend on {target}; allowed: {}", krate.name, allowed.join(", ")),
                ));
            }
        }
    }
}

/// `livery-core` → `core`; a package from outside → nothing.
fn house_name(package: &str) -> Option<&str> {
    match package {
        "livery" | "xtask" => Some(package),
        _ => package.strip_prefix("livery-"),
    }
}

fn reaches(from: &str, to: &str) -> bool {
    let mut open = vec![from];
    let mut seen = Vec::new();
    while let Some(name) = open.pop() {
        if seen.contains(&name) {
            continue;
        }
        seen.push(name);
        if let Some((_, next)) = EDGES.iter().find(|(row, _)| *row == name) {
            open.extend(next.iter().copied());
        }
    }
    seen.contains(&to)
}

/// Outside crates that have a home stay there; tests may use them where they like, save for SQL.
pub fn outside_crates(tree: &Tree, findings: &mut Vec<Finding>) {
    for krate in &tree.crates {
        for dependency in &krate.dependencies {
            let Some((package, rooms, why)) = CONFINED_PACKAGES.iter().find(|(name, ..)| *name == dependency.package)
            else {
                continue;
            };
            let for_tests = dependency.dev && !CONFINED_IN_TESTS.contains(package);
            if !rooms.contains(&krate.name.as_str()) && !for_tests {
                findings.push(Finding::new(
                    &krate.manifest,
                    0,
                    format!("{package} belongs to {}: {why}", rooms.join(", ")),
                ));
            }
        }
    }
}

/// Every crate takes the workspace's lints, version and licence.
pub fn manifests(tree: &Tree, findings: &mut Vec<Finding>) {
    for krate in &tree.crates {
        let Some(text) = tree.files.get(&krate.manifest) else { continue };
        for wanted in ["version.workspace = true", "license.workspace = true"] {
            if !text.contains(wanted) {
                findings.push(Finding::new(&krate.manifest, 0, format!("lacks `{wanted}`")));
            }
        }
        if !text.contains("[lints]\nworkspace = true") {
            own_lints(tree, krate, text, findings);
        }
    }
}

/// The two crates that may be unsafe repeat the workspace's lints, all but that one, and ask for a reason at each block.
fn own_lints(tree: &Tree, krate: &Crate, text: &str, findings: &mut Vec<Finding>) {
    if !UNSAFE_CRATES.contains(&krate.name.as_str()) {
        findings.push(Finding::new(&krate.manifest, 0, "lacks `[lints] workspace = true`"));
        return;
    }
    let shared = tree.files.get("Cargo.toml").map_or("", String::as_str);
    let wanted = shared
        .lines()
        .skip_while(|line| !line.starts_with("[workspace.lints"))
        .take_while(|line| !line.starts_with("[profile"))
        .filter(|line| line.contains(" = ") && !line.starts_with("unsafe_code"))
        .chain(["undocumented_unsafe_blocks = \"deny\""]);
    for line in wanted.filter(|line| !text.contains(line)) {
        findings.push(Finding::new(&krate.manifest, 0, format!("its own lints lack `{line}`")));
    }
}

#[cfg(test)]
mod tests;
