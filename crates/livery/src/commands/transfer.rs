//! `livery export` and `livery import`: everything in one file, from one kind of database to the other.
//!
//! The file is a tar archive under zstd: `tables/…` (rows as JSON lines), `files/…` (the tenants' files), and at its end
//! `manifest.json`, without which an import keeps nothing. The root key is not in it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use livery_platform::Database;
use livery_platform::database::{Manifest, Piece, Rows};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::say;
use crate::engine::runtime;
use crate::{cli, host};

/// The shape of the file.
const FORMAT: u32 = 1;
/// Pieces on their way between database and file.
const PIECES_MAX: usize = 4;
/// Largest piece of rows read from a file; the largest row is below it.
const PIECE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Largest manifest read from a file.
const MANIFEST_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How hard zstd tries: fast, and good enough for JSON.
const LEVEL: i32 = 3;
const MANIFEST: &str = "manifest.json";
const TABLES: &str = "tables";
/// Where a data directory keeps the tenants' files, and where they are in the archive.
const FILES: &str = "files";

/// The end of the archive.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    format: u32,
    /// The version that wrote it.
    version: String,
    rows: Manifest,
    /// Files by their path, with their size in bytes.
    files: BTreeMap<String, u64>,
}

/// Writes everything into a file.
pub(super) fn export(args: cli::Export) -> anyhow::Result<ExitCode> {
    let database = args.place.or_in(&args.data)?;
    ensure!(args.data.is_dir(), "{} is no data directory", args.data.display());
    // Opened as whoever asks, filled as the server's user.
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&args.out)
        .with_context(|| format!("cannot create {}", args.out.display()))?;
    host::settle(host::ordinary_user(args.user.as_deref())?.as_ref())?;
    let end = runtime()?
        .block_on(write_all(database, args.data, file))
        .with_context(|| format!("{} is incomplete, and no import takes it", args.out.display()))?;
    say(&format!("{}: {}", args.out.display(), summary(&end)));
    let named = end.rows.tables.iter().find(|table| table.name == FILES).map_or(0, |table| table.rows);
    if named > end.files.len() as u64 {
        say(&format!("{} files are in another place (--objects) and not in it", named - end.files.len() as u64));
    }
    say("the root key is not in it: keep root.key or LIVERY_ROOT_KEY, the target needs the same");
    Ok(ExitCode::SUCCESS)
}

async fn write_all(database: Database, data: PathBuf, file: File) -> anyhow::Result<End> {
    let (send, mut receive) = mpsc::channel::<Rows>(PIECES_MAX);
    let archive = tokio::task::spawn_blocking(move || {
        let mut archive = Archive::new(file)?;
        while let Some(rows) = receive.blocking_recv() {
            archive.rows(&rows)?;
        }
        anyhow::Ok(archive)
    });
    let (rows, archive) = tokio::join!(database.export(send), archive);
    let (rows, mut archive) = (rows?, archive??);
    tokio::task::spawn_blocking(move || {
        let files = archive.folder(&data)?;
        archive.end(End { format: FORMAT, version: env!("CARGO_PKG_VERSION").to_owned(), rows, files })
    })
    .await?
}

/// The file being written.
struct Archive {
    tar: tar::Builder<zstd::Encoder<'static, File>>,
    pieces: u32,
    table: String,
}

impl Archive {
    fn new(file: File) -> anyhow::Result<Self> {
        Ok(Self { tar: tar::Builder::new(zstd::Encoder::new(file, LEVEL)?), pieces: 0, table: String::new() })
    }

    fn rows(&mut self, rows: &Rows) -> anyhow::Result<()> {
        if self.table != rows.table {
            self.table.clone_from(&rows.table);
            say(&format!("table {}", rows.table));
        }
        self.pieces += 1;
        self.add(&format!("{TABLES}/{:08}-{}.jsonl", self.pieces, rows.table), rows.lines.as_bytes())
    }

    fn add(&mut self, path: &str, bytes: &[u8]) -> anyhow::Result<()> {
        self.tar.append_data(&mut header(bytes.len() as u64), path, bytes).context("cannot write the archive")
    }

    /// Every regular file below the data directory's `files`.
    fn folder(&mut self, data: &Path) -> anyhow::Result<BTreeMap<String, u64>> {
        let mut found = BTreeMap::new();
        let mut folders = vec![data.join(FILES)];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries.with_context(|| format!("cannot read {}", folder.display()))?,
            };
            for entry in entries {
                let (entry, path) = entry.map(|entry| (entry.file_type(), entry.path()))?;
                let kind = entry?;
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_file() {
                    let name = path.strip_prefix(data)?.to_str().context("a file whose name is no text")?.to_owned();
                    let mut file = File::open(&path)?;
                    let bytes = file.metadata()?.len();
                    self.tar.append_data(&mut header(bytes), &name, &mut file)?;
                    found.insert(name, bytes);
                }
            }
        }
        Ok(found)
    }

    fn end(mut self, end: End) -> anyhow::Result<End> {
        self.add(MANIFEST, &serde_json::to_vec_pretty(&end)?)?;
        self.tar.into_inner()?.finish()?.sync_all().context("the file did not reach the disk")?;
        Ok(end)
    }
}

fn header(bytes: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o600);
    header
}

/// Fills a new database from a file.
pub(super) fn import(args: cli::Import) -> anyhow::Result<ExitCode> {
    let database = args.place.or_in(&args.data)?;
    let file = File::open(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    let user = host::ordinary_user(args.user.as_deref())?;
    host::private_dir(&args.data, user.as_ref())?;
    host::settle(user.as_ref())?;
    let end = runtime()?.block_on(read_all(database, args.data, file))?;
    say(&format!("imported: {}", summary(&end)));
    say("start the server with the root key of the source: root.key or LIVERY_ROOT_KEY");
    Ok(ExitCode::SUCCESS)
}

async fn read_all(database: Database, data: PathBuf, file: File) -> anyhow::Result<End> {
    let (send, receive) = mpsc::channel(PIECES_MAX);
    // Ends early, and closes the channel, when it meets anything wrong: the database then keeps nothing.
    let reader = tokio::task::spawn_blocking(move || read(file, &data, &send));
    let (imported, read) = tokio::join!(database.import(receive), reader);
    match (imported, read?) {
        (Ok(_), Ok(end)) => Ok(end),
        // Whoever stopped first knows why; a reader whose database went away only knows that.
        (Err(error), Ok(_)) => Err(error.into()),
        (Err(error), Err(gone)) if gone.is::<Gone>() => Err(error.into()),
        (_, Err(error)) => Err(error),
    }
}

/// The database stopped taking pieces.
#[derive(Debug, thiserror::Error)]
#[error("the database refused")]
struct Gone;

fn read(file: File, data: &Path, pieces: &mpsc::Sender<Piece>) -> anyhow::Result<End> {
    let mut archive = tar::Archive::new(zstd::Decoder::new(file).context("this is no export of Livery")?);
    let mut files = BTreeMap::new();
    let mut last = String::new();
    for entry in archive.entries()? {
        let mut entry = entry.context("the archive is damaged")?;
        let path = entry.path()?.to_str().context("a path that is no text")?.to_owned();
        if path == MANIFEST {
            let end: End = serde_json::from_slice(&limited(&mut entry, MANIFEST_BYTES_MAX)?)?;
            ensure!(end.format == FORMAT, "the export has format {}, this version reads {FORMAT}", end.format);
            ensure!(end.files == files, "the export's files are not those its manifest lists");
            pieces.blocking_send(Piece::End(end.rows.clone())).map_err(|_| Gone)?;
            return Ok(end);
        } else if let Some(name) = path.strip_prefix(&format!("{TABLES}/")) {
            let table = name.split_once('-').and_then(|(_, name)| name.strip_suffix(".jsonl"));
            let table = table.with_context(|| format!("{path} is no table"))?.to_owned();
            if table != last {
                say(&format!("table {table}"));
                last.clone_from(&table);
            }
            let lines = String::from_utf8(limited(&mut entry, PIECE_BYTES_MAX)?)?;
            pieces.blocking_send(Piece::Rows(Rows { table, lines })).map_err(|_| Gone)?;
        } else {
            let bytes = put(&path, data, &mut entry)?;
            files.insert(path, bytes);
        }
    }
    bail!("the export has no end: it was interrupted; nothing was imported")
}

fn limited(entry: &mut impl Read, limit: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    entry.take(limit + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 <= limit, "a part of the export is larger than {limit} bytes");
    Ok(bytes)
}

/// Writes a tenant's file; its path stays below the data directory's `files`.
fn put(path: &str, data: &Path, entry: &mut impl Read) -> anyhow::Result<u64> {
    let relative = Path::new(path);
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
    ensure!(plain && relative.starts_with(FILES), "{path} has no business in an export");
    let target = data.join(relative);
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&target)?;
    let bytes = io::copy(entry, &mut file).with_context(|| format!("cannot write {}", target.display()))?;
    file.flush()?;
    file.sync_all()?;
    Ok(bytes)
}

fn summary(end: &End) -> String {
    let rows: u64 = end.rows.tables.iter().map(|table| table.rows).sum();
    format!("{} tables, {rows} rows, {} files", end.rows.tables.len(), end.files.len())
}
