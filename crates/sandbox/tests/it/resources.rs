//! What a program can use up without a shell: memory nobody's address space shows, descriptors in flight, every thread, one
//! endless line. Each is held by the run's own limits, and a neighbour never notices.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use livery_sandbox::{Error, Exec, ExecResult, LostReason, Sandbox, Spec, Tier};

use crate::checks;
use crate::house::{House, Wall, output, walls_with_a_machine, walls_with_machines};

/// Set for the process that is the bomb, to its name.
const VARIABLE: &str = "LIVERY_TEST_BOMB";
const BOMB: [&str; 5] = ["--exact", "resources::bomb_process", "--nocapture", "--test-threads=1", "--quiet"];
const MIB: usize = 1 << 20;
/// Far beyond the 64 MiB its run has, and no harm to a host that fails to hold it.
const TOO_MUCH: usize = 320 * MIB;

/// Not a test: the bomb, when this binary was started as one.
#[test]
fn bomb_process() {
    let Ok(name) = std::env::var(VARIABLE) else { return };
    let outcome = match name.as_str() {
        "memfd" => memfd(),
        "shared memory" => shared_memory(),
        "socket buffers" => socket_buffers(),
        "epoll" => epoll_nesting(),
        "in flight" => in_flight(),
        "descriptors" => descriptors(),
        other => panic!("no bomb is called {other}"),
    };
    match outcome {
        Ok(got) => println!("bomb open {got}"),
        Err(error) => println!("bomb held {error}"),
    }
}

fn last_error<T>() -> io::Result<T> {
    Err(io::Error::last_os_error())
}

fn owned(fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: the descriptor was answered by the kernel just now, and nothing else owns it.
    if fd < 0 { last_error() } else { Ok(unsafe { OwnedFd::from_raw_fd(fd) }) }
}

/// Files without a name, 8 MiB each, mapped by nobody.
fn memfd() -> io::Result<usize> {
    use std::io::Write as _;
    let (block, mut files) = (vec![7; 8 * MIB], Vec::new());
    for _ in 0..TOO_MUCH / block.len() {
        // SAFETY: the name is a C string.
        let fd = owned(unsafe { libc::memfd_create(c"bomb".as_ptr(), 0) })?;
        let mut file = std::fs::File::from(fd);
        file.write_all(&block)?;
        files.push(file);
    }
    Ok(files.len() * block.len())
}

/// System V segments, written and let go of: they stay.
fn shared_memory() -> io::Result<usize> {
    let mut made = 0;
    while made < TOO_MUCH {
        // SAFETY: a new segment is attached, filled within its size and detached.
        unsafe {
            let id = libc::shmget(libc::IPC_PRIVATE, 8 * MIB, libc::IPC_CREAT | 0o600);
            if id < 0 {
                return last_error();
            }
            let at = libc::shmat(id, std::ptr::null(), 0);
            if at.addr() == usize::MAX {
                return last_error();
            }
            libc::memset(at, 7, 8 * MIB);
            libc::shmdt(at);
        }
        made += 8 * MIB;
    }
    Ok(made)
}

fn pair() -> io::Result<[OwnedFd; 2]> {
    let mut ends = [0; 2];
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
    // SAFETY: there is room for two descriptors.
    if unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) } < 0 {
        return last_error();
    }
    Ok([owned(ends[0])?, owned(ends[1])?])
}

/// Pairs of sockets, each filled and never read.
fn socket_buffers() -> io::Result<usize> {
    let (block, mut pairs, mut sent) = (vec![7; 64 * 1024], Vec::new(), 0);
    while sent < TOO_MUCH {
        let ends = pair()?;
        loop {
            // SAFETY: the block is as long as is said.
            let written = unsafe { libc::write(ends[0].as_raw_fd(), block.as_ptr().cast(), block.len()) };
            let Ok(count) = usize::try_from(written) else { break };
            sent += count;
        }
        pairs.push(ends);
    }
    Ok(sent)
}

/// Each watches the one before it.
fn epoll_nesting() -> io::Result<usize> {
    let mut chain = vec![owned(unsafe_epoll())?];
    for depth in 1..1_000 {
        let next = owned(unsafe_epoll())?;
        let mut event = libc::epoll_event { events: libc::EPOLLIN.cast_unsigned(), u64: 0 };
        let last = chain[chain.len() - 1].as_raw_fd();
        // SAFETY: both descriptors are open and the event outlives the call.
        if unsafe { libc::epoll_ctl(next.as_raw_fd(), libc::EPOLL_CTL_ADD, last, &raw mut event) } < 0 {
            let error = io::Error::last_os_error();
            return Err(io::Error::other(format!("{error} at a depth of {depth}")));
        }
        chain.push(next);
    }
    Ok(chain.len())
}

fn unsafe_epoll() -> i32 {
    // SAFETY: makes a descriptor, and reads no memory.
    unsafe { libc::epoll_create1(0) }
}

/// Descriptors sent and never received: they are open, and in no table.
fn in_flight() -> io::Result<usize> {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let file = std::fs::File::open("/dev/null")?;
    let many = vec![std::os::fd::AsFd::as_fd(&file); 250];
    let (mut pairs, mut sent) = (Vec::new(), 0);
    while sent < 1_000_000 {
        let ends = pair()?;
        loop {
            let mut space = vec![std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(250))];
            let mut message = SendAncillaryBuffer::new(&mut space);
            assert!(message.push(SendAncillaryMessage::ScmRights(&many)));
            match sendmsg(&ends[0], &[io::IoSlice::new(b"x")], &mut message, SendFlags::empty()) {
                Ok(_) => sent += many.len(),
                // This pair is full; another is begun.
                Err(rustix::io::Errno::AGAIN) => break,
                Err(error) => return Err(io::Error::other(format!("{error} after {sent}"))),
            }
        }
        pairs.push(ends);
    }
    Ok(sent)
}

fn descriptors() -> io::Result<usize> {
    let mut files = Vec::new();
    for _ in 0..100_000 {
        files.push(std::fs::File::open("/dev/null")?);
    }
    Ok(files.len())
}

async fn is_well(neighbour: &Sandbox) {
    assert_eq!(output(neighbour, "echo fine").await, "fine");
}

async fn explode(sandbox: &Sandbox, name: &str) -> Result<ExecResult, Error> {
    let program = std::fs::read("/proc/self/exe").unwrap();
    sandbox.put("/workspace/bomb", &program, 0o755).await.unwrap();
    let argv = ["/workspace/bomb"].into_iter().chain(BOMB);
    let env = vec![(VARIABLE.to_owned(), name.to_owned())];
    sandbox.exec(Exec { env, ..Exec::new(argv) }, |_, _| {}).await
}

/// Whether the memory of the runs behind this wall is counted by the kernel, and not by looking at processes.
async fn counts_all_memory(house: &House) -> bool {
    // A machine's own kernel has no more than it was given.
    house.wall.tier == Tier::Microvm || house.sandboxes.grants().await.unwrap().memory.starts_with("cgroup")
}

#[tokio::test]
async fn memory_that_no_address_space_shows_is_counted() {
    for wall in walls_with_machines() {
        let house = House::open(wall);
        let neighbour = house.sandbox("neighbour").await;
        if !counts_all_memory(&house).await {
            eprintln!(
                "SKIPPED: memory outside address spaces behind {wall:?}, because no cgroup counts it (docs/sandbox.md says so)"
            );
            continue;
        }
        for (number, name) in ["memfd", "shared memory", "socket buffers"].into_iter().enumerate() {
            let spec = Spec { memory_mb: 64, ..house.spec(&format!("bomb-{number}")) };
            let bomb = house.sandboxes.create(spec).await.unwrap();
            match explode(&bomb, name).await {
                Err(Error::Lost(lost)) => assert_eq!(lost.reason, LostReason::OutOfMemory, "{wall:?} {name}"),
                Ok(result) => {
                    let said = String::from_utf8_lossy(&result.stdout).into_owned();
                    assert!(!said.contains("bomb open"), "{wall:?} {name}: {said}");
                }
                Err(error) => panic!("{wall:?} {name}: {error}"),
            }
            is_well(&neighbour).await;
            bomb.kill("test").await.unwrap();
        }
        checks::held(wall, &[37]);
    }
}

/// What the page cache holds can be let go of: a file larger than the run's memory is no bomb.
#[tokio::test]
async fn a_file_larger_than_memory_ends_nobody() {
    for wall in walls_with_a_machine() {
        let house = House::open(wall);
        let neighbour = house.sandbox("neighbour").await;
        let sandbox = house.sandboxes.create(Spec { memory_mb: 64, ..house.spec("large") }).await.unwrap();
        let script = "head -c 200000000 /dev/zero > file; cat file file | wc -c";
        assert_eq!(output(&sandbox, script).await, "400000000", "{wall:?}");
        assert!(sandbox.lost().borrow().is_none(), "{wall:?}");
        is_well(&neighbour).await;
    }
}

fn held_by(wall: Wall, name: &str, result: &ExecResult) -> String {
    let said = String::from_utf8_lossy(&result.stdout).into_owned();
    let held = said.lines().find_map(|line| line.strip_prefix("bomb held "));
    held.unwrap_or_else(|| panic!("{wall:?} {name}: {said}")).to_owned()
}

#[tokio::test]
async fn descriptors_end_wherever_they_are_kept() {
    for wall in walls_with_machines() {
        let house = House::open(wall);
        let neighbour = house.sandbox("neighbour").await;
        let sandbox = house.sandbox("descriptors").await;
        let result = explode(&sandbox, "descriptors").await.unwrap();
        assert!(held_by(wall, "descriptors", &result).contains("Too many open files"), "{wall:?}");
        // gVisor's kernel has other limits for these: descriptors end all the same.
        for name in ["epoll", "in flight"] {
            let own = house.sandbox(&name.replace(' ', "-")).await;
            match explode(&own, name).await {
                Ok(result) if wall.tier != Tier::Gvisor => drop(held_by(wall, name, &result)),
                Ok(_) => {}
                // What they hold is memory, and that is counted.
                Err(Error::Lost(lost)) => assert_eq!(lost.reason, LostReason::OutOfMemory, "{wall:?} {name}"),
                Err(error) => panic!("{wall:?} {name}: {error}"),
            }
            is_well(&neighbour).await;
        }
        assert_eq!(output(&sandbox, "echo fine").await, "fine", "{wall:?}: the run itself goes on");
        checks::held(wall, &[39]);
    }
}

/// Busy on more threads than there are processors, and asking for each of them.
#[tokio::test]
async fn a_run_that_spins_everywhere_leaves_room_for_others_and_goes() {
    for wall in walls_with_machines() {
        let house = House::open(wall);
        let neighbour = house.sandbox("neighbour").await;
        let sandbox = house.sandboxes.create(Spec { cpu: 0.5, ..house.spec("busy") }).await.unwrap();
        let spin = "for i in 1 2 3 4 5 6 7 8; do (taskset -p 0xffffffff $$; chrt -f -p 99 $$; nice -n -20 true; while :; do :; done) & done; wait";
        sandbox.exec(Exec { background: true, ..Exec::shell(spin) }, |_, _| {}).await.unwrap();
        for _ in 0..3 {
            is_well(&neighbour).await;
        }
        let teardown = sandbox.kill("test").await.unwrap();
        assert!(teardown.processes_gone && teardown.cgroups_removed, "{wall:?}: {teardown:?}");
        checks::held(wall, &[40]);
    }
}

#[tokio::test]
async fn one_endless_line_and_bytes_that_are_no_text_come_out_bounded() {
    for wall in walls_with_machines() {
        let house = House::open(wall);
        let sandbox = house.sandbox("loud").await;
        let limit = 64 * 1024;
        // A played processor takes ten times as long for each byte.
        let bytes = if wall.tier == Tier::Microvm { 50_000_000 } else { 1_000_000_000 };
        let line = Exec { output_limit: limit, ..Exec::shell(format!("head -c {bytes} /dev/zero | tr '\\0' x")) };
        match sandbox.exec(line, |_, _| {}).await {
            Ok(result) => {
                assert!(result.truncated, "{wall:?}");
                assert!(result.stdout.len() < 2 * limit as usize, "{wall:?}: {}", result.stdout.len());
            }
            // All of it is kept in a file too, and that one has a limit.
            Err(Error::Lost(lost)) => assert_eq!(lost.reason, LostReason::DiskFull, "{wall:?}"),
            Err(error) => panic!("{wall:?}: {error}"),
        }
        let sandbox = house.sandbox("odd").await;
        let result = sandbox.exec(Exec::shell(r"printf '\377\376\300\200\000\355\240\200'"), |_, _| {}).await.unwrap();
        assert_eq!(result.stdout, [0xFF, 0xFE, 0xC0, 0x80, 0, 0xED, 0xA0, 0x80], "{wall:?}: as they were");
        is_well(&sandbox).await;
        checks::held(wall, &[41]);
    }
}
