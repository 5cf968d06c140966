//! A file on its way in: written under a temporary name in its folder, renamed when complete.
//!
//! So a command never sees half a file, and a broken transfer leaves nothing. Read next: `path.rs`.

use std::ffi::CString;
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;

use livery_guest::wire::message::{Put, Reach};

use crate::{path, sys};

/// Folders one transfer may make.
const NEW_FOLDERS_MAX: usize = 64;

pub(crate) struct Upload {
    pub(crate) stream: u32,
    folder: File,
    file: File,
    temporary: Option<CString>,
    name: CString,
    mode: u32,
    written: u64,
}

impl Upload {
    pub(crate) fn start(stream: u32, put: &Put) -> io::Result<Self> {
        let (folder, name) = path::split(&put.path)?;
        let name = CString::new(name)?;
        let folder = open_or_make(folder, put.reach)?;
        let temporary = CString::new(format!(".livery-upload-{stream}"))?;
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
        // A leftover of the same name can only be a command's own doing: it makes way.
        let _ = sys::unlinkat(folder.as_fd(), &temporary);
        let file = open_new(&folder, &temporary, flags)?;
        Ok(Self { stream, folder, file, temporary: Some(temporary), name, mode: put.mode, written: 0 })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    /// Puts the complete file under its name. Answers its size.
    pub(crate) fn finish(mut self) -> io::Result<u64> {
        self.file.set_permissions(Permissions::from_mode(self.mode))?;
        if let Some(temporary) = &self.temporary {
            sys::renameat(self.folder.as_fd(), temporary, &self.name)?;
            self.temporary = None;
        }
        Ok(self.written)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // Nothing more can be done about a folder that is gone.
            let _ = sys::unlinkat(self.folder.as_fd(), temporary);
        }
    }
}

fn open_new(folder: &File, name: &CString, flags: i32) -> io::Result<File> {
    sys::create_at(folder.as_fd(), name, flags)
}

/// Opens a folder, making what is missing on the way.
fn open_or_make(folder: &[u8], reach: Reach) -> io::Result<File> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY;
    let mut missing = Vec::new();
    let mut existing = folder;
    let mut at = loop {
        match path::open(existing, flags, reach) {
            Ok(found) => break found,
            Err(error) if error.kind() == io::ErrorKind::NotFound && missing.len() < NEW_FOLDERS_MAX => {
                let (parent, name) = path::split(existing)?;
                missing.push(CString::new(name)?);
                existing = parent;
            }
            Err(error) => return Err(error),
        }
    };
    while let Some(name) = missing.pop() {
        match sys::mkdirat(at.as_fd(), &name) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        at = sys::openat2(Some(at.as_fd()), &name, flags | libc::O_NOFOLLOW, libc::RESOLVE_NO_MAGICLINKS)?;
    }
    Ok(at)
}
