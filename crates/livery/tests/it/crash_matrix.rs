//! A small part of the crash matrix: the process dies around each effect of the code's own list, where it tells most.

use std::path::Path;

use livery_chaos::matrix::{self, Engine, Verdict};

use crate::support::skip;

#[test]
fn every_effect_survives_its_most_telling_death() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (_home, work) = matrix::work_folder().unwrap();
    let cells = matrix::telling_cells(Engine::Sqlite);
    let binary = Path::new(env!("CARGO_BIN_EXE_livery"));
    let results = runtime.block_on(matrix::run(binary, &work, &cells, false, |line| eprintln!("{line}"))).unwrap();
    assert_eq!(results.len(), cells.len());
    let failed: Vec<_> = results.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Failed(_))).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    for (cell, verdict) in &results {
        if let Verdict::Skipped(why) = verdict {
            skip(&format!("{}: {why}", cell.name()));
        }
    }
}
