//! Packing a workspace and laying one out, both inside the run's own sandbox and by its own user: a hostile archive reaches
//! nothing that the run could not reach anyway, and this process sees bytes with a limit and a digest.
//!
//! An archive has a name of its own for each use, one is made at a time ([`Packing`]), and it counts only when it is whole:
//! what `tar` answers is not enough, since not every `tar` says the same with it. Who uses it: `snapshot`, `workspace`.

use std::time::Duration;

use bytes::Bytes;
use livery_core::Error;
use livery_sandbox::{Exec, Sandbox};
use tokio::sync::Mutex;

use crate::Platform;
use crate::objects::Spooled;

/// Bytes moved at a time.
const PIECE_BYTES: u32 = 1024 * 1024;
/// Packing or unpacking.
const TAR_TIME: Duration = Duration::from_secs(60);
/// What an archive is called, but for its number.
const NAME: &str = "archive-";
/// The folder of archives on their way; no snapshot and no copy has one in it.
const FOLDER: &str = "/workspace/.livery";
/// Where everything lies.
const ROOT: &str = "/workspace";

/// Held by whoever packs a run's workspace.
pub(super) type Packing = Mutex<()>;

/// What goes into an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// Everything: a run goes on with it.
    All,
    /// What a later run begins with: not Livery's own folder, nor outputs, which are the run's artifacts.
    Kept,
}

impl What {
    const fn left_out(self) -> &'static str {
        match self {
            Self::All => "--exclude=./.livery/copy.tgz --exclude='./.livery/archive-*'",
            Self::Kept => "--exclude=./.livery --exclude=./outputs",
        }
    }
}

/// Why there is no archive, or nothing of one was laid out.
#[derive(Debug)]
pub(super) enum Failed {
    /// The sandbox is gone, or its guest refused.
    Sandbox(livery_sandbox::Error),
    /// The programs in the sandbox refused, in words.
    Refused(String),
    /// This node's disk, the object store, or a limit.
    Other(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<livery_sandbox::Error> for Failed {
    fn from(error: livery_sandbox::Error) -> Self {
        Self::Sandbox(error)
    }
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Sandbox(error) => Self::internal(error),
            Failed::Refused(detail) => Self::Conflict { code: "conflict", detail },
            Failed::Other(error) => error,
        }
    }
}

/// Packs a workspace as it is, after the commands `first`, and moves the archive out.
///
/// # Errors
/// [`Failed`]; [`Error::TooLarge`] for an archive of more than `bytes_max`.
pub(super) async fn pack(
    platform: &Platform,
    sandbox: &Sandbox,
    packing: &Packing,
    what: What,
    first: &str,
    bytes_max: u64,
) -> Result<Spooled, Failed> {
    let _alone = packing.lock().await;
    let archive = format!("{FOLDER}/{NAME}{:032x}", platform.mint());
    let disk_bytes = sandbox.spec().disk_mb.saturating_mul(1024 * 1024);
    let (code, said) = run(sandbox, &packing_script(ROOT, &archive, what, first, disk_bytes)).await?;
    if code != 0 {
        return Err(Failed::Refused(refusal(code)));
    }
    let packed = match said.trim().parse::<u64>() {
        Ok(bytes) => fetch(platform, sandbox, &archive, bytes, bytes_max).await,
        Err(_) => Err(Failed::Refused("the size of the archive was not said".to_owned())),
    };
    remove(sandbox, &archive).await;
    packed
}

/// Puts an archive into a sandbox and unpacks it, after the commands `first`.
///
/// # Errors
/// [`Failed`].
pub(super) async fn lay_out(
    platform: &Platform,
    sandbox: &Sandbox,
    packed: &Spooled,
    what: What,
    first: &str,
) -> Result<(), Failed> {
    let archive = format!("{FOLDER}/{NAME}{:032x}", platform.mint());
    sandbox.put_file(&archive, packed.open().await?, 0o600).await?;
    let out = what.left_out();
    let (code, _) = run(sandbox, &format!("{first} tar -C {ROOT} {out} -xzf {archive} && rm -f {archive}")).await?;
    if code == 0 { Ok(()) } else { Err(Failed::Refused(format!("tar ended with {code}"))) }
}

/// The commands that make an archive and look whether it is whole; they print its size. `tar` may say 1 and mean that a file
/// changed while it was read, which is no harm: GNU's alone means that. Archives of attempts that were broken off go first.
fn packing_script(root: &str, archive: &str, what: What, first: &str, disk_bytes: u64) -> String {
    let (folder, out) = (format!("{root}/.livery"), what.left_out());
    format!(
        "{first}mkdir -p {folder} || exit 90
rm -f {folder}/{NAME}* {folder}/copy.tgz
case $(tar --version 2>/dev/null) in *'GNU tar'*) gnu=-S ;; *) gnu= ;; esac
tar -C {root} {out} $gnu -czf {archive} .
code=$?
[ $code -eq 0 ] || {{ [ $code -eq 1 ] && [ -n \"$gnu\" ]; }} || {{ rm -f {archive}; exit 91; }}
end=$({{ gzip -dc {archive} || echo torn; }} | tail -c 1024 | tr -cd '\\000' | wc -c)
[ \"$end\" -eq 1024 ] || {{ rm -f {archive}; exit 92; }}
whole=$(gzip -dc {archive} | wc -c)
[ \"$whole\" -le {disk_bytes} ] || {{ rm -f {archive}; exit 93; }}
wc -c < {archive}"
    )
}

/// What the script's answer means.
fn refusal(code: i32) -> String {
    match code {
        90 => "there is no room for the archive, or something lies where Livery's folder is".to_owned(),
        91 => {
            "tar failed: a file that cannot be read, no room for the archive beside the files, or no tar that knows --exclude"
                .to_owned()
        }
        92 => "the archive is not whole: no room for it beside the files, or gzip failed".to_owned(),
        93 => "unpacked, it is larger than sandbox.disk_mb: a file with holes, and no tar that keeps them".to_owned(),
        code => format!("packing ended with {code}"),
    }
}

/// Makes room for a file whose path, relative to the workspace, is `$1`: what is no folder on the way to it goes, and so does
/// a folder in its place. Links are not followed.
const MAKE_WAY: &str = r#"cd "$0" || exit 1
at=. left=$1
while :; do
  case $left in */*) at=$at/${left%%/*} left=${left#*/} ;; *) break ;; esac
  if [ -d "$at" ] && [ ! -L "$at" ]; then chmod u+rwx "$at"; else rm -f "$at"; fi
done
at=$at/$left
[ ! -d "$at" ] || [ -L "$at" ] || { chmod -R u+rwX "$at"; rm -rf "$at"; }"#;

/// Makes room for a file in a workspace that an earlier run left. Whether there is room is seen when the file is put there.
pub(super) async fn make_way(sandbox: &Sandbox, path: &str) {
    let mut exec = Exec::new(["sh", "-c", MAKE_WAY, ROOT, path]);
    exec.cwd = Some("/".to_owned());
    exec.timeout = TAR_TIME;
    if let Err(error) = sandbox.exec(exec, |_, _| {}).await {
        tracing::debug!(%error, path, "what is in the way of a file stays");
    }
}

/// Whether a file could not be put because of what lies there.
pub(super) fn in_the_way(error: &livery_sandbox::Error) -> bool {
    use rustix::io::Errno;
    let known = [Errno::ISDIR, Errno::NOTDIR, Errno::LOOP, Errno::ACCESS, Errno::PERM, Errno::EXIST, Errno::NOTEMPTY];
    matches!(error, livery_sandbox::Error::Guest { errno, .. } if known.iter().any(|e| e.raw_os_error() == *errno))
}

/// Runs a script in the sandbox; its exit code, and what it printed.
async fn run(sandbox: &Sandbox, script: &str) -> Result<(i32, String), Failed> {
    let mut exec = Exec::new(["sh", "-c", script]);
    exec.cwd = Some("/".to_owned());
    exec.timeout = TAR_TIME;
    let result = sandbox.exec(exec, |_, _| {}).await?;
    let ended = || Failed::Refused(format!("tar was ended, or took longer than {} s", TAR_TIME.as_secs()));
    let code = result.exit_code.filter(|_| !result.timed_out).ok_or_else(ended)?;
    Ok((code, String::from_utf8_lossy(&result.stdout).into_owned()))
}

/// Moves the archive out, piece by piece: as many bytes as it had when it was found whole.
async fn fetch(
    platform: &Platform,
    sandbox: &Sandbox,
    archive: &str,
    bytes: u64,
    bytes_max: u64,
) -> Result<Spooled, Failed> {
    if bytes > bytes_max {
        return Err(Error::TooLarge { what: "the packed workspace", limit_bytes: bytes_max }.into());
    }
    let mut spool = platform.objects.spool("the packed workspace", bytes_max).await?;
    loop {
        let part = sandbox.get(archive, spool.bytes(), PIECE_BYTES).await?;
        if part.bytes.is_empty() {
            break;
        }
        spool.write(Bytes::from(part.bytes)).await?;
    }
    if spool.bytes() != bytes {
        return Err(Failed::Refused("the archive was changed while it was received".to_owned()));
    }
    Ok(spool.finish().await?)
}

/// The next use removes what this one could not.
async fn remove(sandbox: &Sandbox, archive: &str) {
    if let Err(failed) = run(sandbox, &format!("rm -f {archive}")).await {
        tracing::debug!(?failed, archive, "an archive stays in its sandbox");
    }
}

#[cfg(test)]
mod tests;
