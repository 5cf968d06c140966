//! Registries as they are, and those that lead astray.

use http_body_util::BodyExt as _;
use livery_broker::Secret;
use livery_broker::registry::{Login, Registry, RegistryError};
use livery_testkit::fake_registry::FakeRegistry;

const TOKEN: &str = "token-of-the-registry";

fn registry(server: &FakeRegistry, login: Option<(&str, &str)>) -> Registry {
    let login = login.map(|(user, password)| login_at(&server.host(), user, password));
    Registry::of(&format!("{}/team/app", server.host()), login, None).unwrap()
}

fn login_at(host: &str, user: &str, password: &str) -> Login {
    Login { host: host.to_owned(), user: user.to_owned(), password: Secret::from(password.to_owned()) }
}

#[test]
fn a_login_is_one_registrys() {
    let of = |name: &str, host: &str| Registry::of(name, Some(login_at(host, "ada", "secret")), None).map(drop);
    for (name, host) in
        [("reg.example:5000/team/app", "reg.example:5000"), ("debian", "docker.io"), ("team/app", "docker.io")]
    {
        of(name, host).unwrap();
    }
    for (name, host) in [
        ("reg.example:5000/team/app", "reg.example"),
        ("reg.example/team/app", "docker.io"),
        ("debian", "reg.example"),
        ("debian", ""),
    ] {
        let refused = of(name, host).unwrap_err();
        assert!(matches!(refused, RegistryError::OtherLogin { .. }), "{name} {host}: {refused}");
        assert!(!refused.to_string().contains("secret"), "{refused}");
    }
}

async fn manifest(registry: &mut Registry, reference: &str) -> Result<String, RegistryError> {
    let answer = registry.manifest(reference, &["application/json"]).await?;
    Ok(String::from_utf8(answer.collect().await.unwrap().to_bytes().to_vec()).unwrap())
}

#[tokio::test]
async fn a_token_is_fetched_once_and_goes_to_the_registry_alone() {
    let server = FakeRegistry::start().await.unwrap();
    server.guard(TOKEN, None);
    server.put("team/app", "manifests", "1", "one");
    server.put("team/app", "blobs", "sha256:ab", "blob");
    let mut registry = registry(&server, None);
    assert_eq!(manifest(&mut registry, "1").await.unwrap(), "one");
    let blob = registry.blob("sha256:ab").await.unwrap().collect().await.unwrap().to_bytes();
    assert_eq!(blob, "blob");
    let bearer = format!("Bearer {TOKEN}");
    let asked = server.asked();
    let paths: Vec<&str> = asked.iter().map(|(path, _)| path.as_str()).collect();
    let token = "/token?service=fake&scope=repository%3Ateam%2Fapp%3Apull";
    assert_eq!(paths, ["/v2/team/app/manifests/1", token, "/v2/team/app/manifests/1", "/v2/team/app/blobs/sha256:ab"]);
    assert_eq!(asked.iter().map(|(_, shown)| shown.as_str()).collect::<Vec<_>>(), ["", "", &bearer, &bearer]);
    assert!(matches!(manifest(&mut registry, "2").await, Err(RegistryError::Missing)));
}

#[tokio::test]
async fn a_login_is_shown_where_tokens_are_given() {
    let server = FakeRegistry::start().await.unwrap();
    server.guard(TOKEN, Some("YWRhOnNlY3JldA=="));
    server.put("team/app", "manifests", "1", "one");
    assert!(matches!(manifest(&mut registry(&server, None), "1").await, Err(RegistryError::Missing)));
    assert!(matches!(manifest(&mut registry(&server, Some(("ada", "wrong"))), "1").await, Err(RegistryError::Missing)));
    assert_eq!(manifest(&mut registry(&server, Some(("ada", "secret"))), "1").await.unwrap(), "one");
}

#[tokio::test]
async fn redirects_are_judged() {
    let (server, other) = (FakeRegistry::start().await.unwrap(), FakeRegistry::start().await.unwrap());
    server.guard(TOKEN, None);
    server.put_at("/storage/1?signed=x", "from storage");
    other.put_at("/stolen", "from elsewhere");
    let mut registry = registry(&server, None);
    server.redirect("team/app", "manifests", "here", "/storage/1?signed=x");
    assert_eq!(manifest(&mut registry, "here").await.unwrap(), "from storage");
    let elsewhere = format!("http://{}/stolen?secret=1", other.host());
    for place in [
        elsewhere.as_str(),
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "//other/x",
        "ftp://x/",
        "",
    ] {
        server.redirect("team/app", "manifests", "there", place);
        let refused = manifest(&mut registry, "there").await.unwrap_err();
        assert!(matches!(refused, RegistryError::Elsewhere(_) | RegistryError::Odd(_)), "{place}: {refused}");
        assert!(!refused.to_string().contains("secret"), "{refused}");
    }
    assert!(other.asked().is_empty(), "nobody there was asked");
    server.redirect("team/app", "manifests", "round", "/v2/team/app/manifests/round");
    let refused = manifest(&mut registry, "round").await.unwrap_err();
    assert!(matches!(refused, RegistryError::Odd("leads from one place to the next without end")), "{refused}");
}

#[tokio::test]
async fn tokens_are_fetched_where_it_is_safe() {
    let (server, other) = (FakeRegistry::start().await.unwrap(), FakeRegistry::start().await.unwrap());
    server.guard(TOKEN, None);
    for realm in
        [format!("http://{}/token", other.host()), "http://169.254.169.254/token".to_owned(), "nonsense".to_owned()]
    {
        server.realm(&realm);
        let refused = manifest(&mut registry(&server, Some(("ada", "secret"))), "1").await.unwrap_err();
        assert!(matches!(refused, RegistryError::Elsewhere(_)), "{realm}: {refused}");
    }
    assert!(other.asked().is_empty(), "nobody there was asked");
}
