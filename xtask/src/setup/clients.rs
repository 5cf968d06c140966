//! Ordinary Python clients of HTTP APIs, which a test of the whole binary runs unmodified inside a sandbox.
//!
//! They lie below `target/tools`; the test copies them into the sandbox, whose Python is the host's own.

use std::path::Path;

use super::verifiers;

/// The Python that a sandbox has, too.
const PYTHON: &str = "/usr/bin/python3";
/// Packages on PyPI.
const PACKAGES: &[&str] =
    &["requests==2.34.2", "openai==3.54.0", "boto3==1.44.5", "stripe==16.1.0", "websockets==17.4"];

/// A benchmark of agents whose tools' answers give orders, played against the broker.
const AGENTDOJO: &str = "agentdojo==0.1.35";

/// Installs what is missing. Without that Python they are left out, and their test says so.
///
/// # Errors
/// The registry cannot be reached, the disk is full.
pub(super) fn install() -> anyhow::Result<()> {
    if !Path::new(PYTHON).exists() {
        println!(" missing  {PYTHON}, so {} are left out", PACKAGES.join(" and "));
        return Ok(());
    }
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools");
    verifiers::python(PYTHON, &tools.join("clients"), PACKAGES)?;
    verifiers::python(PYTHON, &tools.join("agentdojo"), &[AGENTDOJO])
}
