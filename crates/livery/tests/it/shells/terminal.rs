//! The command line before a real terminal: a pseudo-terminal that is the controlling one of its session.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

use crate::support::{PATIENCE, Server, text};

pub(super) struct Seat {
    master: File,
    slave: OwnedFd,
    child: Child,
    shown: String,
    /// How the terminal was set before.
    pub(super) before: String,
}

impl Seat {
    pub(super) fn take(server: &Server, args: &[&str], size: (u16, u16)) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = rustix::fs::open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        // `setsid` of util-linux makes it the session's own, so that it sends signals.
        let livery = server.command(args);
        let mut command = std::process::Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(livery.get_program()).args(livery.get_args());
        for (name, value) in livery.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let end = || slave.try_clone().unwrap();
        command.stdin(end()).stdout(end()).stderr(end());
        let (master, before) = (File::from(master), format!("{:?}", tcgetattr(&slave).unwrap()));
        set_size(&master, size);
        Self { master, child: command.spawn().unwrap(), slave, shown: String::new(), before }
    }

    pub(super) fn resize(&mut self, size: (u16, u16)) {
        set_size(&self.master, size);
    }

    /// How the terminal is set.
    pub(super) fn settings(&self) -> String {
        format!("{:?}", tcgetattr(&self.slave).unwrap())
    }

    pub(super) fn types(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// What is shown until this is, with it.
    pub(super) fn until(&mut self, wanted: &str) -> String {
        let begun = Instant::now();
        let mut room = [0; 4096];
        loop {
            if let Some(at) = self.shown.find(wanted) {
                let rest = self.shown.split_off(at + wanted.len());
                return std::mem::replace(&mut self.shown, rest);
            }
            assert!(begun.elapsed() < PATIENCE, "no {wanted:?} in {:?}", self.shown);
            let wait = rustix::event::Timespec { tv_sec: 1, tv_nsec: 0 };
            let mut ready = [rustix::event::PollFd::new(&self.master, rustix::event::PollFlags::IN)];
            if rustix::event::poll(&mut ready, Some(&wait)).unwrap() > 0 {
                let count = self.master.read(&mut room).unwrap();
                self.shown.push_str(&text(&room[..count]));
            }
        }
    }

    /// SIGTERM.
    pub(super) fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    pub(super) fn exit_code(&mut self) -> i32 {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap();
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end: {:?}", self.shown);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn set_size(master: &File, (columns, rows): (u16, u16)) {
    let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(master, size).unwrap();
}

impl Drop for Seat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
