//! An agent folder as a zip, and back. What an archive says about itself (sizes, names, links) is never believed: every
//! entry is inflated at most as far as the folder still has room.

use std::io::{Cursor, Read as _, Write as _};

use livery_core::agent::folder::Builder;
use livery_core::agent::{Finding, Folder};
use livery_core::{Error, FieldError, Result};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// Most entries of an archive, folders included.
const ENTRIES_MAX: usize = 8_000;

/// Reads a folder out of a zip. A single wrapping folder is taken off.
///
/// # Errors
/// `invalid_agent` with every entry that cannot be part of a folder.
pub fn read(bytes: &[u8]) -> Result<Folder> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| broken(&error))?;
    if archive.len() > ENTRIES_MAX {
        return Err(refused(format!("the zip has more than {ENTRIES_MAX} entries"), Vec::new()));
    }
    let mut builder = Builder::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(|error| broken(&error))?;
        if entry.is_dir() {
            continue;
        }
        let path = entry.name().map_err(|error| broken(&error))?.into_owned();
        if entry.is_symlink() {
            builder.refuse(&path, "a link", "put the file itself into the zip");
            continue;
        }
        let executable = entry.unix_mode().is_some_and(|mode| mode & 0o111 != 0);
        let room = builder.room();
        let mut content = Vec::new();
        entry.by_ref().take(room as u64 + 1).read_to_end(&mut content).map_err(|error| broken(&error))?;
        if content.len() > room {
            builder.refuse_size(&path);
            break;
        }
        builder.add(&path, content, executable);
    }
    builder.finish().map(Folder::unwrapped).map_err(invalid)
}

/// Writes a folder as a zip.
///
/// # Errors
/// [`Error::Internal`] when the archive cannot be made.
pub fn write(folder: &Folder) -> Result<Vec<u8>> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (path, file) in folder.iter() {
        let mode = if file.executable { 0o755 } else { 0o644 };
        let options =
            SimpleFileOptions::default().compression_method(CompressionMethod::Deflated).unix_permissions(mode);
        writer.start_file(path, options).map_err(Error::internal)?;
        writer.write_all(&file.bytes).map_err(Error::internal)?;
    }
    writer.finish().map(Cursor::into_inner).map_err(Error::internal)
}

/// Findings about an agent as the error a caller gets.
pub(crate) fn invalid(findings: Vec<Finding>) -> Error {
    refused("the agent is not valid".to_owned(), findings.iter().map(Finding::to_field_error).collect())
}

fn broken(error: &dyn std::fmt::Display) -> Error {
    refused(format!("the body is no readable zip: {error}"), Vec::new())
}

fn refused(detail: String, errors: Vec<FieldError>) -> Error {
    Error::Invalid { code: "invalid_agent", detail, errors }
}

#[cfg(test)]
mod tests {
    use super::{read, write};
    use livery_core::Error;
    use livery_core::agent::Folder;

    fn code(bytes: &[u8]) -> &'static str {
        read(bytes).map(|_| "accepted").unwrap_or_else(|error: Error| error.code())
    }

    #[test]
    fn a_folder_survives_the_way_there_and_back() {
        let files = [("AGENT.md", b"---\n".to_vec(), false), ("tools/a/run.sh", b"#!/bin/sh\n".to_vec(), true)];
        let folder = Folder::from_entries(files).unwrap();
        assert_eq!(read(&write(&folder).unwrap()).unwrap(), folder);
    }

    #[test]
    fn one_wrapping_folder_is_taken_off() {
        let folder =
            Folder::from_entries([("hello/AGENT.md", b"x".to_vec(), false), ("hello/files/a", b"y".to_vec(), false)])
                .unwrap();
        assert!(read(&write(&folder).unwrap()).unwrap().contains("AGENT.md"));
    }

    #[test]
    fn bombs_links_and_rubbish_are_refused() {
        use std::io::Write as _;
        use zip::write::SimpleFileOptions;
        assert_eq!(code(b"not a zip"), "invalid_agent");
        assert_eq!(code(b""), "invalid_agent");

        let options = SimpleFileOptions::default();
        let mut bomb = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        bomb.start_file("AGENT.md", options).unwrap();
        let block = vec![0u8; 1024 * 1024];
        for _ in 0..30 {
            bomb.write_all(&block).unwrap();
        }
        let bomb = bomb.finish().unwrap().into_inner();
        assert!(bomb.len() < 100_000, "30 MiB of zeros are small when packed");
        assert_eq!(code(&bomb), "invalid_agent");

        let mut escape = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        escape.start_file("../../etc/cron.d/x", options).unwrap();
        escape.add_symlink("AGENT.md", "/etc/shadow", options).unwrap();
        let error = read(&escape.finish().unwrap().into_inner()).unwrap_err();
        let Error::Invalid { errors, .. } = error else { panic!("{error:?}") };
        assert_eq!(errors.len(), 2, "{errors:?}");
    }
}
