//! Starting a command: everything that allocates happens before the child is there, so that it only makes system calls.
//!
//! The child borrows this process's memory until it is its program, and this process stands still meanwhile (`CLONE_VM | CLONE_VFORK`): no
//! page tables are copied only to be thrown away, which under gVisor costs more than the program's own start.
//! Each command leads its own session, and so its own process group, which is what a timeout kills.
//! Read next: `process.rs`, `terminal.rs`.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use livery_guest::wire::message::Exec;
use livery_guest::wire::terminal::Open;

use crate::sys::check;
use crate::{output, pty};

/// The child's stack until it has its program's: its calls are few and flat.
const STACK_BYTES: usize = 64 * 1024;

/// A command that runs.
pub(crate) struct Child {
    pub(crate) pid: i32,
    pub(crate) stdin: Option<OwnedFd>,
    /// Standard output and error; `None` in the background.
    pub(crate) outputs: Option<(OwnedFd, OwnedFd)>,
}

/// What the child needs, ready for the kernel.
struct Prepared {
    programs: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
    cwd: CString,
}

/// What went wrong, and while doing what.
pub(crate) type Failed = (io::Error, &'static str);

/// Starts `exec`. The error says which step failed.
pub(crate) fn spawn(exec: &Exec, background_log: &str) -> Result<Child, Failed> {
    let prepared = prepare(&exec.argv, &exec.env, &exec.cwd)?;
    let (stdin_read, stdin_write) = pipe()?;
    let (outputs, out, err) = if exec.background {
        let log = output::create(background_log).map_err(|error| (error, "creating the output file"))?;
        let log = OwnedFd::from(log);
        let copy = log.try_clone().map_err(|error| (error, "opening the output file"))?;
        (None, log, copy)
    } else {
        let (out_read, out_write) = pipe()?;
        let (err_read, err_write) = pipe()?;
        (Some((out_read, err_read)), out_write, err_write)
    };
    let stdio = [stdin_read.as_raw_fd(), out.as_raw_fd(), err.as_raw_fd()];
    let pid = start(&prepared, stdio, Terminal::None)?;
    Ok(Child { pid, stdin: exec.has_stdin.then_some(stdin_write), outputs })
}

/// Starts a program before a terminal of its own. The error says which step failed.
pub(crate) fn before_terminal(open: &Open, slave: OwnedFd) -> Result<i32, Failed> {
    let prepared = prepare(&open.argv, &open.env, &open.cwd)?;
    start(&prepared, [slave.as_raw_fd(); 3], Terminal::Own)
}

/// Whether standard input is a terminal that becomes the session's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Terminal {
    None,
    Own,
}

fn start(prepared: &Prepared, stdio: [RawFd; 3], terminal: Terminal) -> Result<i32, Failed> {
    let (failure_read, failure_write) = pipe()?;
    let pid = fork_exec(prepared, stdio, terminal, failure_write.as_raw_fd());
    let pid = pid.map_err(|error| (error, "starting a process"))?;
    drop(failure_write);
    let Some((step, errno)) = read_failure(&failure_read) else { return Ok(pid) };
    let doing = match step {
        b'c' => "entering the working directory",
        b't' => "taking the terminal",
        _ => "executing the program",
    };
    Err((io::Error::from_raw_os_error(errno), doing))
}

fn prepare(argv: &[Vec<u8>], env: &[Vec<u8>], cwd: &[u8]) -> Result<Prepared, Failed> {
    let strings =
        |list: &[Vec<u8>]| list.iter().map(|s| Ok(CString::new(s.as_slice())?)).collect::<io::Result<Vec<_>>>();
    let program = argv.first().map_or(&[][..], Vec::as_slice);
    let prepared = || {
        io::Result::Ok(Prepared {
            programs: candidates(program, env)?,
            argv: strings(argv)?,
            env: strings(env)?,
            cwd: CString::new(cwd)?,
        })
    };
    prepared().map_err(|error| (error, "reading the command"))
}

/// The paths a program's name may mean, in the order of `PATH`.
fn candidates(program: &[u8], env: &[Vec<u8>]) -> io::Result<Vec<CString>> {
    if program.contains(&b'/') {
        return Ok(vec![CString::new(program)?]);
    }
    let path = env.iter().find_map(|entry| entry.strip_prefix(b"PATH=")).unwrap_or(b"/usr/local/bin:/usr/bin:/bin");
    path.split(|byte| *byte == b':').map(|folder| Ok(CString::new([folder, b"/", program].concat())?)).collect()
}

fn pipe() -> Result<(OwnedFd, OwnedFd), Failed> {
    let mut fds: [RawFd; 2] = [-1; 2];
    // SAFETY: `fds` is a valid place for two descriptors; on success both are open and owned by no one else.
    unsafe {
        check(libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC)).map_err(|error| (error, "making a pipe"))?;
        Ok((OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])))
    }
}

/// What the child reads of its parent's memory, and where it writes what failed.
struct Start<'a> {
    prepared: &'a Prepared,
    argv: &'a [*const libc::c_char],
    env: &'a [*const libc::c_char],
    stdio: [RawFd; 3],
    terminal: Terminal,
    failure: RawFd,
}

fn fork_exec(prepared: &Prepared, stdio: [RawFd; 3], terminal: Terminal, failure: RawFd) -> io::Result<i32> {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|s| s.as_ptr()).chain(std::iter::once(std::ptr::null())).collect()
    };
    let (argv, env) = (pointers(&prepared.argv), pointers(&prepared.env));
    let mut start = Start { prepared, argv: &argv, env: &env, stdio, terminal, failure };
    let mut stack = vec![0_u8; STACK_BYTES];
    // The kernel wants its upper end, on a boundary of sixteen.
    let end = stack.as_mut_ptr_range().end;
    let top = end.wrapping_sub(end.addr() % 16);
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: this process has one thread and waits until the child has left its memory, so the child may read all of `start`, which
    // outlives the call, and runs on a stack that nobody else uses. It makes system calls only and never returns into this frame.
    unsafe { check(libc::clone(in_child, top.cast(), flags, (&raw mut start).cast())) }
}

/// The child's whole life before it is its program.
extern "C" fn in_child(start: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `fork_exec` gives a `Start` that lives until this process has left its memory.
    unsafe {
        let start = &*start.cast::<Start<'_>>();
        let (step, errno) = become_command(start);
        let [a, b, c, d] = errno.to_le_bytes();
        let report = [step, a, b, c, d];
        libc::write(start.failure, report.as_ptr().cast(), report.len());
        libc::_exit(127);
    }
}

/// In the child. Comes back only with the step that failed and its error.
///
/// # Safety
/// Only in a new process with one thread; `argv` and `env` end with null.
unsafe fn become_command(start: &Start<'_>) -> (u8, i32) {
    let Start { prepared, argv, env, stdio, terminal, .. } = *start;
    let errno = || io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    // SAFETY: see the function's contract; the rest are system calls on integers and valid C strings.
    unsafe {
        libc::setsid();
        if terminal == Terminal::Own && !pty::take(stdio[0]) {
            return (b't', errno());
        }
        for (fd, target) in stdio.into_iter().zip(0..) {
            libc::dup2(fd, target);
        }
        // Dispositions are the child's own, unlike its memory.
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::umask(0o022);
        if libc::chdir(prepared.cwd.as_ptr()) == -1 {
            return (b'c', errno());
        }
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
        let mut worst = libc::ENOENT;
        for program in &prepared.programs {
            let program: &CStr = program;
            libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr());
            match errno() {
                libc::ENOENT | libc::ENOTDIR => {}
                other => worst = other,
            }
        }
        (b'e', worst)
    }
}

/// Waits for the child's `execve`: the pipe closes on success, or carries the step and its error.
fn read_failure(pipe: &OwnedFd) -> Option<(u8, i32)> {
    use std::os::fd::AsFd;
    let mut report = [0; 5];
    loop {
        match crate::sys::read(pipe.as_fd(), &mut report) {
            Ok(5) => return Some((report[0], i32::from_le_bytes([report[1], report[2], report[3], report[4]]))),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => return None,
        }
    }
}
