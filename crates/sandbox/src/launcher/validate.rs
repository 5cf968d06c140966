//! What the launcher accepts: it may be root, so it believes nothing the platform says about a sandbox.
//!
//! Read next: `server.rs`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::Spec;

const MEMORY_MB: std::ops::RangeInclusive<u64> = 16..=1024 * 1024;
const DISK_MB: std::ops::RangeInclusive<u64> = 1..=16 * 1024 * 1024;
const PIDS: std::ops::RangeInclusive<u32> = 4..=32_768;
const CPU: std::ops::RangeInclusive<f64> = 0.01..=1024.0;
const WALL_CLOCK_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Checks an id; it becomes a file name and a cgroup name.
pub(crate) fn id(id: &str) -> Result<(), String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=64).contains(&id.len()) && id.bytes().all(good) {
        Ok(())
    } else {
        Err("an id is 1 to 64 letters, digits, `_` or `-`".to_owned())
    }
}

/// Checks a whole spec; the error names the field.
pub(crate) fn spec(spec: &Spec) -> Result<(), String> {
    id(&spec.id)?;
    let within = |name: &str, good: bool, range: String| {
        if good { Ok(()) } else { Err(format!("{name} is outside {range}")) }
    };
    within("cpu", CPU.contains(&spec.cpu), format!("{CPU:?}"))?;
    within("memory_mb", MEMORY_MB.contains(&spec.memory_mb), format!("{MEMORY_MB:?}"))?;
    within("disk_mb", DISK_MB.contains(&spec.disk_mb), format!("{DISK_MB:?}"))?;
    within("pids", PIDS.contains(&spec.pids), format!("{PIDS:?}"))?;
    let clock = spec.wall_clock;
    within("wall_clock", !clock.is_zero() && clock <= WALL_CLOCK_MAX, format!("up to {WALL_CLOCK_MAX:?}"))
}

/// Checks that an image is named by a digest in one of the operator's folders, and answers that folder and the name. Looks at
/// nothing: what lies there is for whoever opens it to judge.
pub(crate) fn image<'a>(path: &'a Path, allowed: &'a [PathBuf]) -> Result<(&'a Path, &'a str), String> {
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name.len() != 64 || !name.bytes().all(hex) {
        return Err(format!("image {} is not named by its digest", path.display()));
    }
    let folder = allowed.iter().find(|folder| path.parent() == Some(folder));
    let folder = folder.ok_or_else(|| format!("image {} is in no folder the operator allows", path.display()))?;
    Ok((folder, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_could_leave_its_place() {
        for bad in ["", ".", "..", "a/b", "a b", "é", &"x".repeat(65)] {
            assert!(id(bad).is_err(), "{bad:?}");
        }
        assert!(id("run_01j-X").is_ok());
        let refused = |change: fn(&mut Spec)| {
            let mut changed = Spec::new("a");
            change(&mut changed);
            spec(&changed).unwrap_err()
        };
        assert_eq!(refused(|s| s.cpu = f64::NAN), "cpu is outside 0.01..=1024.0");
        assert_eq!(refused(|s| s.memory_mb = u64::MAX), "memory_mb is outside 16..=1048576");
        assert_eq!(refused(|s| s.pids = 0), "pids is outside 4..=32768");
        assert!(refused(|s| s.wall_clock = Duration::ZERO).starts_with("wall_clock"));
        assert!(spec(&Spec::new("a")).is_ok());
    }

    #[test]
    fn an_image_is_a_digest_in_an_allowed_folder() {
        let images = PathBuf::from("/srv/images/roots");
        let allowed = [images.clone()];
        let digest = "0123456789abcdef".repeat(4);
        let path = images.join(&digest);
        assert_eq!(image(&path, &allowed), Ok((images.as_path(), digest.as_str())));
        for bad in [
            images.join("debian"),
            images.join(digest.to_uppercase()),
            images.join("x").join(&digest),
            images.join("..").join(&digest),
            images.join(&digest).join(".."),
            PathBuf::from("/").join(&digest),
            PathBuf::from("/"),
            images.clone(),
        ] {
            assert!(image(&bad, &allowed).is_err(), "{}", bad.display());
        }
    }
}
