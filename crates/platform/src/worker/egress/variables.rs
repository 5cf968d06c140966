//! What programs in a sandbox are told of the way out: where the proxy is, whom to trust, what stands in place of a key.

use livery_core::connector::CredentialSlot;

use super::gate::Route;
use super::way::{AUTHORITY_FILE, PORT};

/// How programs are told where the proxy is.
const PROXY: [&str; 6] = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
/// What they reach without it: their own machine.
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];
/// How programs are told whom to trust.
const AUTHORITY: [&str; 9] = [
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
    "AWS_CA_BUNDLE",
    "PIP_CERT",
    "CARGO_HTTP_CAINFO",
    "DENO_CERT",
];

/// All of them, each name once.
pub(super) fn all(routes: &[Route]) -> Vec<(String, String)> {
    let proxy = format!("http://127.0.0.1:{PORT}");
    let mut variables: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, value: &str| {
        if !variables.iter().any(|(known, _)| known == name) {
            variables.push((name.to_owned(), value.to_owned()));
        }
    };
    PROXY.iter().for_each(|name| add(name, &proxy));
    NO_PROXY.iter().for_each(|name| add(name, "localhost,127.0.0.1,::1"));
    AUTHORITY.iter().for_each(|name| add(name, AUTHORITY_FILE));
    let address = |route: &Route| format!("{proxy}/{}", route.slot);
    for route in routes {
        let slot = upper(&route.slot);
        if route.connector.postgres.is_some() {
            database(route).into_iter().for_each(|(name, value)| add(&format!("LIVERY_{slot}_{name}"), &value));
            continue;
        }
        add(&format!("LIVERY_{slot}_KEY"), route.placeholder.as_str());
        add(&format!("LIVERY_{slot}_BASE_URL"), &address(route));
    }
    // Of two connections of one kind neither is the usual one.
    let is_only =
        |route: &&Route| routes.iter().filter(|other| other.connector.name == route.connector.name).count() == 1;
    for route in routes.iter().filter(is_only) {
        if route.connector.postgres.is_some() {
            database(route).into_iter().for_each(|(name, value)| add(name, &value));
        }
        if let Some(name) = &route.connector.variable {
            add(name, route.placeholder.as_str());
        }
        if let Some(base) = &route.connector.base_url {
            add(&base.variable, &format!("{}{}", address(route), base.path));
        }
    }
    let signed: Vec<&Route> =
        routes.iter().filter(|route| matches!(route.connector.slot, CredentialSlot::Sigv4 { .. })).collect();
    if let [route] = signed[..] {
        aws(route).into_iter().for_each(|(name, value)| add(name, value));
    }
    variables
}

/// How libraries of PostgreSQL are told where a database is. The password is the stand-in.
fn database(route: &Route) -> [(&'static str, String); 6] {
    let database = route.connector.postgres.as_ref().map(|server| server.database.clone()).unwrap_or_default();
    [
        ("PGHOST", "127.0.0.1".to_owned()),
        ("PGPORT", PORT.to_string()),
        ("PGUSER", route.slot.clone()),
        ("PGPASSWORD", route.placeholder.as_str().to_owned()),
        ("PGDATABASE", database),
        ("PGSSLMODE", "disable".to_owned()),
    ]
}

/// What AWS's own clients look for. They sign with the placeholder, which is replaced by a signature that counts; a body they sign
/// piece by piece could not be, so they are told to send it as it is.
fn aws(route: &Route) -> Vec<(&'static str, &str)> {
    let CredentialSlot::Sigv4 { region, .. } = &route.connector.slot else { return Vec::new() };
    let key = route.placeholder.as_str();
    vec![
        ("AWS_ACCESS_KEY_ID", key),
        ("AWS_SECRET_ACCESS_KEY", key),
        ("AWS_REGION", region),
        ("AWS_DEFAULT_REGION", region),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required"),
    ]
}

/// A slot's name as a part of a variable's.
fn upper(slot: &str) -> String {
    slot.chars().map(|one| if one.is_ascii_alphanumeric() { one.to_ascii_uppercase() } else { '_' }).collect()
}
