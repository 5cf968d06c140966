//! `livery images`: what sandboxes are made of. Images are put into a data directory on its own machine; a server tells who uses
//! them, and so removes them.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use livery_broker::registry::{Login, Registry};
use livery_broker::{OperatorAnswer, Secret};
use livery_core::agent::ImageRef;
use livery_images::manifest::TYPES;
use livery_images::{Image, Limits, Source, Store, Wanted};
use livery_platform::Clock;
use livery_platform::images::IMAGES_DIR;

use super::{async_main, cell, client, print, print_json, say, table};
use crate::cli::{self, ImagePlace, Server};
use crate::{exit, host};

pub(super) fn images(command: cli::Images) -> anyhow::Result<ExitCode> {
    match command {
        cli::Images::Import { path, name, place } => import(&path, name.as_deref(), &place),
        cli::Images::Pull { name, ca, place } => pull(&name, ca, &place),
        cli::Images::Build { name, from_dir, place } => build(&name, &from_dir, &place),
        cli::Images::List { json, server } => async_main(list(json, server)),
        cli::Images::Rm { name, server } => async_main(remove(name, server)),
    }
}

fn import(path: &Path, name: Option<&str>, place: &ImagePlace) -> anyhow::Result<ExitCode> {
    let name = name.map(named).transpose()?;
    // As whoever started this: the file may be root's.
    let file = open(path)?;
    let store = enter(place)?;
    let change = store.change()?;
    let source = Source::of(file, path.display().to_string(), store.limits(), || change.spool())?;
    let before = store.list()?;
    let images = change.import(&source, name.as_ref(), Clock::system().now())?;
    tell(&images, &before, place)
}

/// Makes an image out of a folder. It is read as whoever started this, so that root can pack what is root's.
fn build(name: &str, folder: &Path, place: &ImagePlace) -> anyhow::Result<ExitCode> {
    let name = named(name)?;
    let mut layer = unnamed_file()?;
    livery_images::pack(folder, &layer, &Limits::default())?;
    let store = enter(place)?;
    let change = store.change()?;
    let before = store.list()?;
    let image = change.build(&mut layer, &name, Clock::system().now())?;
    tell(&[image], &before, place)
}

/// A file without a name among the temporary ones.
fn unnamed_file() -> anyhow::Result<File> {
    let folder = std::env::temp_dir();
    let path = folder.join(format!("livery-layer-{}", std::process::id()));
    let made = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path);
    let file = made.with_context(|| format!("cannot write in {}", folder.display()))?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

fn pull(name: &str, ca: Option<PathBuf>, place: &ImagePlace) -> anyhow::Result<ExitCode> {
    let wanted: ImageRef = name.parse().map_err(|error| exit::Usage(format!("{name}: {error}")))?;
    if wanted.is_host() {
        return Err(exit::Usage("host is the machine's own".to_owned()).into());
    }
    if wanted.digest.is_some() && wanted.tag.is_none() {
        let tagged = name.replacen('@', ":TAG@", 1);
        return Err(exit::Usage(format!("say what to keep it as: {tagged}")).into());
    }
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let login = variable("LIVERY_REGISTRY_USER").zip(variable("LIVERY_REGISTRY_PASSWORD")).map(|(user, password)| {
        let host = variable("LIVERY_REGISTRY_HOST").unwrap_or_default();
        Login { host, user, password: Secret::from(password) }
    });
    let mut registry = Registry::of(&wanted.repository, login, ca)?;
    let store = enter(place)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let change = store.change()?;
    let before = store.list()?;
    let image = change.pull(&wanted, Clock::system().now(), |piece| {
        let answer = runtime.block_on(async {
            match piece {
                Wanted::Manifest(reference) => registry.manifest(reference, &TYPES).await,
                Wanted::Blob { digest, .. } => registry.blob(&digest.to_string()).await,
            }
        });
        let body = answer.map_err(std::io::Error::other)?;
        let deadline = Instant::now() + time_for(piece);
        Ok(Box::new(Coming { runtime: &runtime, body, left: Bytes::new(), deadline }))
    })?;
    tell(&[image], &before, place)
}

/// How long a piece may take to come, by its size.
fn time_for(piece: Wanted<'_>) -> Duration {
    let bytes = match piece {
        Wanted::Manifest(_) => 0,
        Wanted::Blob { bytes, .. } => bytes,
    };
    PIECE_TIME + Duration::from_secs(bytes / BYTES_PER_S_MIN)
}

/// How long any piece may take.
const PIECE_TIME: Duration = Duration::from_secs(60);
/// What a large one has to bring on average beyond that.
const BYTES_PER_S_MIN: u64 = 64 * 1024;

/// An answer's body, waited for piece by piece.
struct Coming<'a> {
    runtime: &'a tokio::runtime::Runtime,
    body: OperatorAnswer,
    left: Bytes,
    deadline: Instant,
}

impl Read for Coming<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.left.is_empty() {
            // A registry that trickles would hold the store's lock for good.
            let left = self.deadline.saturating_duration_since(Instant::now());
            let late = || std::io::Error::new(std::io::ErrorKind::TimedOut, "the registry is too slow");
            let frame = async { tokio::time::timeout(left, self.body.frame()).await };
            match self.runtime.block_on(frame).map_err(|_| late())? {
                None => return Ok(0),
                Some(frame) => self.left = frame.map_err(std::io::Error::other)?.into_data().unwrap_or_default(),
            }
        }
        let most = buffer.len().min(self.left.len());
        buffer[..most].copy_from_slice(&self.left.split_to(most));
        Ok(most)
    }
}

/// The name of an image that is to be.
fn named(text: &str) -> anyhow::Result<ImageRef> {
    match text.parse::<ImageRef>() {
        Ok(name) if name.digest.is_none() && !name.is_host() => Ok(name),
        Ok(_) => Err(exit::Usage(format!("{text}: an image is kept under a name and a tag, and not as `host`")).into()),
        Err(error) => Err(exit::Usage(format!("{text}: {error}")).into()),
    }
}

fn open(path: &Path) -> anyhow::Result<File> {
    let opened = if path == Path::new("-") {
        std::io::stdin().as_fd().try_clone_to_owned().map(File::from)
    } else {
        File::open(path)
    };
    opened.with_context(|| format!("cannot read {}", path.display()))
}

/// The store of a data directory, as the user whose it is.
fn enter(place: &ImagePlace) -> anyhow::Result<Store> {
    let user = host::ordinary_user(place.user.as_deref())?;
    host::private_dir(&place.data, user.as_ref())?;
    let data = std::path::absolute(&place.data)?;
    host::settle(user.as_ref())?;
    Ok(Store::new(data.join(IMAGES_DIR)))
}

/// Says what came, and which names led to something `before`.
fn tell(images: &[Image], before: &[Image], place: &ImagePlace) -> anyhow::Result<ExitCode> {
    if place.json {
        print_json(&serde_json::to_value(images)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    for image in images {
        let names: Vec<&str> = image.names.iter().map(String::as_str).collect();
        print(&format!("{} {}", names.join(" "), image.digest))?;
        let others = || before.iter().filter(|other| other.digest != image.digest);
        for name in &image.names {
            if let Some(other) = others().find(|other| other.names.contains(name)) {
                say(&format!("{name} moved from {}", other.digest));
            }
        }
        say(&format!("{} layers, {} unpacked", image.layers.len(), size(image.unpacked_bytes)));
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(json: bool, server: Server) -> anyhow::Result<ExitCode> {
    let images = client(&server)?.get("/v1/images").await?;
    if json {
        print_json(&images)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = images["data"].as_array().into_iter().flatten().map(|image| {
        let names: Vec<&str> =
            image["names"].as_array().into_iter().flatten().filter_map(|name| name.as_str()).collect();
        let names = if names.is_empty() { "-".to_owned() } else { names.join(" ") };
        let digest = cell(&image["digest"]).chars().take(SHORT_DIGEST).collect();
        let bytes = image["bytes"].as_u64().map_or_else(|| "-".to_owned(), size);
        let rest = ["created", "imported_at", "agents", "runs"].map(|field| cell(&image[field]));
        [vec![names, digest, bytes], rest.to_vec()].concat()
    });
    print(&table(&["names", "digest", "size", "created", "imported", "agents", "runs"], rows.collect()))?;
    Ok(ExitCode::SUCCESS)
}

/// Of a digest in a table: `sha256:` and twelve digits.
const SHORT_DIGEST: usize = 19;

async fn remove(name: String, server: Server) -> anyhow::Result<ExitCode> {
    let path = percent_encoding::utf8_percent_encode(&name, percent_encoding::NON_ALPHANUMERIC);
    client(&server)?.delete(&format!("/v1/images/{path}")).await?;
    say(&format!("{name} is gone"));
    Ok(ExitCode::SUCCESS)
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    match bytes {
        0..=999_999 => format!("{} kB", bytes.div_ceil(1_000)),
        _ => format!("{} MB", bytes.div_ceil(1_000_000)),
    }
}
