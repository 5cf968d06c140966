//! One suite on both places, and what becomes of every way in which a bucket can be unwell.

use std::time::Duration;

use bytes::Bytes;
use livery_broker::Secret;
use livery_core::Error;
use livery_testkit::fake_s3::{FakeS3, Keys, Mood};

use super::{BucketSettings, Failure, Objects, PIECE_BYTES, Place};

/// A store, and what it stands on.
struct House {
    objects: Objects,
    data: tempfile::TempDir,
}

async fn in_folder() -> House {
    let data = tempfile::tempdir().unwrap();
    let place = Place::Folder(data.path().join("objects"));
    House { objects: Objects::open(&place, data.path(), None).await.unwrap(), data }
}

async fn in_bucket(server: &FakeS3) -> House {
    in_bucket_of(server.url()).await
}

async fn in_bucket_of(endpoint: String) -> House {
    let data = tempfile::tempdir().unwrap();
    let settings = BucketSettings {
        endpoint: Some(endpoint),
        key_id: Some(Keys::default().id),
        secret_key: Some(Secret::from(Keys::default().secret)),
        ..BucketSettings::default()
    };
    let place = Place::parse(&format!("s3://{}/deep/er", FakeS3::BUCKET), settings).unwrap();
    House { objects: Objects::open(&place, data.path(), None).await.unwrap(), data }
}

/// Bytes that are not the same everywhere.
fn bytes(length: usize) -> Bytes {
    (0..length).map(|at| u8::try_from(at * 31 % 251).unwrap()).collect()
}

impl House {
    async fn put(&self, key: &str, content: Bytes) -> Result<(u64, String), Failure> {
        let spooled = self.objects.spool_bytes("it", content).await.unwrap();
        self.objects.put(key, &spooled).await?;
        Ok((spooled.bytes, spooled.sha256.clone()))
    }

    /// What lies in the spool, by count.
    fn spooled(&self) -> usize {
        std::fs::read_dir(self.data.path().join("spool")).unwrap().count()
    }
}

async fn conformance(house: &House) {
    let objects = &house.objects;
    for length in [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 11 * 1024 * 1024 + 3] {
        let content = bytes(length);
        let key = format!("files/a/{length}");
        let (size, digest) = house.put(&key, content.clone()).await.unwrap();
        assert_eq!(size, length as u64);
        assert_eq!(objects.size(&key).await, Ok(Some(size)));
        assert_eq!(objects.read(&key, size, &digest).await.as_ref(), Ok(&content), "{length}");

        let mut pieces = objects.get(&key, size, &digest).await.unwrap();
        let (mut whole, mut largest) = (Vec::new(), 0);
        while let Some(piece) = pieces.next().await {
            let piece = piece.unwrap();
            largest = largest.max(piece.len());
            whole.extend_from_slice(&piece);
        }
        assert_eq!(whole, content);
        assert!(largest <= 4 * PIECE_BYTES, "a piece of {largest} bytes");

        // What is not what was stored is noticed before its last piece is given away.
        assert_eq!(objects.read(&key, size + 1, &digest).await, Err(Failure::Damaged));
        assert_eq!(objects.read(&key, size, &"0".repeat(64)).await, Err(Failure::Damaged));
        if size > 0 {
            assert_eq!(objects.read(&key, size - 1, &digest).await, Err(Failure::Damaged));
        }
        // A put may be repeated: the same bytes, or those of a try that failed.
        house.put(&key, content).await.unwrap();
    }
    assert_eq!(objects.size("files/none").await, Ok(None));
    assert_eq!(objects.read("files/none", 1, "").await, Err(Failure::Missing));
    assert_eq!(objects.delete("files/none").await, Ok(()));
    objects.delete("files/a/1").await.unwrap();
    assert_eq!(objects.size("files/a/1").await, Ok(None));
    objects.check("nod_x").await.unwrap();
    assert_eq!(house.spooled(), 0, "nothing stays in the spool");

    for name in ["b/2", "b/1", "a/9", "c/1", "c/2", "c/3", "b/3"] {
        house.put(&format!("snapshots/{name}"), bytes(3)).await.unwrap();
    }
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = objects.list("snapshots", after.clone(), 2).await.unwrap();
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        found.extend(page.into_iter().map(|listed| listed.key));
    }
    let names = ["a/9", "b/1", "b/2", "b/3", "c/1", "c/2", "c/3"].map(|name| format!("snapshots/{name}"));
    assert_eq!(found, names);
    assert_eq!(objects.list("none", None, 10).await, Ok(vec![]));
    for key in ["../outside", "/etc/passwd", "a/../../b", ""] {
        assert_eq!(objects.size(key).await, Ok(None), "{key:?}");
        assert!(house.put(key, bytes(1)).await.is_err(), "{key:?}");
    }
}

#[tokio::test]
async fn a_folder_does_what_is_asked() {
    let house = in_folder().await;
    conformance(&house).await;
    assert!(!house.data.path().join("outside").exists());
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(house.data.path().join("objects/files/a/0")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "files of tenants are nobody else's to read");
}

#[tokio::test]
async fn a_bucket_does_what_is_asked() {
    let server = FakeS3::start(Keys::default()).await.unwrap();
    let house = in_bucket(&server).await;
    conformance(&house).await;
    assert_eq!(server.refused(), [], "every request was signed as the specification says");
    assert!(server.keys().iter().all(|key| key.starts_with("deep/er/")), "{:?}", server.keys());
    assert_eq!(server.uploads(), 0);
    assert!(server.largest_body() <= 5 * 1024 * 1024, "a request of {} bytes", server.largest_body());
}

/// A server somebody else wrote, such as moto's or MinIO, with a bucket `livery-test` that is empty below `deep/`, and the
/// key pair of [`Keys::default`] if it looks at keys.
#[tokio::test]
#[expect(clippy::print_stderr, reason = "a skip is said aloud")]
async fn a_real_server_does_what_is_asked() {
    let Ok(endpoint) = std::env::var("LIVERY_TEST_S3") else {
        return eprintln!("SKIPPED: set LIVERY_TEST_S3 to the URL of an S3 server");
    };
    let house = in_bucket_of(endpoint).await;
    conformance(&house).await;
}

/// Each mood with what a put and a get come to.
#[tokio::test]
async fn an_unwell_bucket_is_told_and_recovered_from() {
    let server = FakeS3::start(Keys::default()).await.unwrap();
    let house = in_bucket(&server).await;
    let small = bytes(1000);
    let (size, digest) = house.put("files/small", small.clone()).await.unwrap();
    let before = server.keys();
    let refused = |text: &str| Err(Failure::Refused(text.into()));
    let cases = [
        (Mood::SlowDown, Some(Err(Failure::SlowDown)), Some(Failure::SlowDown)),
        (Mood::Full, Some(Err(Failure::Full)), None),
        (Mood::NoBucket, Some(Err(Failure::NoBucket)), Some(Failure::NoBucket)),
        (
            Mood::Redirect,
            Some(refused("301 PermanentRedirect")),
            Some(Failure::Refused("301 PermanentRedirect".into())),
        ),
        (Mood::Short, None, Some(Failure::Damaged)),
        (Mood::Garbage, None, Some(Failure::Damaged)),
        (Mood::Flood, None, Some(Failure::Damaged)),
    ];
    for (mood, put, get) in cases {
        server.feel(mood);
        for length in [10, 6 * 1024 * 1024] {
            // A server that says 200 to a small object and does not keep it lies about itself; no client can know.
            let outcome = house.put(&format!("files/{length}"), bytes(length)).await.map(drop);
            if let Some(expected) = &put {
                assert_eq!(&outcome, expected, "{mood:?} {length}");
            }
        }
        let got = house.objects.read("files/small", size, &digest).await;
        assert_eq!(got.clone().err(), get, "{mood:?}");
        server.feel(Mood::Well);
        if put.is_some() {
            assert_eq!(server.keys(), before, "{mood:?}: nothing half is there");
        }
        assert_eq!(house.objects.read("files/small", size, &digest).await, Ok(small.clone()), "{mood:?} heals");
        assert_eq!(house.spooled(), 0, "{mood:?}");
    }
    server.feel(Mood::Cut);
    let cut = house.objects.read("files/small", size, &digest).await;
    assert!(matches!(cut, Err(Failure::Unreachable(_) | Failure::Nonsense)), "{cut:?}");
}

#[tokio::test]
async fn a_list_that_makes_no_sense_or_has_no_end_is_an_error() {
    let server = FakeS3::start(Keys::default()).await.unwrap();
    let house = in_bucket(&server).await;
    house.put("files/a", bytes(1)).await.unwrap();
    server.plant("deep/other", bytes(1));
    for mood in [Mood::Garbage, Mood::Flood] {
        server.feel(mood);
        assert_eq!(house.objects.list("files", None, 10).await, Err(Failure::Nonsense), "{mood:?}");
    }
    server.feel(Mood::Endless);
    let requests = server.requests();
    assert_eq!(house.objects.list("files", None, 10).await, Err(Failure::Nonsense));
    assert!(server.requests() - requests < 1000);
    server.feel(Mood::Well);
    let keys: Vec<String> = house.objects.list("files", None, 10).await.unwrap().into_iter().map(|it| it.key).collect();
    assert_eq!(keys, ["files/a"], "what is not below the prefix is nobody's business");
}

/// A list with everything a client looks at, as the walk begins.
const LIST: &str = "<?xml version=\"1.0\"?><ListBucketResult><Name>b</Name><IsTruncated>true</IsTruncated>\
    <Contents><Key>deep/er/files/a</Key><LastModified>2013-05-24T00:00:00.000Z</LastModified><Size>1</Size><ETag>x</ETag></Contents>\
    <CommonPrefixes><Prefix>deep/</Prefix></CommonPrefixes><NextContinuationToken>on</NextContinuationToken></ListBucketResult>";
/// What is put into it somewhere.
const SPLINTERS: &[&str] = &[
    "<",
    ">",
    "&",
    "&#x0;",
    "&a;",
    "]]>",
    "<!--",
    "<![CDATA[",
    "<!DOCTYPE a [<!ENTITY a \"aa\">]>",
    "\u{0}",
    "99999999999999999999",
    "-1",
    "<Contents>",
    "</ListBucketResult>",
    "..",
    "//",
    "deep/er/../..",
    "\u{fffd}",
    "<a><a><a><a><a><a><a><a>",
    "%2e%2e",
];

/// A fixed walk: whatever a server says to a list, the answer is a list of what was asked for, or an error, and soon.
#[tokio::test]
async fn a_list_from_a_hostile_server_is_a_list_or_an_error() {
    let server = FakeS3::start(Keys::default()).await.unwrap();
    let house = in_bucket(&server).await;
    let (mut seed, mut lists, mut errors) = (0x2545_f491_4f6c_dd1d_u64, 0, 0);
    for step in 0..300 {
        let mut random = |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            usize::try_from(seed % below as u64).unwrap()
        };
        let mut text = LIST.as_bytes().to_vec();
        for _ in 0..random(4) {
            let at = random(text.len());
            match random(3) {
                0 => text.truncate(at),
                1 => text[at] = u8::try_from(random(256)).unwrap(),
                _ => drop(text.splice(at..at, SPLINTERS[random(SPLINTERS.len())].bytes())),
            }
            text.push(b' ');
        }
        server.say(Some(text.clone().into()));
        let listed = tokio::time::timeout(Duration::from_secs(30), house.objects.list("files", None, 3)).await;
        match listed.unwrap_or_else(|_| panic!("step {step}: {}", String::from_utf8_lossy(&text))) {
            Ok(listed) => {
                lists += 1;
                assert!(
                    listed.len() <= 3 && listed.iter().all(|it| it.key.starts_with("files/")),
                    "step {step}: {listed:?}"
                );
            }
            Err(_) => errors += 1,
        }
    }
    assert!(lists > 10 && errors > 10, "the walk sees both: {lists} {errors}");
    server.say(None);
    assert_eq!(house.objects.list("files", None, 3).await, Ok(vec![]));
}

#[tokio::test]
async fn wrong_credentials_are_told_without_a_secret() {
    let server = FakeS3::start(Keys { secret: "another".into(), ..Keys::default() }).await.unwrap();
    let house = in_bucket(&server).await;
    let failure = house.objects.check("nod_x").await.unwrap_err();
    assert_eq!(failure, Failure::Denied("403 SignatureDoesNotMatch".into()));
    let told = Error::from(failure);
    assert!(matches!(&told, Error::Unavailable { detail, .. } if !detail.contains("Signature")), "{told:?}");
    assert_eq!(server.refused().len(), 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let server = FakeS3::start(Keys::default()).await.unwrap();
    let house = in_bucket(&server).await;
    server.stop().await;
    assert!(matches!(house.objects.check("nod_x").await, Err(Failure::Unreachable(_))));
}

#[tokio::test]
async fn a_spool_has_a_limit_and_leaves_nothing() {
    let house = in_folder().await;
    let mut spool = house.objects.spool("the file", 1000).await.unwrap();
    spool.write(bytes(600)).await.unwrap();
    let refused = spool.write(bytes(600)).await.unwrap_err();
    assert!(matches!(refused, Error::TooLarge { limit_bytes: 1000, .. }), "{refused:?}");
    drop(spool);
    assert_eq!(house.spooled(), 0);
    // What an earlier life left goes at the start.
    std::fs::write(house.data.path().join("spool/7"), b"left").unwrap();
    let place = Place::Folder(house.data.path().to_owned());
    Objects::open(&place, house.data.path(), None).await.unwrap();
    assert_eq!(house.spooled(), 0);
}

#[tokio::test]
async fn a_folder_that_fails_says_how() {
    let house = in_folder().await;
    // A file where a folder has to be: as root, too, nothing can be written there.
    std::fs::create_dir(house.data.path().join("objects")).unwrap();
    std::fs::write(house.data.path().join("objects/files"), b"").unwrap();
    assert!(matches!(house.put("files/a/b", bytes(1)).await, Err(Failure::Disk(_))));
    assert!(tokio::time::timeout(Duration::from_secs(20), house.objects.check("nod_x")).await.unwrap().is_ok());
}
