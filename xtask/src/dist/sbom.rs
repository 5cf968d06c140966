//! The parts list: CycloneDX 1.6 as JSON, from what cargo compiled and from the C code that two packages carry.
//!
//! The same release gives the same list: its serial number is made from its content, its time is the commit's.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::Facts;
use super::archive::sha256;
use super::packages::{Package, Packages, Role};

/// C code that lies inside a package: (package, file with the version, what stands before it, name, CPE vendor and product,
/// licence).
const BUNDLED: &[(&str, &str, &str, &str, &str, &str)] = &[
    ("libsqlite3-sys", "sqlite3/sqlite3.h", "#define SQLITE_VERSION ", "sqlite", "sqlite:sqlite", "blessing"),
    (
        "aws-lc-sys",
        "aws-lc/include/openssl/base.h",
        "#define AWSLC_VERSION_NUMBER_STRING ",
        "aws-lc",
        "amazon:aws-lc",
        "ISC AND (Apache-2.0 OR ISC) AND OpenSSL",
    ),
];

/// The list of one release; `c_library` is the version of the C library the guest is linked with, where it is known.
pub fn list(facts: &Facts, program: &[u8], packages: &Packages, c_library: Option<&str>) -> anyhow::Result<Value> {
    let root = reference("livery", &facts.version);
    let mut components: Vec<Value> = Vec::new();
    let mut dependencies: Vec<Value> = Vec::new();
    for package in packages.by_key.values() {
        let bundled = bundled_in(package);
        let own = if package.name == "livery" { root.clone() } else { package_reference(package) };
        if package.name != "livery" {
            components.push(component(package));
        }
        let mut needs: Vec<String> = package
            .dependencies
            .iter()
            .filter_map(|key| packages.by_key.get(key))
            .filter(|other| other.name != "livery")
            .map(package_reference)
            .collect();
        needs.extend(bundled.iter().filter_map(|part| part["bom-ref"].as_str()).map(str::to_owned));
        needs.sort();
        dependencies.push(json!({"ref": own, "dependsOn": needs}));
        components.extend(bundled);
    }
    components.extend(runtimes(facts, c_library));
    let mut list = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": timestamp(facts.epoch_s)?,
            "tools": {"components": [{"type": "application", "name": "cargo xtask dist", "version": facts.version}]},
            "component": {
                "type": "application",
                "bom-ref": root,
                "name": "livery",
                "version": facts.version,
                "licenses": [{"expression": "Apache-2.0"}],
                "hashes": [{"alg": "SHA-256", "content": sha256(program)}],
                "properties": [
                    {"name": "livery:target", "value": facts.target},
                    {"name": "livery:commit", "value": facts.commit},
                    {"name": "livery:rustc", "value": facts.compiler},
                ],
            },
        },
        "components": components,
        "dependencies": dependencies,
    });
    list["serialNumber"] = serial_number(&list).into();
    Ok(list)
}

fn component(package: &Package) -> Value {
    let mut component = Map::new();
    let mut set = |name: &str, value: Value| component.insert(name.to_owned(), value);
    set("type", "library".into());
    set("bom-ref", package_reference(package).into());
    set("name", package.name.clone().into());
    set("version", package.version.clone().into());
    // Tools leave nothing in the program.
    set("scope", if package.role == Role::Linked { "required" } else { "excluded" }.into());
    if !package.description.is_empty() {
        set("description", package.description.clone().into());
    }
    if !package.licence.is_empty() {
        set("licenses", json!([{"expression": package.licence}]));
    }
    if !package.is_ours() {
        set("purl", format!("pkg:cargo/{}@{}", package.name, encoded(&package.version)).into());
        set("hashes", json!([{"alg": "SHA-256", "content": package.checksum}]));
    }
    if package.repository.starts_with("https://") {
        set("externalReferences", json!([{"type": "vcs", "url": package.repository}]));
    }
    Value::Object(component)
}

fn package_reference(package: &Package) -> String {
    reference(&package.name, &package.version)
}

fn reference(name: &str, version: &str) -> String {
    format!("cargo:{name}@{version}")
}

/// Build metadata (`1.0.0+x`) has a sign that a package URL must encode.
fn encoded(version: &str) -> String {
    version.replace('+', "%2B")
}

/// C code inside a package that goes into the program: scanners know it by names of its own.
fn bundled_in(package: &Package) -> Vec<Value> {
    let mut found = Vec::new();
    for (holder, file, before, name, cpe, licence) in BUNDLED {
        let version = || quoted_after(&package.folder.join(file), before);
        if package.name == *holder
            && package.role == Role::Linked
            && let Some(version) = version()
        {
            found.push(json!({
                "type": "library",
                "bom-ref": format!("bundled:{name}@{version}"),
                "name": name,
                "version": version,
                "scope": "required",
                "licenses": [{"expression": licence}],
                "cpe": format!("cpe:2.3:a:{cpe}:{version}:*:*:*:*:*:*:*"),
                "description": format!("C code inside {}", package.key()),
            }));
        }
    }
    found
}

/// The text in quotes on the line that begins with `before`.
fn quoted_after(file: &Path, before: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(before))?;
    line.split('"').nth(1).map(str::to_owned)
}

/// What the compiler and the C library put in: no package names them.
fn runtimes(facts: &Facts, c_library: Option<&str>) -> Vec<Value> {
    let mut parts = vec![json!({
        "type": "library",
        "bom-ref": format!("toolchain:rust-std@{}", facts.compiler),
        "name": "rust-std",
        "version": facts.compiler,
        "scope": "required",
        "licenses": [{"expression": "MIT OR Apache-2.0"}],
        "description": "the Rust standard library, compiled in",
    })];
    if let Some(version) = c_library.filter(|_| facts.target.ends_with("-gnu")) {
        parts.push(json!({
            "type": "library",
            "bom-ref": format!("toolchain:glibc@{version}"),
            "name": "glibc",
            "version": version,
            "scope": "required",
            "licenses": [{"expression": "LGPL-2.1-or-later"}],
            "cpe": format!("cpe:2.3:a:gnu:glibc:{version}:*:*:*:*:*:*:*"),
            "description": "linked into the guest program that lies inside livery; livery itself uses the system's",
        }));
    }
    parts
}

/// RFC 3339, in UTC.
fn timestamp(epoch_s: u64) -> anyhow::Result<String> {
    Ok(jiff::Timestamp::from_second(i64::try_from(epoch_s)?)?.to_string())
}

/// A UUID (RFC 9562, version 8) from the list's own content.
fn serial_number(list: &Value) -> String {
    let mut hex: Vec<u8> = sha256(list.to_string().as_bytes()).into_bytes();
    hex.truncate(32);
    hex[12] = b'8';
    hex[16] = b'8';
    let hex = String::from_utf8_lossy(&hex);
    format!("urn:uuid:{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests;
