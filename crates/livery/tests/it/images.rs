//! Images through the whole binary: made on the spot of busybox, brought in, run, listed, removed; and a run that goes on with the
//! image it began with.

use std::path::{Path, PathBuf};

use livery_images::Digest;
use serde_json::{Value, json};

use crate::support::{Server, livery, one_command, output, skip, text};

/// A shell and a few commands.
const APPLETS: [&str; 8] = ["sh", "cat", "echo", "id", "ls", "sleep", "touch", "test"];

/// A `docker save` archive of an image with busybox and a release file; `None` where there is no static busybox.
pub(crate) fn tiny(folder: &Path, release: &str) -> Option<PathBuf> {
    let busybox = std::fs::read("/bin/busybox").or_else(|_| std::fs::read("/usr/bin/busybox"));
    let Ok(busybox) = busybox else {
        skip("there is no busybox; `cargo xtask setup` installs it");
        return None;
    };
    let mut layer = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind: tar::EntryType, mode: u32, content: &[u8], target: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        if target.is_empty() {
            layer.append_data(&mut header, path, content).unwrap();
        } else {
            layer.append_link(&mut header, path, target).unwrap();
        }
    };
    add("bin/busybox", tar::EntryType::Regular, 0o4755, &busybox, "");
    for applet in APPLETS {
        add(&format!("bin/{applet}"), tar::EntryType::Symlink, 0o777, b"", "busybox");
    }
    add("etc/release", tar::EntryType::Regular, 0o600, release.as_bytes(), "");
    let layer = layer.into_inner().unwrap();
    let architecture = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let config = json!({
        "os": "linux", "architecture": architecture, "created": "2026-01-02T03:04:05Z",
        "config": {"Env": ["PATH=/bin", "FLAVOUR=tiny", "HOME=/root"]},
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer)]},
    });
    let manifest = json!([{"Config": "config.json", "RepoTags": ["tiny:1"], "Layers": ["layer.tar"]}]);
    let mut saved = tar::Builder::new(Vec::new());
    for (name, bytes) in [
        ("config.json", config.to_string().as_bytes()),
        ("layer.tar", &layer),
        ("manifest.json", manifest.to_string().as_bytes()),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        saved.append_data(&mut header, name, bytes).unwrap();
    }
    let path = folder.join(format!("{}.tar", release.trim().replace(' ', "-")));
    std::fs::write(&path, saved.into_inner().unwrap()).unwrap();
    Some(path)
}

/// `livery images import` into a data directory; what it printed.
pub(crate) fn import(data: &Path, path: &Path) -> String {
    printed(&output(livery().args(["images", "import", "--data"]).arg(data).arg(path)))
}

fn printed(done: &std::process::Output) -> String {
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    text(&done.stdout).trim().to_owned()
}

fn agent(image: &str, sandbox: &str) -> String {
    format!(
        "---\nname: shell-agent\nmodel: scripted/s\ntools: [shell]\nsandbox: {{image: {image}{sandbox}}}\n---\nWork.\n"
    )
}

/// What a command printed.
fn stdout(finished: &Value) -> String {
    let result: Value = serde_json::from_str(finished["result"].as_str().unwrap()).unwrap();
    result["stdout"].as_str().unwrap().to_owned()
}

/// What the run's only sandbox said it is made of, and what its command printed.
fn told(server: &Server, run: &str) -> (Value, String) {
    let view = server.ended(run);
    assert_eq!(view["status"], "succeeded", "{view}\n{}", server.log());
    let events = server.events(run);
    let data = |kind: &str| events.iter().find(|event| event["type"] == kind).unwrap()["data"].clone();
    (data("sandbox.started")["image"].clone(), stdout(&data("tool.finished")))
}

#[test]
fn an_image_is_brought_in_run_listed_and_removed() {
    let home = tempfile::tempdir().unwrap();
    let Some(path) = tiny(home.path(), "tiny one\n") else { return };
    let mut server = Server::start(&[]);
    let script = one_command("cat /etc/release; echo $FLAVOUR $HOME; id -u; touch /etc/x /bin/x || echo held; echo /*");
    let refused = json!({"agent": {"agent_md": agent("tiny:1", ""), "files": {"scripts/s.yaml": crate::support::base64(script.as_bytes())}}});
    let (status, problem) = server.post("/v1/runs", &refused);
    assert_eq!((status, &problem["code"]), (422, &json!("image_unavailable")), "{problem}");
    assert_eq!(problem["errors"][0]["pointer"], "/sandbox/image");
    assert!(problem["detail"].as_str().unwrap().contains("`livery images import FILE --name NAME`"), "{problem}");

    let printed = import(&server.data, &path);
    let digest = printed.strip_prefix("tiny:1 ").unwrap().to_owned();
    let run = server.start_run(&agent("tiny:1", ""), Some(&script), &json!({}));
    let (image, printed) = told(&server, &run);
    assert_eq!(image, json!(format!("tiny:1@{digest}")));
    assert!(printed.contains("tiny one\ntiny /workspace\n1000\n"), "{printed}");
    assert!(printed.contains("held\n/bin /dev /etc /proc"), "{printed}");
    let queued = server.events(&run)[0]["data"]["sandbox"]["image"].clone();
    assert_eq!(queued, image, "what was accepted is what it got");

    // By its digest alone, from the request; and another name for it.
    let named = output(livery().args(["images", "import", "--name", "other", "--data"]).arg(&server.data).arg(&path));
    assert_eq!(text(&named.stdout).trim(), format!("other:latest tiny:1 {digest}"));
    let pinned = json!({"sandbox": {"image": format!("whatever@{digest}")}});
    let run = server.start_run(&agent("host", ""), Some(&script), &pinned);
    assert!(told(&server, &run).1.contains("tiny one"));

    // An agent's latest version keeps its name from being removed.
    let folder = home.path().join("agent");
    std::fs::create_dir_all(folder.join("scripts")).unwrap();
    std::fs::write(folder.join("AGENT.md"), agent("tiny:1", "")).unwrap();
    std::fs::write(folder.join("scripts/s.yaml"), &script).unwrap();
    assert_eq!(output(server.command(&["agents", "push"]).arg(&folder)).status.code(), Some(0));
    let listed = text(&output(&mut server.command(&["images", "list"])).stdout);
    let line = listed.lines().find(|line| line.contains("tiny:1")).unwrap_or_else(|| panic!("{listed}"));
    assert!(listed.contains("host") && line.contains("other:latest") && line.contains(&digest[..19]), "{listed}");
    let refused = output(&mut server.command(&["images", "rm", "tiny:1"]));
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused.stdout));
    assert!(text(&refused.stderr).contains("used by 1 agents and 0 runs"), "{}", text(&refused.stderr));
    std::fs::write(folder.join("AGENT.md"), agent("host", "")).unwrap();
    assert_eq!(output(server.command(&["agents", "push"]).arg(&folder)).status.code(), Some(0));
    for name in ["tiny:1", "other"] {
        let gone = output(&mut server.command(&["images", "rm", name]));
        assert_eq!(gone.status.code(), Some(0), "{}", text(&gone.stderr));
    }
    let listed = output(&mut server.command(&["images", "list", "--json"]));
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let names: Vec<&Value> = listed["data"].as_array().unwrap().iter().map(|image| &image["names"]).collect();
    assert_eq!(names, [&json!(["host"]), &json!([])]);
    // What has no name and no run goes with the next collection, which a start begins with.
    server.kill();
    let mut server = Server::again(&server.data, &[]);
    let images = server.data.join("images");
    let is_empty = |folder: &str| std::fs::read_dir(images.join(folder)).unwrap().next().is_none();
    server.wait(|| (is_empty("roots") && is_empty("blobs")).then_some(()));
    for (name, code) in [("tiny:1", 3), ("host", 3), ("../x", 3)] {
        assert_eq!(output(&mut server.command(&["images", "rm", name])).status.code(), Some(code), "{name}");
    }
}

#[test]
fn a_run_goes_on_with_the_image_it_began_with() {
    let home = tempfile::tempdir().unwrap();
    let Some(one) = tiny(home.path(), "tiny one\n") else { return };
    let two = tiny(home.path(), "tiny two\n").unwrap();
    let mut server = Server::start(&[]);
    let digest = import(&server.data, &one).strip_prefix("tiny:1 ").unwrap().to_owned();
    let script = "turns:\n  - tools: [{name: shell, arguments: {command: \"touch begun; sleep 300\"}}]\n  - tools: [{name: shell, arguments: {command: \"cat /etc/release\"}}]\n  - text: done\n";
    let run = server.start_run(&agent("tiny:1", ""), Some(script), &json!({}));
    let (url, key) = (server.url.clone(), server.key.clone());
    server.wait(|| {
        let (_, page) =
            crate::support::request(&url, &key, "GET", &format!("/v1/runs/{run}/events?limit=100"), &[], b"");
        page["data"].as_array()?.iter().any(|event| event["type"] == "sandbox.started").then_some(())
    });
    // The name moves on, and nobody may take away what the run has.
    let mut again = livery();
    again.args(["images", "import", "--data"]).arg(&server.data).arg(&two);
    let refused = output(&mut again);
    assert!(text(&refused.stderr).contains("to move it, say its name"), "{}", text(&refused.stderr));
    let moved = output(again.args(["--name", "tiny:1"]));
    assert!(text(&moved.stderr).contains(&format!("tiny:1 moved from {digest}")), "{}", text(&moved.stderr));
    let other = printed(&moved).strip_prefix("tiny:1 ").unwrap().to_owned();
    assert_ne!(digest, other);
    let refused = output(&mut server.command(&["images", "rm", "tiny:1"]));
    assert!(text(&refused.stderr).contains("1 runs"), "{}", text(&refused.stderr));
    server.kill();
    let server = Server::again(&server.data, &[]);
    let view = server.ended(&run);
    assert_eq!(view["status"], "succeeded", "{view}\n{}", server.log());
    let events = server.events(&run);
    let images: Vec<&Value> =
        events.iter().filter(|event| event["type"] == "sandbox.started").map(|event| &event["data"]["image"]).collect();
    assert_eq!(images, [&json!(format!("tiny:1@{digest}")); 2]);
    let printed = stdout(&events.iter().rfind(|event| event["type"] == "tool.finished").unwrap()["data"]);
    assert!(printed.contains("tiny one"), "{printed}");
}

#[test]
fn an_image_is_made_of_a_folder_and_another_fetched_from_a_registry() {
    let home = tempfile::tempdir().unwrap();
    let Some(saved) = tiny(home.path(), "from a registry\n") else { return };
    let server = Server::start(&[]);
    let script = one_command("cat /etc/release");
    let folder = home.path().join("root");
    std::fs::create_dir_all(folder.join("etc")).unwrap();
    std::fs::create_dir_all(folder.join("bin")).unwrap();
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists()).unwrap();
    std::fs::copy(busybox, folder.join("bin/busybox")).unwrap();
    for applet in APPLETS {
        std::os::unix::fs::symlink("busybox", folder.join("bin").join(applet)).unwrap();
    }
    std::fs::write(folder.join("etc/release"), "of a folder\n").unwrap();
    let built =
        output(livery().args(["images", "build", "made:1", "--from-dir"]).arg(&folder).arg("--data").arg(&server.data));
    assert_eq!(built.status.code(), Some(0), "{}", text(&built.stderr));
    let run = server.start_run(&agent("made:1", ""), Some(&script), &json!({}));
    assert_eq!(told(&server, &run).1, "of a folder\n");

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let registry = runtime.block_on(livery_testkit::fake_registry::FakeRegistry::start()).unwrap();
    registry.guard("a-token", None);
    let mut archive = tar::Archive::new(std::fs::File::open(&saved).unwrap());
    let mut pieces = std::collections::HashMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        pieces.insert(name, bytes);
    }
    let put = |name: &str| {
        let bytes = &pieces[name];
        let digest = Digest::of(bytes);
        registry.put("team/app", "blobs", &digest.to_string(), bytes.clone());
        json!({"digest": digest, "size": bytes.len()})
    };
    let manifest = json!({"schemaVersion": 2, "config": put("config.json"), "layers": [put("layer.tar")]}).to_string();
    registry.put("team/app", "manifests", "1", manifest);
    let name = format!("{}/team/app:1", registry.host());
    let pulled = output(livery().args(["images", "pull", &name, "--data"]).arg(&server.data));
    assert_eq!(pulled.status.code(), Some(0), "{}", text(&pulled.stderr));
    let run = server.start_run(&agent(&format!("\"{name}\""), ""), Some(&script), &json!({}));
    assert_eq!(told(&server, &run).1, "from a registry\n");
    let missing = output(livery().args(["images", "pull", &name.replace("app", "none"), "--data"]).arg(&server.data));
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("the registry has no such image"), "{}", text(&missing.stderr));
}

#[test]
fn an_image_is_the_root_in_gvisor_too() {
    let home = tempfile::tempdir().unwrap();
    let Some((runsc, sha256)) = crate::tiers::runsc() else { return };
    let Some(path) = tiny(home.path(), "tiny one\n") else { return };
    let server = Server::start(&["--runsc", runsc.to_str().unwrap(), "--runsc-sha256", &sha256]);
    import(&server.data, &path);
    let script = one_command("cat /etc/release; touch /etc/x || echo held; echo /*");
    let run = server.start_run(&agent("tiny:1", ", tier: gvisor"), Some(&script), &json!({}));
    let (_, printed) = told(&server, &run);
    assert!(printed.contains("tiny one") && printed.contains("held\n/bin /dev /etc /proc"), "{printed}");
}

#[test]
fn what_is_no_image_or_no_name_is_said() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    std::fs::set_permissions(home.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let bad = home.path().join("bad.tar");
    std::fs::write(&bad, vec![1; 2048]).unwrap();
    let run = |arguments: &[&str]| {
        let done = output(livery().args(["images", "import", "--data"]).arg(&data).args(arguments));
        (done.status.code(), text(&done.stderr))
    };
    let bad = bad.to_str().unwrap();
    assert!(run(&[bad, "--name", "x"]).1.contains("this is no tar archive"), "{:?}", run(&[bad]));
    assert_eq!(run(&[bad, "--name", "host"]).0, Some(2));
    assert_eq!(run(&[bad, "--name", "A b"]).0, Some(2));
    let (code, said) = run(&["/nonexistent.tar", "--name", "x"]);
    assert!(code == Some(1) && said.contains("cannot read /nonexistent.tar"), "{said}");
}
