//! Libraries that people use every day, unmodified, in a real sandbox with a credential that is not there.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::is_missing_a_program;
use super::keyed::{KEY, Site, assert_absent};
use super::upstream::{SIGNED, Upstream};
use crate::support::{repository, skip};

/// The access key of the connection that signs.
const ACCESS_KEY_ID: &str = "AKIAN0TINTHESANDBOX0";

/// Where the packages are, if this one is among them.
fn packages(wanted: &str) -> Option<PathBuf> {
    // The folder is named after the Python it is for.
    let lib = std::fs::read_dir(repository("target/tools/clients/venv/lib")).ok();
    let packages = lib.and_then(|mut all| all.find_map(|entry| Some(entry.ok()?.path().join("site-packages"))));
    let packages = packages.filter(|packages| packages.join(wanted).exists());
    if packages.is_none() {
        skip(&format!("the Python client {wanted} is not installed; run `cargo xtask setup`"));
    }
    packages
}

/// The libraries, unmodified: their packages come into the sandbox through the proxy, too.
#[test]
fn requests_and_openai_use_it_too() {
    if is_missing_a_program() {
        return;
    }
    let Some(packages) = packages("openai") else { return };
    let site = Site::new();
    pack(&packages, &[], &site.upstream.home.path().join("files/packages.tgz"));
    let command = "
        curl -sS -o packages.tgz $URL/packages.tgz && mkdir packages && tar xzf packages.tgz -C packages; echo unpacked=$?
        cat > client.py <<'END'
import os, requests, openai
url, key = os.environ['URL'], os.environ['LIVERY_API_KEY']
print('requests', requests.get(url + '/hello.txt', auth=('user', key)).text.strip())
print('refused', requests.post(url + '/store', json={'note': key}).status_code)
for base in (url + '/v1', os.environ['LIVERY_API_BASE_URL'] + '/v1'):
    client = openai.OpenAI(base_url=base, api_key=key, max_retries=0)
    asked = dict(model='m', messages=[{'role': 'user', 'content': 'hello'}])
    print('openai', client.chat.completions.create(**asked).choices[0].message.content)
    pieces = client.chat.completions.create(stream=True, **asked)
    print('stream', ''.join(piece.choices[0].delta.content for piece in pieces))
END
        PYTHONPATH=packages /usr/bin/python3 client.py 2>&1; echo python=$?";
    let (text, _) = site.printed("broker", command);
    for (expected, times) in [
        ("unpacked=0\n", 1),
        ("requests hello from outside\n", 1),
        ("refused 403\n", 1),
        ("openai hello from a model\n", 2),
        ("stream a streamed answer\n", 2),
        ("python=0\n", 1),
    ] {
        assert_eq!(text.matches(expected).count(), times, "{expected:?} in {text}\n{}", site.server.log());
    }
    assert_absent(&text);
}

/// It pins the authorities it trusts and would not go through a proxy that looks inside; the base URL is for such programs.
#[test]
fn stripe_goes_through_the_base_url() {
    if is_missing_a_program() {
        return;
    }
    let Some(packages) = packages("stripe") else { return };
    let site = Site::new();
    let without = ["openai", "boto3", "botocore"];
    pack(&packages, &without, &site.upstream.home.path().join("files/packages.tgz"));
    let command = "
        curl -sS -o packages.tgz $URL/packages.tgz && mkdir packages && tar xzf packages.tgz -C packages; echo unpacked=$?
        cat > client.py <<'END'
import os, stripe
key = os.environ['LIVERY_API_KEY']
for base in (os.environ['URL'], os.environ['LIVERY_API_BASE_URL']):
    client = stripe.StripeClient(key, base_addresses={'api': base}, max_network_retries=0)
    try:
        customer = client.v1.customers.create(params={'email': 'ada@example.com'})
        print('stripe', customer.id, customer.email)
    except stripe.APIConnectionError as error:
        print('pinned', 'certificate' in str(error).lower())
END
        PYTHONPATH=packages /usr/bin/python3 client.py 2>&1; echo python=$?";
    let (text, _) = site.printed("broker", command);
    for expected in ["unpacked=0\n", "pinned True\n", "stripe cus_1 ada@example.com\n", "python=0\n"] {
        assert_eq!(text.matches(expected).count(), 1, "{expected:?} in {text}\n{}", site.server.log());
    }
    assert_absent(&text);
}

/// AWS's own library finds its key in its usual variables and signs with it; what arrives is signed with the real one.
#[test]
fn boto3_has_its_requests_signed_by_a_key_it_does_not_have() {
    if is_missing_a_program() {
        return;
    }
    let Some(packages) = packages("boto3") else { return };
    let upstream = Upstream::running(SIGNED, &format!("{ACCESS_KEY_ID} {KEY}"));
    let slot = json!({"slot": {"in": "sigv4", "region": "eu-central-1", "service": "s3"}});
    let credential = json!({"kind": "aws", "access_key_id": ACCESS_KEY_ID, "secret_access_key": KEY});
    let site = Site::with(upstream, slot, &credential);
    let without = ["openai", "stripe", "pydantic_core"];
    pack(&packages, &without, &site.upstream.home.path().join("files/packages.tgz"));
    let command = "
        curl -sS -o packages.tgz $URL/packages.tgz && mkdir packages && tar xzf packages.tgz -C packages; echo unpacked=$?
        cat > client.py <<'END'
import os, boto3
from botocore.config import Config
config = Config(s3={'addressing_style': 'path'}, retries={'total_max_attempts': 1})
for at, endpoint in enumerate((os.environ['URL'], os.environ['LIVERY_API_BASE_URL'])):
    s3 = boto3.client('s3', endpoint_url=endpoint, config=config)
    key = f'a b/ü+{at}~(1).txt'
    s3.put_object(Bucket='orders', Key=key, Body=b'order of ' + str(at).encode(), Metadata={'by': 'livery'})
    print('got', s3.get_object(Bucket='orders', Key=key)['Body'].read().decode())
    print('listed', key in [o['Key'] for o in s3.list_objects_v2(Bucket='orders', Prefix='a b/', Delimiter='|')['Contents']])
    s3.delete_object(Bucket='orders', Key=key)
    big = os.urandom(3000000)
    s3.put_object(Bucket='orders', Key='big', Body=big)
    print('big', s3.get_object(Bucket='orders', Key='big')['Body'].read() == big)
END
        PYTHONPATH=packages /usr/bin/python3 client.py 2>&1; echo python=$?
        env | grep AWS_";
    let (text, _) = site.printed("broker", command);
    let requests = site.upstream.requests();
    for (expected, times) in [
        ("unpacked=0\n", 1),
        ("got order of 0\n", 1),
        ("got order of 1\n", 1),
        ("listed True\n", 2),
        ("big True\n", 2),
        ("python=0\n", 1),
        ("AWS_SECRET_ACCESS_KEY=lvp_", 1),
    ] {
        assert_eq!(text.matches(expected).count(), times, "{expected:?} in {text}\n{requests}\n{}", site.server.log());
    }
    assert_absent(&text);
    assert!(!text.contains(ACCESS_KEY_ID), "{text}");
    assert_eq!(requests.lines().filter(|line| line.ends_with(" signed")).count(), 13, "{requests}");
    assert!(requests.lines().all(|line| line.ends_with(" signed")), "{requests}");
}

/// The packages without the tools that installed them, and without these.
fn pack(packages: &Path, without: &[&str], archive: &Path) {
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(packages).args(["--exclude=pip*", "--exclude=setuptools*", "--exclude=__pycache__"]);
    tar.args(without.iter().map(|name| format!("--exclude=./{name}")));
    assert!(tar.arg("-czf").arg(archive).arg(".").status().unwrap().success());
}
