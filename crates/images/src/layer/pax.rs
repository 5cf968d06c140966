//! What stands in front of an entry's header: long names and PAX records.

use super::show;
use crate::error::{Error, Result};
use crate::limits::PATH_BYTES_MAX;

/// Records of one entry. Extended attributes are among them, and may be large.
pub(super) const RECORDS_BYTES_MAX: usize = 1 << 20;

/// What an entry has instead of what its header says.
#[derive(Debug, Default)]
pub(super) struct Extra {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
}

impl Extra {
    pub(super) fn is_empty(&self) -> bool {
        self.path.is_none() && self.link.is_none() && self.size.is_none()
    }

    pub(super) fn name(&mut self, name: Vec<u8>) -> Result<()> {
        once(&mut self.path, bounded(name)?)
    }

    pub(super) fn link(&mut self, link: Vec<u8>) -> Result<()> {
        once(&mut self.link, bounded(link)?)
    }

    /// `LENGTH KEY=VALUE\n`, as often as there are records. Keys that change nothing here are passed over.
    pub(super) fn records(&mut self, mut bytes: &[u8]) -> Result<()> {
        let odd = || Error::invalid("an extended header is not as POSIX has it");
        while !bytes.is_empty() {
            let blank = bytes.iter().take(8).position(|byte| *byte == b' ').ok_or_else(odd)?;
            let length = std::str::from_utf8(&bytes[..blank]).ok().and_then(|text| text.parse::<usize>().ok());
            let length = length.filter(|length| (blank + 4..=bytes.len()).contains(length)).ok_or_else(odd)?;
            let (record, rest) = bytes.split_at(length);
            let record = record[blank + 1..].strip_suffix(b"\n").ok_or_else(odd)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(odd)?;
            self.set(&record[..equals], &record[equals + 1..])?;
            bytes = rest;
        }
        Ok(())
    }

    /// Records for every entry: none that would name or size them.
    pub(super) fn global(mut self, bytes: &[u8]) -> Result<()> {
        self.records(bytes)?;
        if self.is_empty() { Ok(()) } else { Err(Error::invalid("an extended header names every entry")) }
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        match key {
            b"path" => self.name(value.to_vec()),
            b"linkpath" => self.link(value.to_vec()),
            b"size" => {
                let size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                once(&mut self.size, size.ok_or_else(|| Error::invalid("an entry's size is no number"))?)
            }
            _ if key.starts_with(b"GNU.sparse.") => Err(Error::invalid("sparse files are not taken")),
            _ => Ok(()),
        }
    }
}

fn bounded(text: Vec<u8>) -> Result<Vec<u8>> {
    if text.len() > PATH_BYTES_MAX {
        return Err(Error::limit("bytes of a path", PATH_BYTES_MAX as u64));
    }
    if text.contains(&0) {
        return Err(Error::invalid(format!("{} has a zero byte in it", show(&text))));
    }
    Ok(text)
}

fn once<T>(slot: &mut Option<T>, value: T) -> Result<()> {
    if slot.replace(value).is_some() {
        return Err(Error::invalid("an entry is named twice"));
    }
    Ok(())
}
