//! A stand-in for Firecracker where there is none, or no KVM: its command line, its configuration file and its vsock's sockets, as strict as
//! its OpenAPI description, and the real guest behind it, as an ordinary process.
//!
//! What it does not have is a machine. The "kernel" is a static busybox, which becomes the guest's only program; the guest comes out of
//! the initramfs that a machine would start from. It needs the standard library alone, so that a test can build it as one static file
//! with `rustc`: a carrier's root holds nothing else. Read next: `config.rs`, `api.rs`, `machine.rs`, `../../tests/it/firecracker.rs`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its console is its standard output")]

mod api;
mod config;
mod json;
mod machine;

use std::os::unix::net::UnixListener;
use std::process::ExitCode;

/// What a test appends to this program's file to change what it says of itself.
const MARK: &[u8] = b"\nFAKE:";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = Options::read(&arguments).and_then(|options| {
        if options.version {
            println!("Firecracker v{}\n", version());
            return Ok(());
        }
        if options.config_file.is_empty() {
            return machine::restored(&listen(&options.api_sock)?);
        }
        let api = (!options.api_sock.is_empty()).then(|| listen(&options.api_sock)).transpose()?;
        let text = std::fs::read_to_string(&options.config_file).map_err(|error| error.to_string())?;
        machine::run(&text, api.as_ref())
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn listen(path: &str) -> Result<UnixListener, String> {
    UnixListener::bind(path).map_err(|error| format!("Failed to open the API socket at {path}: {error}"))
}

#[derive(Default)]
struct Options {
    version: bool,
    config_file: String,
    api_sock: String,
}

impl Options {
    /// The flags of Firecracker that Livery uses, and no others.
    fn read(arguments: &[String]) -> Result<Self, String> {
        let (mut options, mut no_api) = (Self::default(), false);
        let mut left = arguments.iter();
        while let Some(flag) = left.next() {
            let mut value =
                || left.next().cloned().ok_or_else(|| format!("Arguments parsing error: {flag} needs a value"));
            match flag.as_str() {
                "--version" => options.version = true,
                "--no-api" => no_api = true,
                "--config-file" => options.config_file = value()?,
                "--api-sock" => options.api_sock = value()?,
                "--level" => {
                    let level = value()?;
                    if !["Off", "Error", "Warn", "Info"].contains(&level.as_str()) {
                        return Err(format!("Invalid value for logger level: {level}"));
                    }
                }
                other => {
                    return Err(format!("Arguments parsing error: found argument '{other}' which wasn't expected"));
                }
            }
        }
        if no_api && options.config_file.is_empty() {
            return Err("Arguments parsing error: --no-api requires --config-file".to_owned());
        }
        if !options.version && no_api != options.api_sock.is_empty() {
            return Err("this stand-in has either no API, or one at a path that was said".to_owned());
        }
        Ok(options)
    }
}

fn version() -> String {
    std::fs::read("/proc/self/exe").ok().and_then(|own| mark(&own)).unwrap_or_else(|| "1.12.0".to_owned())
}

/// What stands behind the last mark of a file, if it has one near its end.
fn mark(bytes: &[u8]) -> Option<String> {
    let end = &bytes[bytes.len().saturating_sub(64)..];
    let at = end.windows(MARK.len()).rposition(|part| part == MARK)?;
    String::from_utf8(end[at + MARK.len()..].to_vec()).ok()
}
