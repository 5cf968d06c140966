//! `livery images`: what sandboxes are made of. Images are put into a data directory on its own machine; a server tells who uses
//! them, and so removes them.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use livery_core::agent::ImageRef;
use livery_images::{Image, Source, Store};
use livery_platform::Clock;
use livery_platform::images::IMAGES_DIR;

use super::{async_main, cell, client, print, print_json, say, table};
use crate::cli::{self, ImagePlace, Server};
use crate::{exit, host};

pub(super) fn images(command: cli::Images) -> anyhow::Result<ExitCode> {
    match command {
        cli::Images::Import { path, name, place } => import(&path, name.as_deref(), &place),
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
    let images = change.import(&source, name.as_ref(), Clock::system().now())?;
    tell(&images, place)
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

fn tell(images: &[Image], place: &ImagePlace) -> anyhow::Result<ExitCode> {
    if place.json {
        print_json(&serde_json::to_value(images)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    for image in images {
        let names: Vec<&str> = image.names.iter().map(String::as_str).collect();
        print(&format!("{} {}", names.join(" "), image.digest))?;
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
