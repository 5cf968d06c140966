//! Terminals inside: a person could sit there, what was shown can be read later, and nobody else is there.

use std::time::{Duration, Instant};

use livery_sandbox::{Ended, Error, RING_BYTES, Sandbox, Shown, Size, TERMINALS_MAX, Terminal, TerminalSpec, Tier};

use crate::house::{As, House, PATIENCE, output, until_running, walls, walls_with_a_machine};

/// A shell that says nothing by itself.
fn plain_shell() -> TerminalSpec {
    let env = vec![("PS1".to_owned(), String::new()), ("ENV".to_owned(), String::new())];
    TerminalSpec { env, ..TerminalSpec::new(["sh", "-i"]) }
}

/// Reads on from the beginning until the text is there, or the program ended.
async fn shown_until(terminal: &Terminal, wanted: &str) -> (String, Option<Ended>) {
    let (mut text, mut offset, began) = (Vec::new(), 0, Instant::now());
    loop {
        let so_far = String::from_utf8_lossy(&text).into_owned();
        if so_far.contains(wanted) {
            return (so_far, None);
        }
        assert!(began.elapsed() < PATIENCE, "no {wanted:?} in {so_far:?}");
        let Some(shown) = terminal.read(offset, 1000, Duration::from_secs(5)).await.unwrap() else { continue };
        offset = shown.end();
        text.extend_from_slice(&shown.bytes);
        if shown.ended.is_some() {
            return (String::from_utf8_lossy(&text).into_owned(), shown.ended);
        }
    }
}

async fn types(terminal: &Terminal, text: &str) {
    terminal.write(text.as_bytes(), PATIENCE).await.unwrap();
}

async fn until_ended(terminal: &Terminal) -> (String, Option<Ended>) {
    shown_until(terminal, "\u{0}never shown").await
}

#[tokio::test]
async fn a_terminal_is_one_and_lasts_between_calls() {
    for wall in walls_with_a_machine() {
        let house = House::open(wall);
        let sandbox = house.sandbox("one").await;
        let size = Size { rows: 31, columns: 97 };
        let terminal = sandbox.terminal(TerminalSpec { size, ..plain_shell() }).await.unwrap();
        assert!(terminal.pid() > 1);
        types(&terminal, "tty; stty size; cd /tmp; test -t 0 && test -t 1 && test -t 2 && echo is-\"one\"\n").await;
        let (text, _) = shown_until(&terminal, "is-one").await;
        assert!(text.contains("/dev/pts/0") && text.contains("31 97"), "{wall:?}: {text}");
        // What was done before still counts, and what was shown can be read again.
        types(&terminal, "pwd; echo $((40 + 2))-seen\n").await;
        let (text, _) = shown_until(&terminal, "42-seen").await;
        assert!(text.contains("\n/tmp"), "{wall:?}: {text}");
        // Programs are told of a new size.
        types(&terminal, "trap 'stty size; echo size-\"changed\"' WINCH; echo trap-\"set\"\n").await;
        shown_until(&terminal, "trap-set").await;
        terminal.resize(Size { rows: 40, columns: 120 }).await.unwrap();
        types(&terminal, ":\n").await;
        let (text, _) = shown_until(&terminal, "size-changed").await;
        assert!(text.contains("40 120"), "{wall:?}: {text}");
        // Ctrl-C ends what runs before it, and not the shell.
        types(&terminal, "sleep 1000; echo after-\"sleep\"\n").await;
        until_running(&sandbox, "sleep", 1).await;
        types(&terminal, "\u{3}").await;
        until_running(&sandbox, "sleep", 0).await;
        // gVisor's kernel has a /dev/tty that nobody can open.
        types(&terminal, "echo to-the-\"terminal\" > /dev/tty; exit 7\n").await;
        let (text, ended) = until_ended(&terminal).await;
        assert_eq!(text.contains("to-the-terminal"), wall.tier != Tier::Gvisor, "{wall:?}: {text}");
        assert_eq!(ended, Some(Ended::Code(7)), "{wall:?}: {text}");
        // Typing into one that has ended goes nowhere, without waiting for ever.
        types(&terminal, &"x".repeat(100_000)).await;
        assert_eq!(output(&sandbox, "echo fine").await, "fine");
    }
}

#[tokio::test]
async fn a_flood_costs_its_host_one_answer_and_its_end_is_kept() {
    for wall in walls() {
        let house = House::open(wall);
        let sandbox = house.sandbox("one").await;
        let terminal =
            sandbox.terminal(TerminalSpec::new(["sh", "-c", "seq 1 200000; touch done; exit 3"])).await.unwrap();
        let began = Instant::now();
        // Nobody looks, and it ends all the same.
        while output(&sandbox, "ls").await != "done" {
            assert!(began.elapsed() < PATIENCE);
        }
        let Shown { start, bytes, ended } = terminal.read(0, u32::MAX, PATIENCE).await.unwrap().unwrap();
        assert!(start > 0 && bytes.len() == 32 * 1024 && ended.is_none(), "{start} {} {ended:?}", bytes.len());
        let (mut offset, mut last) = (start, Vec::new());
        let ended = loop {
            let shown = terminal.read(offset, u32::MAX, PATIENCE).await.unwrap().unwrap();
            assert_eq!(shown.start, offset);
            offset = shown.end();
            last.extend(shown.bytes);
            if let Some(ended) = shown.ended {
                break ended;
            }
            assert!(began.elapsed() < PATIENCE);
        };
        assert_eq!((ended, last.len()), (Ended::Code(3), RING_BYTES), "{wall:?}");
        assert!(last.ends_with(b"200000\r\n"));
        // Asking beyond the end of one that has ended is answered at once.
        let beyond = terminal.read(offset + 1000, 10, PATIENCE).await.unwrap().unwrap();
        assert_eq!((beyond.bytes.len(), beyond.ended), (0, Some(Ended::Code(3))));
    }
}

#[tokio::test]
async fn closing_hangs_up_and_there_are_only_so_many() {
    for wall in walls_with_a_machine() {
        let house = House::open(wall);
        let sandbox = house.sandbox("one").await;
        let mut open = Vec::new();
        for _ in 0..TERMINALS_MAX {
            // One that does not mind a hang-up is killed.
            open.push(sandbox.terminal(TerminalSpec::new(["sh", "-c", "trap '' HUP; sleep 1000"])).await.unwrap());
        }
        let more = sandbox.terminal(plain_shell()).await;
        assert!(matches!(more, Err(Error::Guest { errno: 0, .. })), "{wall:?}: {more:?}");
        until_running(&sandbox, "sleep", TERMINALS_MAX).await;
        drop(open);
        until_running(&sandbox, "sleep", 0).await;
        let again = sandbox.terminal(plain_shell()).await.unwrap();
        types(&again, "echo here-\"again\"\n").await;
        shown_until(&again, "here-again").await;
        let missing = sandbox.terminal(TerminalSpec::new(["no-such-program"])).await.unwrap_err();
        assert!(missing.is_not_found(), "{missing:?}");
        let nonsense = TerminalSpec { size: Size { rows: 0, columns: 80 }, ..plain_shell() };
        assert!(matches!(sandbox.terminal(nonsense).await, Err(Error::Invalid(_))));
    }
}

#[tokio::test]
async fn nobody_waits_for_a_terminal_whose_sandbox_is_gone() {
    for wall in walls() {
        let house = House::open(wall);
        let sandbox = house.sandbox("one").await;
        let terminal = sandbox.terminal(TerminalSpec::new(["sleep", "1000"])).await.unwrap();
        let quiet = terminal.read(0, 100, Duration::from_millis(50)).await.unwrap();
        assert_eq!(quiet, None);
        let killed = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            sandbox.kill("test").await.unwrap();
        };
        let (read, ()) = tokio::join!(terminal.read(0, 100, PATIENCE), killed);
        assert!(matches!(read, Err(Error::Lost(_))), "{wall:?}: {read:?}");
        let typed = terminal.write(&[b'x'; 100_000], PATIENCE).await;
        assert!(matches!(typed, Err(Error::Lost(_))), "{wall:?}: {typed:?}");
    }
}

#[tokio::test]
async fn nothing_can_be_typed_into_a_terminal_from_behind() {
    for wall in walls_with_a_machine() {
        let house = House::open(wall);
        let sandbox = house.sandbox("one").await;
        // TIOCSTI and TIOCLINUX on its own terminal, which a kernel would allow it.
        let attack = "import fcntl,errno\nfor call in (0x5412, 0x541C):\n  try:\n    fcntl.ioctl(0, call, b'x'); print('typed')\n  except OSError as e:\n    print('refused', errno.errorcode[e.errno])";
        sandbox.put("attack.py", attack.as_bytes(), 0o644).await.unwrap();
        let terminal = sandbox.terminal(TerminalSpec::new(["python3", "attack.py"])).await.unwrap();
        let (text, _) = until_ended(&terminal).await;
        assert_eq!(text.matches("refused EPERM").count(), 2, "{wall:?}: {text}");
        assert!(!text.contains("typed"));
    }
}

/// Two sandboxes have terminals of the same name, which are not the same.
#[tokio::test]
async fn terminals_are_the_sandboxs_own() {
    for wall in walls() {
        let house = House::open(wall);
        let (one, two) = (house.sandbox("one").await, house.sandbox("two").await);
        assert_eq!(output(&one, "ls /dev/pts").await, "ptmx", "{wall:?}: nobody's");
        let victim = one.terminal(plain_shell()).await.unwrap();
        let other = two.terminal(plain_shell()).await.unwrap();
        types(&victim, "echo victim-\"ready\"\n").await;
        shown_until(&victim, "victim-ready").await;
        types(&other, "echo intruder > /dev/pts/0; ls /dev/pts; echo other-\"done\"\n").await;
        let (text, _) = shown_until(&other, "other-done").await;
        let list = text.lines().filter(|line| line.trim().parse::<u32>().is_ok()).count();
        assert_eq!(list, 0, "{wall:?}: {text}");
        types(&victim, "echo victim-\"still\"\n").await;
        let (text, _) = shown_until(&victim, "victim-still").await;
        assert!(!text.contains("intruder"), "{wall:?}: {text}");
    }
}

/// The control of the limit: the kernel would give more.
#[tokio::test]
async fn a_sandbox_cannot_take_all_terminals_of_its_host() {
    let house = House::open(As::User);
    let sandbox = house.sandbox("one").await;
    let script = "import os\nheld=[]\ntry:\n  while len(held) < 100: held.append(os.openpty())\nexcept OSError as e: print(len(held))";
    let counted: u32 = opened(&sandbox, script).await;
    assert!((1..=24).contains(&counted), "{counted}");
}

async fn opened(sandbox: &Sandbox, script: &str) -> u32 {
    sandbox.put("open.py", script.as_bytes(), 0o644).await.unwrap();
    output(sandbox, "python3 open.py").await.parse().unwrap()
}

/// A guest that gets no processor for a while is no traitor: what works in its sandbox goes on.
#[tokio::test]
async fn a_guest_that_is_too_busy_to_open_a_terminal_keeps_its_sandbox() {
    let wall = walls()[0];
    if wall != As::Root.into() {
        return eprintln!("SKIPPED: the guest is stopped from outside, which takes root");
    }
    let house = House::open(wall);
    let sandbox = house.sandbox("one").await;
    let guest = guest_of(&sandbox).await;
    let lost = sandbox.lost();
    guest.signal(rustix::process::Signal::STOP);
    let refused = sandbox.terminal(plain_shell()).await;
    guest.signal(rustix::process::Signal::CONT);
    assert!(matches!(refused, Err(Error::Deadline(_))), "{refused:?}");
    assert_eq!(output(&sandbox, "echo fine").await, "fine");
    // What it opened afterwards was closed: all the terminals there are can be had.
    let mut terminals = Vec::new();
    for _ in 0..TERMINALS_MAX {
        terminals.push(sandbox.terminal(plain_shell()).await.unwrap());
    }
    assert!(lost.borrow().is_none());
}

/// A process of the host.
struct Process(rustix::process::Pid);

impl Process {
    fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.0, signal).unwrap();
    }
}

/// Process 1 of a sandbox, as the host has it: the first of those in one namespace with a program whose arguments nobody else has.
async fn guest_of(sandbox: &Sandbox) -> Process {
    let mark = format!("98{}.25", std::process::id());
    let exec = livery_sandbox::Exec { background: true, ..livery_sandbox::Exec::new(["sleep", &mark]) };
    sandbox.exec(exec, |_, _| {}).await.unwrap();
    let processes = || {
        let all =
            std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        all.collect::<Vec<i32>>()
    };
    let space = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE, "no sleep {mark}");
        let is_it = |pid: &i32| {
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|words| words == format!("sleep\0{mark}\0").as_bytes())
        };
        let Some(space_of_it) = processes().into_iter().find(is_it).and_then(space) else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let is_first = |pid: &i32| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default().to_owned();
            space(*pid).as_ref() == Some(&space_of_it) && numbers.split_whitespace().last() == Some("1")
        };
        let first = processes().into_iter().find(is_first).unwrap();
        return Process(rustix::process::Pid::from_raw(first).unwrap());
    }
}
