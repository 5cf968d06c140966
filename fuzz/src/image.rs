//! What must hold for image archives and their documents.

use std::io::Read as _;

use livery_images::layer::{Kind, Tar};
use livery_images::manifest::{self, Document, Platform};
use livery_images::Limits;

/// Longest file that is taken.
const FILE_BYTES_MAX: u64 = 1 << 16;

/// No path of an archive climbs or begins at the top; what is read of it is no more than came, and the same however much of each file is
/// taken.
pub fn image_layer(bytes: &[u8]) {
    let whole = entries(bytes, usize::MAX);
    assert_eq!(whole, entries(bytes, 3), "a file left half read changes the rest");
}

fn entries(bytes: &[u8], taken: usize) -> Vec<String> {
    let mut tar = Tar::new(bytes, FILE_BYTES_MAX);
    let (mut told, mut content) = (Vec::new(), Vec::new());
    loop {
        let entry = match tar.next_entry() {
            Ok(Some(entry)) => entry,
            Ok(None) => return told,
            Err(error) => {
                told.push(error.to_string());
                return told;
            }
        };
        let paths = match &entry.kind {
            Kind::Hard(path) | Kind::Whiteout(path) | Kind::Opaque(path) => vec![&entry.path, path],
            _ => vec![&entry.path],
        };
        for path in paths {
            assert!(path.is_empty() || path.split(|byte| *byte == b'/').all(is_name), "{path:?} leads elsewhere");
        }
        assert!(entry.size <= FILE_BYTES_MAX && entry.offset <= bytes.len() as u64, "{entry:?}");
        told.push(format!("{entry:?}"));
        assert!(told.len() <= bytes.len() / 512, "more entries than headers");
        content.clear();
        // What is missing at the end is found by whoever reads it or goes on.
        if (&mut tar).take(taken as u64).read_to_end(&mut content).is_err() {
            assert!(tar.next_entry().is_err(), "an archive that broke off goes on");
            told.push("the archive ends in the middle of a file".to_owned());
            return told;
        }
    }
}

fn is_name(part: &[u8]) -> bool {
    !part.is_empty() && part != b"." && part != b".." && !part.contains(&0)
}

/// A document is a manifest or an index or refused; what is chosen is for this machine, and everything is within its limit.
pub fn image_manifest(bytes: &[u8]) {
    let limits = Limits { layers: 4, manifests: 4, ..Limits::default() };
    match manifest::document(bytes, &limits) {
        Ok(Document::Manifest(manifest)) => {
            assert!(manifest.layers.len() <= limits.layers, "too many layers");
            let text = serde_json::to_vec(&manifest).expect("it was JSON");
            assert_eq!(manifest::document(&text, &limits).ok(), Some(Document::Manifest(manifest)), "another manifest");
        }
        Ok(Document::Index(manifests)) => {
            assert!(manifests.len() <= limits.manifests, "too many manifests");
            if let Ok(chosen) = manifest::choose(&manifests) {
                assert!(chosen.platform.as_ref().is_none_or(|platform| *platform == Platform::here()));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty(), "refused without a word"),
    }
    if let Ok(config) = manifest::config(bytes) {
        assert!(config.env.len() <= 64, "an environment without end");
        assert!(config.env.iter().all(|(name, _)| !name.is_empty() && !name.contains('=') && name != "HOME"));
    }
    if let Ok(saved) = manifest::saved(bytes, &limits) {
        assert!(saved.len() <= 4 && saved.iter().all(|image| image.layers.len() <= 4), "too much");
    }
}
