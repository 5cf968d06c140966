use livery_broker::Secret;

use super::{BucketSettings, Place, PlaceError};

fn settings() -> BucketSettings {
    BucketSettings {
        key_id: Some("AKIDEXAMPLE".into()),
        secret_key: Some(Secret::from("wJalrXUtnFEMI".to_owned())),
        ..BucketSettings::default()
    }
}

fn shown(text: &str, settings: BucketSettings) -> Result<String, PlaceError> {
    Place::parse(text, settings).map(|place| format!("{place:?}"))
}

#[test]
fn a_place_is_a_folder_or_a_bucket() {
    assert_eq!(shown("/mnt/livery", settings()).unwrap(), "Folder(\"/mnt/livery\")");
    let aws = shown("s3://my-bucket/a/b/", BucketSettings { region: Some("eu-central-1".into()), ..settings() });
    assert_eq!(aws.unwrap(), "Bucket(s3://my-bucket/a/b at https://s3.eu-central-1.amazonaws.com)");
    let own = BucketSettings { endpoint: Some("http://127.0.0.1:9000".into()), ..settings() };
    assert_eq!(shown("s3://my-bucket", own).unwrap(), "Bucket(s3://my-bucket/ at http://127.0.0.1:9000)");
}

#[test]
fn what_cannot_be_used_says_what_to_change() {
    let with = |endpoint: &str| BucketSettings { endpoint: Some(endpoint.into()), ..settings() };
    for text in ["s3://", "s3://ab", "s3://UPPER", "s3://a..b", "s3://-abc", "s3://has_underscore/x"] {
        assert_eq!(shown(text, settings()), Err(PlaceError::Bucket), "{text}");
    }
    for text in ["s3://bucket/a//b", "s3://bucket/../x", "s3://bucket/ä", "s3://bucket/a?b"] {
        assert_eq!(shown(text, settings()), Err(PlaceError::Prefix), "{text}");
    }
    assert_eq!(shown("gs://bucket", settings()), Err(PlaceError::Scheme("gs://".into())));
    assert_eq!(shown("s3://bucket", with("http://minio.internal:9000")), Err(PlaceError::Plaintext));
    assert!(shown("s3://bucket", BucketSettings { allow_http: true, ..with("http://minio.internal:9000") }).is_ok());
    assert_eq!(shown("s3://bucket", with("https://minio.internal/path")), Err(PlaceError::EndpointPath));
    assert!(matches!(shown("s3://bucket", with("minio")), Err(PlaceError::Endpoint(_))));
    assert!(matches!(shown("s3://bucket", with("https://user:pw@host")), Err(PlaceError::Endpoint(_))));
    let none = BucketSettings { key_id: None, ..settings() };
    assert_eq!(shown("s3://bucket", none), Err(PlaceError::Credential("AWS_ACCESS_KEY_ID")));
}
