//! `livery nodes`: who takes part in an installation.

use std::process::ExitCode;

use super::{cell, client, print, print_json, table};
use crate::cli::Nodes;

pub(super) async fn nodes(command: Nodes) -> anyhow::Result<ExitCode> {
    let page = client(&command.server)?.get("/v1/nodes").await?;
    if command.json {
        print_json(&page)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = page["data"].as_array().into_iter().flatten().map(|node| {
        let roles = node["roles"].as_array().into_iter().flatten().filter_map(|role| role.as_str());
        let mut row = ["id", "name", "state", "address", "version", "seen_at"].map(|field| cell(&node[field])).to_vec();
        row.push(roles.collect::<Vec<_>>().join(","));
        row
    });
    print(&table(&["id", "name", "state", "address", "version", "seen", "roles"], rows.collect()))?;
    Ok(ExitCode::SUCCESS)
}
