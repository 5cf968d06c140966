//! Against the signatures that AWS publishes: its test suite for any service, and the examples of S3's manual.

use proptest::prelude::*;

use super::*;

const AT: &str = "2015-08-30T12:36:00Z";
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

struct Case<'a> {
    key: &'a [u8],
    url: &'a str,
    method: &'a str,
    region: &'a str,
    service: &'a str,
    at: &'a str,
    headers: &'a [(&'a str, &'a str)],
    body: &'a [u8],
}

/// One of the suite's: its key, place and time.
fn suite(method: &'static str, url: &'static str) -> Case<'static> {
    Case {
        key: b"AKIDEXAMPLE\nwJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        url,
        method,
        region: "us-east-1",
        service: "service",
        at: AT,
        headers: &[("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z")],
        body: b"",
    }
}

/// One of S3's manual.
fn s3<'a>(method: &'a str, url: &'a str, headers: &'a [(&'a str, &'a str)]) -> Case<'a> {
    Case {
        key: b"AKIAIOSFODNN7EXAMPLE\nwJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        url,
        method,
        region: "us-east-1",
        service: "s3",
        at: "2013-05-24T00:00:00Z",
        headers,
        body: b"",
    }
}

fn signature(case: &Case<'_>) -> String {
    let target = Target::full_url(case.url).unwrap();
    let request = Signed {
        method: case.method,
        target: &target,
        body: case.body,
        region: case.region,
        service: case.service,
        at: case.at.parse().unwrap(),
    };
    let mut headers: Vec<(String, String)> =
        case.headers.iter().map(|(name, value)| ((*name).to_owned(), one_spaced(value))).collect();
    headers.sort_unstable();
    let digest = hex(&Sha256::digest(case.body));
    let key = AccessKey::parse(case.key).unwrap();
    let (_, signature) = authorization(&headers, &request, &key, &stamp(request.at).unwrap(), &digest);
    String::from_utf8(signature.expose_secret().to_vec()).unwrap()
}

#[test]
fn the_suite_for_any_service() {
    let get = |url| signature(&suite("GET", url));
    assert_eq!(
        get("https://example.amazonaws.com/"),
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
    );
    assert_eq!(
        get("https://example.amazonaws.com/?Param2=value2&Param1=value1"),
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"
    );
    assert_eq!(
        signature(&suite("POST", "https://example.amazonaws.com/")),
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
    );
    let form = Case {
        headers: &[
            ("content-type", "application/x-www-form-urlencoded"),
            ("host", "example.amazonaws.com"),
            ("x-amz-date", "20150830T123600Z"),
        ],
        body: b"Param1=value1",
        ..suite("POST", "https://example.amazonaws.com/")
    };
    assert_eq!(signature(&form), "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a");
}

#[test]
fn the_examples_of_s3() {
    let host = ("host", "examplebucket.s3.amazonaws.com");
    let empty = ("x-amz-content-sha256", EMPTY_SHA256);
    let date = ("x-amz-date", "20130524T000000Z");
    let ranged = [host, ("range", "bytes=0-9"), empty, date];
    assert_eq!(
        signature(&s3("GET", "https://examplebucket.s3.amazonaws.com/test.txt", &ranged)),
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    );
    let plain = [host, empty, date];
    assert_eq!(
        signature(&s3("GET", "https://examplebucket.s3.amazonaws.com/?lifecycle", &plain)),
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
    );
    assert_eq!(
        signature(&s3("GET", "https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J", &plain)),
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
    );
    let body = b"Welcome to Amazon S3.";
    let digest = hex(&Sha256::digest(body));
    let put = [
        ("date", "Fri, 24 May 2013 00:00:00 GMT"),
        host,
        ("x-amz-content-sha256", digest.as_str()),
        date,
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
    ];
    let put = Case { body, ..s3("PUT", "https://examplebucket.s3.amazonaws.com/test$file.text", &put) };
    assert_eq!(signature(&put), "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

/// S3 encodes a path once, all others once more.
#[test]
fn a_path_is_encoded_by_the_rule_of_its_service() {
    let target = Target::full_url("https://example.com/a%20b/c:d?x=%7E&y=a+b").unwrap();
    let canonical_of = |service| {
        let at = AT.parse().unwrap();
        let request = Signed { method: "GET", target: &target, body: b"", region: "us-east-1", service, at };
        canonical(&[], "", &request, "").lines().skip(1).take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(canonical_of("s3"), ["/a%20b/c%3Ad", "x=~&y=a%20b"]);
    assert_eq!(canonical_of("dynamodb"), ["/a%2520b/c%3Ad", "x=~&y=a%20b"]);
}

#[test]
fn a_key_is_two_or_three_lines() {
    for lines in ["", "id", "id\n", "\nsecret", "id\nse cret", "id\nsecret\n", "id\nsecret\ntoken\nmore", "i\u{e9}\ns"]
    {
        assert!(AccessKey::parse(lines.as_bytes()).is_none(), "{lines:?}");
    }
    assert!(AccessKey::parse(b"id\nsecret").unwrap().session_token.is_none());
    assert_eq!(AccessKey::parse(b"id\nsecret\ntoken").unwrap().session_token, Some(&b"token"[..]));
}

#[test]
fn what_cannot_be_signed_is_refused() {
    let target = Target::full_url("https://s3.eu-central-1.amazonaws.com/b/k").unwrap();
    let key = AccessKey::parse(b"id\nsecret").unwrap();
    let attempt = |body: &[u8], coding: Option<&'static str>| {
        let mut headers = HeaderMap::new();
        if let Some(coding) = coding {
            headers.insert(http::header::CONTENT_ENCODING, HeaderValue::from_static(coding));
        }
        let at = AT.parse().unwrap();
        let request = Signed { method: "PUT", target: &target, body, region: "eu-central-1", service: "s3", at };
        sign(&mut headers, &request, &key).map(|_| headers)
    };
    assert!(matches!(attempt(b"", Some("gzip, AWS-chunked")), Err(Error::BadRequest { .. })));
    assert!(matches!(attempt(&vec![0; BODY_BYTES_MAX + 1], None), Err(Error::TooLarge { .. })));
    let headers = attempt(b"body", Some("gzip")).unwrap();
    assert!(headers[http::header::AUTHORIZATION].is_sensitive());
    assert_eq!(headers["x-amz-date"], "20150830T123600Z");
}

proptest! {
    /// Whatever a caller's path and query are, there is one canonical form, in plain ASCII.
    #[test]
    fn canonical_forms_are_plain(path in "[ -~]{0,40}", query in "[ -~]{0,40}") {
        if let Ok(target) = Target::full_url(&format!("https://example.com/{path}?{query}")) {
            for service in ["s3", "sqs"] {
                let at = AT.parse().unwrap();
                let request = Signed { method: "GET", target: &target, body: b"", region: "r", service, at };
                let canonical = canonical(&[], "", &request, "");
                prop_assert_eq!(canonical.lines().count(), 5);
                prop_assert!(canonical.is_ascii());
            }
        }
    }
}
