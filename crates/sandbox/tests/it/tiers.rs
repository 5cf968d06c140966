//! What is special about each tier: that it is the one asked for, or a refusal that says what to do. Machines have `machines.rs`.

use std::fs;

use livery_sandbox::{Error, Spec, Status, Tier, Tool};

use crate::checks;
use crate::house::{As, House, Wall, everyone, output, runsc};

const GVISOR: Wall = Wall { tier: Tier::Gvisor, user: As::Root };

/// gVisor here, or a loud word that it was not tried.
fn gvisor() -> Option<Tool> {
    runsc().inspect_err(|why| eprintln!("SKIPPED: the tier gvisor, because {why}")).ok()
}

pub(crate) async fn refusal(house: &House, tier: Tier) -> String {
    let spec = Spec { tier, ..Spec::new("refused") };
    match house.sandboxes.create(spec).await {
        Err(Error::Tier { tier: of, detail }) if of == tier => detail,
        other => panic!("{tier}: {other:?}"),
    }
}

#[tokio::test]
async fn a_tier_that_is_not_there_is_a_refusal_and_never_a_weaker_one() {
    for user in everyone() {
        let house = House::open(user);
        assert_eq!(
            refusal(&house, Tier::Gvisor).await,
            "no runsc is configured (to fix: get runsc from gvisor.dev, then start livery with --runsc FILE --runsc-sha256 SHA256)"
        );
        assert_eq!(
            refusal(&house, Tier::Isolate).await,
            "no isolate host is configured (to fix: get deno 2 (npm package @deno/linux-x64-glibc), then start livery with \
             --isolate-host FILE --isolate-host-sha256 SHA256)"
        );
        let detail = refusal(&house, Tier::Microvm).await;
        assert!(detail.starts_with("no monitor of machines is configured (to fix: apt-get install qemu"), "{detail}");
        for tier in [Tier::Gvisor, Tier::Microvm, Tier::Isolate] {
            let chosen = house.sandboxes.choose(tier, true, None).await;
            assert!(matches!(chosen, Err(Error::Tier { tier: of, .. }) if of == tier), "{chosen:?}");
        }
        assert_eq!(house.sandboxes.choose(Tier::Container, true, None).await.unwrap(), Tier::Container);
        // The control: the tier that is there.
        let container = house.sandboxes.create(Spec::new("one")).await.unwrap();
        assert_eq!(output(&container, "echo fine").await, "fine");
    }
    checks::control(&[46]);
    // What is refused is refused before there is a wall.
    for wall in crate::house::walls_with_machines().into_iter().chain(crate::house::isolates()) {
        checks::held(wall, &[46]);
    }
}

#[tokio::test]
async fn a_runsc_that_is_not_the_one_that_was_meant_is_refused() {
    let Some(tool) = gvisor() else { return };
    let temp = tempfile::tempdir().unwrap();
    let tampered = temp.path().join("runsc");
    let mut bytes = fs::read(&tool.path).unwrap();
    bytes.push(0);
    fs::write(&tampered, bytes).unwrap();
    let cases = [
        (Tool { path: tampered, ..tool.clone() }, "has the SHA-256"),
        (Tool { path: "/no/such/runsc".into(), ..tool.clone() }, "No such file"),
        (Tool { path: temp.path().to_owned(), ..tool }, "it is no file"),
        (
            Tool { path: "/bin/true".into(), sha256: crate::house::sha256(&fs::read("/bin/true").unwrap()) },
            "it is no runsc",
        ),
    ];
    for (tool, why) in cases {
        let house = House::open_with(As::Root, |config| config.runsc = Some(tool.clone()));
        let detail = refusal(&house, Tier::Gvisor).await;
        assert!(detail.starts_with(&tool.path.display().to_string()) && detail.contains(why), "{detail}");
        let report = house.sandboxes.tier(Tier::Gvisor).await.unwrap();
        assert!(
            report.status == Status::Unusable
                && report.trial.is_none()
                && report.fix.is_some() != (why == "No such file" || why == "it is no file"),
            "{report:?}"
        );
        assert!(house.sandboxes.choose(Tier::Gvisor, true, None).await.is_err());
        assert_eq!(house.sandboxes.tier(Tier::Container).await.unwrap().status, Status::Ok);
    }
    checks::held(GVISOR, &[47]);
}

#[tokio::test]
async fn an_ordinary_users_launcher_says_why_it_has_no_gvisor() {
    let Some(tool) = gvisor() else { return };
    let house = House::open_with(As::User, |config| config.runsc = Some(tool));
    let detail = refusal(&house, Tier::Gvisor).await;
    assert!(detail.starts_with("runsc needs three ids") && detail.contains("start livery as root"), "{detail}");
}

#[tokio::test]
async fn gvisors_own_kernel_answers_behind_a_wall_of_its_own() {
    let Some(tool) = gvisor() else { return };
    let house = House::open(GVISOR);
    let report = house.sandboxes.tier(Tier::Gvisor).await.unwrap();
    assert_eq!((report.status, report.sha256), (Status::Ok, Some(tool.sha256)));
    assert!(report.trial.is_some() && report.version.is_some_and(|version| version.contains("2024")), "not tried");
    checks::control(&[47]);
    let sandbox = house.sandbox("one").await;
    let host = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let inside = output(&sandbox, "uname -r").await;
    assert_ne!(inside, host.trim());
    // The control: a container has the host's.
    let container = house.sandboxes.create(Spec::new("container")).await.unwrap();
    assert_eq!(output(&container, "uname -r").await, host.trim());
    container.kill("test").await.unwrap();
    let group = livery_sandbox::launcher::cgroup_name(&house.config.state_dir.canonicalize().unwrap());
    let (first, count) = (house.config.uid_first, house.config.uid_count);
    let mut kernels = 0;
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let read = |file: &str| fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        if !read("cgroup").contains(&group) {
            continue;
        }
        let status = read("status");
        let field =
            |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim().to_owned();
        if status.is_empty() || field("State:").starts_with('Z') {
            continue;
        }
        let uid: u32 = field("Uid:").split_whitespace().next().unwrap().parse().unwrap();
        assert!((first + count..first + 3 * count).contains(&uid), "{status}");
        assert_eq!((field("NoNewPrivs:"), field("Groups:")), ("1".to_owned(), String::new()), "{status}");
        assert_eq!(field("Seccomp:"), "2", "{status}");
        // gVisor's kernel adds filters of its own to the carrier's.
        let filters: u32 = field("Seccomp_filters:").parse().unwrap_or(2);
        let bound = u64::from_str_radix(&field("CapBnd:"), 16).unwrap();
        kernels += u32::from(uid >= first + 2 * count && filters > 1);
        // Nobody's namespaces are the host's.
        for kind in ["user", "mnt", "pid", "net", "ipc", "uts"] {
            let of = |pid: &std::path::Path| fs::read_link(pid.join("ns").join(kind)).ok();
            assert!(of(&entry.path()).is_none_or(|own| Some(own) != of(std::path::Path::new("/proc/self"))), "{kind}");
        }
        // CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_NET_ADMIN, CAP_NET_RAW, unless in a namespace that its own kernel made for itself.
        let denied = (1 << 16) | (1 << 17) | (1 << 12) | (1 << 13);
        assert!(bound & denied == 0 || uid >= first + 2 * count, "{status}");
    }
    assert!(kernels > 0, "gVisor's kernel confines itself");
    checks::held(GVISOR, &[48]);
    checks::control(&[48]);
}
