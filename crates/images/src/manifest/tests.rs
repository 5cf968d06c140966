//! Documents as registries and tools write them, and those nobody should.

use serde_json::{Value, json};

use super::*;

fn digest(byte: char) -> String {
    format!("sha256:{}", byte.to_string().repeat(64))
}

fn descriptor(byte: char, os: &str, architecture: &str) -> Value {
    json!({"mediaType": MANIFESTS[0], "digest": digest(byte), "size": 1, "platform": {"os": os, "architecture": architecture, "variant": "v8"}})
}

fn chosen(manifests: &Value) -> Result<String, String> {
    let bytes = json!({"schemaVersion": 2, "manifests": manifests}).to_string();
    let all = index(bytes.as_bytes(), &Limits::default()).map_err(|error| error.to_string())?;
    choose(&all).map(|one| one.digest.to_string()).map_err(|error| error.to_string())
}

#[test]
fn the_image_for_this_machine_is_chosen() {
    let here = Platform::here();
    let own = descriptor('a', &here.os, &here.architecture);
    let other = descriptor('b', "linux", "s390x");
    let mut attached = descriptor('c', "unknown", "unknown");
    attached["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
    assert_eq!(chosen(&json!([other, own, attached])), Ok(digest('a')));
    assert_eq!(chosen(&json!([own, descriptor('d', &here.os, &here.architecture)])), Ok(digest('a')));
    let bare = json!({"digest": digest('e'), "size": 1});
    assert_eq!(chosen(&json!([bare])), Ok(digest('e')));
    let refused = chosen(&json!([other, descriptor('d', "windows", "amd64")])).unwrap_err();
    assert_eq!(refused, format!("the image is for linux/s390x, windows/amd64, and this machine is {here}"));
    assert_eq!(chosen(&json!([])), Err(format!("the image is for none, and this machine is {here}")));
    assert!(chosen(&json!([bare, bare])).unwrap_err().contains("nothing that tells them apart"));
}

#[test]
fn documents_that_are_two_things_or_none_are_refused() {
    let limits = Limits { layers: 1, manifests: 1, ..Limits::default() };
    let refused = |value: &Value| document(value.to_string().as_bytes(), &limits).unwrap_err().to_string();
    let part = json!({"digest": digest('a'), "size": 1});
    assert!(refused(&json!({"layers": [], "manifests": []})).contains("at once"));
    assert!(refused(&json!({"schemaVersion": 1, "fsLayers": []})).contains("schema 1"));
    assert!(refused(&json!({"schemaVersion": 3, "config": part, "layers": []})).contains("another schema"));
    assert!(
        refused(&json!({"schemaVersion": 2, "mediaType": INDEXES[0], "config": part, "layers": []})).contains("type")
    );
    assert_eq!(
        refused(&json!({"schemaVersion": 2, "config": part, "layers": [part, part]})),
        "layers: more than 1, which is the limit"
    );
    assert!(refused(&json!({"manifests": [part, part]})).contains("manifests in an index"));
    assert!(
        refused(&json!({"schemaVersion": 2, "config": {"digest": "sha256:../../x", "size": 1}, "layers": []}))
            .contains("SHA-256")
    );
    assert!(
        refused(&json!({"schemaVersion": 2, "config": {"digest": digest('a'), "size": -1}, "layers": []}))
            .contains("as it should be")
    );
    assert!(document(b"[]", &limits).is_err() && document(b"", &limits).is_err());
}

#[test]
fn an_environment_has_names_and_is_bounded() {
    let mut env = vec!["PATH=/usr/bin", "HOME=/root", "1X=a", "=b", "no", "A=", "B=c=d", "LÖ=1", "Z=\0"];
    let many: Vec<String> = (0..100).map(|number| format!("V{number}=x")).collect();
    env.extend(many.iter().map(String::as_str));
    let text =
        json!({"os": "linux", "architecture": "amd64", "config": {"Env": env}, "rootfs": {"diff_ids": []}}).to_string();
    let config = config(text.as_bytes()).unwrap();
    let shown: Vec<String> = config.env.iter().take(4).map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!((shown.join(" "), config.env.len()), ("PATH=/usr/bin A= B=c=d V0=x".to_owned(), ENV_MAX));
}
