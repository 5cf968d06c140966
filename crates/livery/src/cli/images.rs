//! `livery images …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Server;

/// `livery images …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Images {
    /// Bring an image in from a file: an OCI image layout (folder or tar) or a `docker save` archive, compressed or not.
    ///
    /// Every digest is checked, then the image is unpacked once into the data directory. A server may be at work on it. What
    /// an image says about users, commands and ports is not used; of its variables, PATH and the rest are.
    Import {
        /// The folder or the archive; `-` reads an archive from standard input.
        path: PathBuf,
        /// What it is called here, NAME or NAME:TAG (default: what it says of itself).
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        place: ImagePlace,
    },
    /// Fetch an image from a registry, such as debian:12 or registry.example/team/tools:1@sha256:….
    ///
    /// Over TLS, or from loopback without. Where the registry asks who you are, set LIVERY_REGISTRY_HOST,
    /// LIVERY_REGISTRY_USER and LIVERY_REGISTRY_PASSWORD.
    Pull {
        /// NAME, NAME:TAG, NAME:TAG@sha256:DIGEST; without a host the usual public registry.
        name: String,
        /// Trust the certificates in this PEM file for the registry, besides the system's.
        #[arg(long, value_name = "FILE", env = "LIVERY_REGISTRY_CA")]
        ca: Option<PathBuf>,
        #[command(flatten)]
        place: ImagePlace,
    },
    /// Make an image out of a folder: one layer with its files, folders and links.
    ///
    /// Nothing is run and nothing fetched; make the folder with a tool of your choice, such as debootstrap. Owners, setuid
    /// bits, devices and what is in /proc, /sys, /dev, /run and /tmp stay behind. Every run can read all of it.
    Build {
        /// NAME or NAME:TAG.
        name: String,
        /// The folder that becomes the root.
        #[arg(long, value_name = "DIR")]
        from_dir: PathBuf,
        #[command(flatten)]
        place: ImagePlace,
    },
    /// List the images of the node that answers.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Remove an image from the node that answers; refused while agents or runs use it.
    Rm {
        /// NAME or NAME:TAG.
        name: String,
        #[command(flatten)]
        server: Server,
    },
}

/// Where images are put.
#[derive(Debug, Args)]
pub(crate) struct ImagePlace {
    /// The data directory of a server.
    #[arg(long, value_name = "DIR", env = "LIVERY_DATA", default_value = "livery-data")]
    pub(crate) data: PathBuf,
    /// Started as root: become this user before anything is read (default: `livery`, else `nobody`).
    #[arg(long, value_name = "NAME", env = "LIVERY_USER")]
    pub(crate) user: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
