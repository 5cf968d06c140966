//! The root key behind a transit engine, on the whole server: nowhere on its disk, moved there and back, and out of reach.

use std::net::TcpListener;

use super::{contains, rewrap, seal, up, works};
use crate::support::{Server, base64, bytes_below, livery, output, text};
use livery_testkit::FakeTransit;

const TOKEN: &str = "hvs.only-for-the-service";

/// A transit engine, and the runtime that it runs on.
struct Kms {
    server: FakeTransit,
    key: String,
    token: tempfile::NamedTempFile,
    _runtime: tokio::runtime::Runtime,
}

impl Kms {
    fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let server = runtime.block_on(FakeTransit::start(TOKEN)).unwrap();
        let token = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(token.path(), format!("{TOKEN}\n")).unwrap();
        Self { key: server.address("livery"), server, token, _runtime: runtime }
    }

    /// What a node gets that asks it for the root key, under the name `setting`.
    fn as_setting<'a>(&'a self, setting: &'a str) -> [(&'a str, &'a str); 2] {
        [(setting, &self.key), ("LIVERY_KMS_TOKEN_FILE", self.token.path().to_str().unwrap())]
    }
}

#[test]
fn the_root_key_is_nowhere_on_the_servers_disk() {
    let kms = Kms::start();
    let mut server = Server::start_with(&[], &kms.as_setting("LIVERY_ROOT_KEY"));
    let connection = seal(&server, "pay");
    let key = kms.server.opened().remove(0);
    drop(kms);
    works(&server, &connection);
    assert_eq!(server.terminate(), Some(0), "nothing but the start needs the service");

    assert!(!server.data.join("root.key").exists());
    let mut disk = bytes_below(&server.data);
    disk.extend(server.log().into_bytes());
    assert!(contains(&disk, b"vault:v1:"), "the wrapped key is what is searched for the plain one");
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let base64 = base64(&key);
    for form in [&key[..], hex.as_bytes(), base64.as_bytes(), TOKEN.as_bytes()] {
        assert!(!contains(&disk, form), "{}", text(form));
    }
}

#[test]
fn a_root_key_moves_from_its_file_to_a_transit_key_and_back() {
    let mut first = Server::start(&[]);
    let connection = seal(&first, "pay");
    first.terminate();
    let (data, file) = (first.data.clone(), first.data.join("root.key"));
    let before = std::fs::read(&file).unwrap();

    let kms = Kms::start();
    let mut second = Server::again_with(&data, &[], &kms.as_setting("LIVERY_ROOT_KEY"));
    works(&second, &connection);
    rewrap(&second);
    works(&second, &connection);
    second.terminate();
    std::fs::remove_file(&file).unwrap();

    let mut third = Server::again_with(&data, &[], &kms.as_setting("LIVERY_ROOT_KEY"));
    works(&third, &connection);
    let made = output(livery().args(["vault", "new-root-key", "--data"]).arg(&data));
    assert!(made.status.success() && text(&made.stderr).contains("LIVERY_ROOT_KEY_OTHERS"), "{}", text(&made.stderr));
    assert!(std::fs::read(&file).is_ok_and(|made| made.len() == 32 && made != before));
    third.terminate();
    let (code, alone) = up(&data, &[]);
    assert!(code == Some(1) && alone.contains("or both while rotating"), "{alone}");

    let mut fourth = Server::again_with(&data, &[], &kms.as_setting("LIVERY_ROOT_KEY_OTHERS"));
    works(&fourth, &connection);
    rewrap(&fourth);
    fourth.terminate();
    drop(kms);
    let fifth = Server::again(&data, &[]);
    works(&fifth, &connection);
}

#[test]
fn without_the_service_a_start_says_so_and_leaves_nothing_half_made() {
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let data = home.path().join("data");
    for (environment, expected) in [
        (vec![("LIVERY_ROOT_KEY", "transit:https://kms.example/v1/transit/keys/livery")], "LIVERY_KMS_TOKEN"),
        (
            vec![("LIVERY_ROOT_KEY", "transit:http://kms.example/v1/transit/keys/livery"), ("LIVERY_KMS_TOKEN", TOKEN)],
            "http is for loopback",
        ),
        (
            vec![
                ("LIVERY_ROOT_KEY_OTHERS", "transit:https://kms.example/v1/livery"),
                ("LIVERY_KMS_TOKEN_FILE", "/nowhere/token"),
            ],
            "/nowhere/token",
        ),
    ] {
        let (code, said) = up(&data, &environment);
        assert!(code == Some(2) && said.contains(expected), "{code:?} {said}");
        assert!(!data.exists(), "a bad setting leaves nothing behind");
    }

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = format!("transit:http://{nobody}/v1/transit/keys/livery");
    let (code, said) = up(&data, &[("LIVERY_ROOT_KEY", &gone), ("LIVERY_KMS_TOKEN", TOKEN)]);
    assert!(code == Some(1) && said.contains("cannot be reached"), "{code:?} {said}");
    assert!(said.contains(&nobody.to_string()) && !said.contains(TOKEN), "{said}");
    assert!(!data.join("bootstrap.json").exists() && !data.join("root.key").exists());

    let kms = Kms::start();
    let server = Server::again_with(&data, &[], &kms.as_setting("LIVERY_ROOT_KEY"));
    works(&server, &seal(&server, "pay"));
}
