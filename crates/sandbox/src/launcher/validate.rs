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

/// Checks that an image folder lies below one of the operator's, and answers its real path.
pub(crate) fn image(path: &Path, allowed: &[PathBuf]) -> Result<PathBuf, String> {
    let real = path.canonicalize().map_err(|error| format!("image {}: {error}", path.display()))?;
    let below = |folder: &PathBuf| folder.canonicalize().is_ok_and(|f| real.starts_with(&f) && real != f);
    if !real.is_dir() {
        return Err(format!("image {} is not a folder", path.display()));
    }
    if allowed.iter().any(below) {
        Ok(real)
    } else {
        Err(format!("image {} is in no folder the operator allows", path.display()))
    }
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
    fn an_image_is_below_an_allowed_folder_after_links_are_followed() {
        let temp = tempfile::tempdir().unwrap();
        let images = temp.path().join("images");
        std::fs::create_dir_all(images.join("debian")).unwrap();
        std::os::unix::fs::symlink("/", images.join("trick")).unwrap();
        let allowed = [images.clone()];
        assert!(image(&images.join("debian"), &allowed).is_ok());
        assert!(image(&images.join("trick"), &allowed).is_err());
        assert!(image(&images.join("debian/../.."), &allowed).is_err());
        assert!(image(Path::new("/"), &allowed).is_err());
        assert!(image(&images, &allowed).is_err());
    }
}
