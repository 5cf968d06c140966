//! Table tests for every known way to name a forbidden destination, and properties that hold for the unknown ones.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::prelude::*;

use super::*;
use crate::error::DenyReason;

fn guard(allow: &[&str]) -> AddressGuard {
    AddressGuard::new(allow.iter().map(|net| net.parse().unwrap()).collect(), Vec::new())
}

fn judge(guard: &AddressGuard, ip: &str) -> Result<(), DenyReason> {
    guard.check(SocketAddr::new(ip.parse().unwrap(), 443))
}

#[test]
fn c1_to_c3_each_range_is_denied_at_both_ends_and_open_beyond() {
    use DenyReason::{Metadata, PrivateAddress, ReservedAddress};
    let nothing_allowed = guard(&[]);
    for (first, last, reason) in [
        ("0.0.0.0", "0.255.255.255", ReservedAddress),
        ("10.0.0.0", "10.255.255.255", PrivateAddress),
        ("100.64.0.0", "100.127.255.255", PrivateAddress),
        ("127.0.0.0", "127.255.255.255", PrivateAddress),
        ("169.254.0.0", "169.254.255.255", ReservedAddress),
        ("172.16.0.0", "172.31.255.255", PrivateAddress),
        ("192.0.0.0", "192.0.0.255", ReservedAddress),
        ("192.0.2.0", "192.0.2.255", ReservedAddress),
        ("192.88.99.0", "192.88.99.255", ReservedAddress),
        ("192.168.0.0", "192.168.255.255", PrivateAddress),
        ("198.18.0.0", "198.19.255.255", ReservedAddress),
        ("198.51.100.0", "198.51.100.255", ReservedAddress),
        ("203.0.113.0", "203.0.113.255", ReservedAddress),
        ("224.0.0.0", "255.255.255.255", ReservedAddress),
        ("169.254.169.254", "169.254.169.254", Metadata),
        ("169.254.170.2", "169.254.170.2", Metadata),
        ("168.63.129.16", "168.63.129.16", Metadata),
        ("100.100.100.200", "100.100.100.200", Metadata),
        ("192.0.0.192", "192.0.0.192", Metadata),
        ("fd00:ec2::254", "fd00:ec2::254", Metadata),
        ("::", "::", ReservedAddress),
        ("::1", "::1", PrivateAddress),
        ("::2", "::ffff", ReservedAddress),
        ("::a9fe:a9fe", "::a9fe:a9fe", ReservedAddress),
        ("::ffff:10.0.0.0", "::ffff:10.255.255.255", PrivateAddress),
        ("::ffff:169.254.169.254", "::ffff:169.254.169.254", Metadata),
        ("64:ff9b::a9fe:a9fe", "64:ff9b::a9fe:a9fe", Metadata),
        ("64:ff9b::7f00:1", "64:ff9b::7f00:1", ReservedAddress),
        ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", ReservedAddress),
        ("64:ff9b:1::808:808", "64:ff9b:1::808:808", ReservedAddress),
        ("100::", "100::ffff:ffff:ffff:ffff", ReservedAddress),
        ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", ReservedAddress),
        ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", ReservedAddress),
        ("2002:a9fe:a9fe::", "2002:a9fe:a9fe::", Metadata),
        ("2002:a00::", "2002:aff:ffff:ffff:ffff:ffff:ffff:ffff", ReservedAddress),
        ("2a00:1450:4001::5efe:7f00:1", "2a00:1450:4001::200:5efe:a00:1", ReservedAddress),
        ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", ReservedAddress),
        ("5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ReservedAddress),
        ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", PrivateAddress),
        ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ReservedAddress),
        ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ReservedAddress),
        ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ReservedAddress),
    ] {
        assert_eq!(judge(&nothing_allowed, first), Err(reason), "{first}");
        assert_eq!(judge(&nothing_allowed, last), Err(reason), "{last}");
    }
    for public in [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2606:4700::1111",
        "2001:4860:4860::8888",
        "2a00:1450:4001::1",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2002:808:808::1",
    ] {
        assert_eq!(judge(&nothing_allowed, public), Ok(()), "{public}");
    }
}

#[test]
fn the_operators_list_lifts_private_space_and_nothing_else() {
    let everything = guard(&["0.0.0.0/0", "::/0"]);
    for lifted in
        ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "::1", "fd12::1", "::ffff:10.0.0.1"]
    {
        assert_eq!(judge(&everything, lifted), Ok(()), "{lifted}");
    }
    for never in [
        "169.254.169.254",
        "169.254.1.1",
        "100.100.100.200",
        "168.63.129.16",
        "fd00:ec2::254",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "fe80::1",
        "ff02::1",
        "::",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "64:ff9b::a9fe:a9fe",
        "2001:db8::1",
    ] {
        assert!(judge(&everything, never).is_err(), "{never}");
    }
    let one = guard(&["127.0.0.1/32"]);
    assert_eq!(judge(&one, "127.0.0.1"), Ok(()));
    assert_eq!(judge(&one, "127.0.0.2"), Err(DenyReason::PrivateAddress));
    assert_eq!(judge(&one, "::1"), Err(DenyReason::PrivateAddress));
}

#[test]
fn own_listeners_are_never_dialled() {
    let at = |own: &str| AddressGuard::new(vec!["127.0.0.0/8".parse().unwrap()], vec![own.parse().unwrap()]);
    let dial = |guard: &AddressGuard, address: &str| guard.check(address.parse().unwrap());
    assert_eq!(dial(&at("127.0.0.1:8080"), "127.0.0.1:8080"), Err(DenyReason::OwnAddress));
    assert_eq!(dial(&at("127.0.0.1:8080"), "127.0.0.9:8080"), Err(DenyReason::OwnAddress));
    assert_eq!(dial(&at("0.0.0.0:8080"), "127.0.0.1:8080"), Err(DenyReason::OwnAddress));
    assert_eq!(dial(&at("[::]:8080"), "[::ffff:127.0.0.1]:8080"), Err(DenyReason::OwnAddress));
    assert_eq!(dial(&at("1.1.1.1:443"), "1.1.1.1:443"), Err(DenyReason::OwnAddress));
    // Another port is another service; another host's address is not ours.
    assert_eq!(dial(&at("127.0.0.1:8080"), "127.0.0.1:8081"), Ok(()));
    assert_eq!(dial(&at("0.0.0.0:443"), "1.1.1.1:443"), Ok(()));
}

#[track_caller]
fn refuses(text: &str, why: UrlRefused) {
    assert_eq!(Target::base_url(text).err(), Some(why), "{text:?}");
    assert!(Target::full_url(text).is_err(), "{text:?}");
}

#[test]
fn b7_b8_c7_urls_with_two_readings_are_refused() {
    use UrlRefused::{Character, Fragment, Host, IpLiteral, Metadata, Port, Scheme, UserInfo};
    for (text, why) in [
        // Which part is the host?
        ("https://api.stripe.com@evil.com/", UserInfo),
        ("https://evil.com:443@api.stripe.com/", UserInfo),
        ("https://evil.com#@api.stripe.com/", Fragment),
        ("https://api.stripe.com\\@evil.com/", Character),
        ("https://api.stripe.com\\.evil.com/", Character),
        ("https:/api.stripe.com", Scheme),
        ("https:api.stripe.com", Scheme),
        ("https:///api.stripe.com", Host),
        ("https:\\\\api.stripe.com", Character),
        ("//api.stripe.com", Scheme),
        (" https://api.stripe.com", Character),
        ("https://api.stripe.com ", Character),
        ("https://api.\tstripe.com", Character),
        ("https://api.\rstripe.com", Character),
        ("https://api.\nstripe.com", Character),
        ("https://api.\0stripe.com", Character),
        ("https://api%2estripe.com", Host),
        ("https://api.stripe.com%00.evil.com", Host),
        ("https://", Host),
        ("https://:443/", Host),
        ("https://.", Host),
        ("https://a..b", Host),
        ("https://a.com..", Host),
        ("https://-a.com", Host),
        ("https://a-.com", Host),
        ("https://exa\u{ad}mple.com", Character),
        ("https://ﬁnance.com", Character),
        ("https://api。stripe。com", Character),
        ("https://xn--a.com", Host),
        // Other schemes.
        ("file:///etc/passwd", Scheme),
        ("gopher://evil.com", Scheme),
        ("ftp://evil.com", Scheme),
        ("unix:/run/docker.sock", Scheme),
        ("data:text/plain,x", Scheme),
        ("javascript:alert(1)", Scheme),
        ("", Scheme),
        // IP addresses in disguise.
        ("https://127.1", IpLiteral),
        ("https://2130706433", IpLiteral),
        ("https://0x7f000001", IpLiteral),
        ("https://0x7f.1", IpLiteral),
        ("https://0177.0.0.1", IpLiteral),
        ("https://127.0.0.1.", IpLiteral),
        ("https://0x7f000001.", IpLiteral),
        ("https://1.2.3.4.5", IpLiteral),
        ("https://[::ffff:127.0.0.1", Host),
        ("https://[0:0:0:0:0:0:0:1]", IpLiteral),
        ("https://[::FFFF:1.2.3.4]", IpLiteral),
        ("https://[fe80::1%25eth0]", IpLiteral),
        ("https://[fe80::1%eth0]", IpLiteral),
        ("https://[::1]x", Host),
        ("https://[v1.x]", IpLiteral),
        // Metadata by name.
        ("http://metadata.google.internal/", Metadata),
        ("http://METADATA.google.internal./", Metadata),
        ("https://metadata", Metadata),
        ("https://instance-data", Metadata),
        // Ports.
        ("https://api.stripe.com:22", Port),
        ("https://api.stripe.com:25", Port),
        ("https://api.stripe.com:5432", Port),
        ("https://api.stripe.com:80", Port),
        ("http://10.0.0.1:443", Port),
        ("https://api.stripe.com:0", Port),
        ("https://api.stripe.com:65536", Port),
        ("https://api.stripe.com:+443", Port),
        ("https://api.stripe.com:0443", Port),
        ("https://api.stripe.com:", Port),
        ("https://api.stripe.com:443:443", Port),
    ] {
        refuses(text, why);
    }
    // The host here is evil.com and nothing but: a query cannot make it another.
    refuses_query("https://evil.com?@api.stripe.com/");
}

#[track_caller]
fn refuses_query(text: &str) {
    assert_eq!(Target::base_url(text).err(), Some(UrlRefused::Query), "{text:?}");
    assert_eq!(Target::full_url(text).unwrap().host(), &Host::Name("evil.com".to_owned()));
}

#[test]
fn b9_one_host_has_one_spelling() {
    let base = |text| Target::base_url(text).unwrap();
    assert_eq!(base("https://API.Stripe.com./v1"), base("https://api.stripe.com:443/v1/"));
    assert_eq!(base("https://api.stripe.com/v1/").base_text(), "https://api.stripe.com/v1");
    assert_eq!(base("HTTPS://xn--bcher-kva.example").origin(), "https://xn--bcher-kva.example");
    assert_eq!(base("http://[::1]:11434").origin(), "http://[::1]:11434");
    assert_eq!(base("http://my_ollama:11434/v1").base_text(), "http://my_ollama:11434/v1");
    assert_eq!(
        format!("{:?}", Target::full_url("https://a.example/hook/T0KEN?sig=S1G").unwrap()),
        "Target(https://a.example)"
    );
}

#[test]
fn d1_paths_have_one_form_and_are_joined_in_it() {
    let base = Target::base_url("https://a.example/v1").unwrap();
    for (suffix, expected) in [
        ("/chat/completions", "/v1/chat/completions"),
        ("/models/x:streamGenerateContent?alt=sse", "/v1/models/x:streamGenerateContent?alt=sse"),
        ("/a/./b", "/v1/a/b"),
        ("/a/x/../b", "/v1/a/b"),
        ("/%61%2D%7e", "/v1/a-~"),
        ("/a%c3%a4", "/v1/a%C3%A4"),
        ("/a%20b", "/v1/a%20b"),
        ("/a/", "/v1/a/"),
        ("/100%25", "/v1/100%25"),
    ] {
        assert_eq!(base.join(suffix).unwrap().path_and_query(), expected, "{suffix}");
    }
    for suffix in [
        "",
        "a",
        "/..",
        "/../admin",
        "/a/../../admin",
        "/%2e%2e/admin",
        "/..;/admin",
        "//admin",
        "/a//b",
        "/a%2fb",
        "/a%5cb",
        "/a%00b",
        "/a%0ab",
        "/%252e%252e",
        "/%25%32e",
        "/a%252fb",
        "/%c0%ae",
        "/%ff",
        "/%",
        "/%a",
        "/%zz",
        "/a b",
        "/a\\b",
        "/ä",
        "/a;b=c",
        "/a%3bb",
        "/<a>",
        "/a\nb",
    ] {
        assert_eq!(base.join(suffix).err(), Some(UrlRefused::Path), "{suffix:?}");
    }
    for query in ["a b", "a#b", "%", "%0d%0a", "\"", "ä", "a\nb"] {
        assert_eq!(base.join(&format!("/x?{query}")).err(), Some(UrlRefused::Query), "{query:?}");
    }
    assert_eq!(base.join(&format!("/{}", "a".repeat(9000))).err(), Some(UrlRefused::TooLong));
}

#[test]
fn the_hosts_name_servers_are_read_again_when_they_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resolv.conf");
    let dns = dns::Dns::of_file(&path);
    assert!(dns.resolver().is_none(), "no file, nobody to ask, no error");
    std::fs::write(&path, "# nothing\n").unwrap();
    assert!(dns.resolver().is_none());
    std::fs::write(&path, "nameserver 192.0.2.1\nsearch evil.example\noptions ndots:15\n").unwrap();
    std::fs::File::open(&path).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let resolver = dns.resolver().unwrap();
    assert!(resolver.options().preserve_intermediates && resolver.options().ndots == 1, "our options, not the file's");
    std::fs::remove_file(&path).unwrap();
    assert!(dns.resolver().is_none());
}

/// Some spelling of an IPv4 address that some parser somewhere understands.
fn spellings_v4(ip: Ipv4Addr) -> Vec<String> {
    let [a, b, c, d] = ip.octets();
    let bits = ip.to_bits();
    vec![
        ip.to_string(),
        format!("{ip}."),
        format!("{bits}"),
        format!("{bits:#x}"),
        format!("0{bits:o}"),
        format!("{a}.{}", bits & 0xff_ffff),
        format!("{a}.{b}.{}", bits & 0xffff),
        format!("{a:#x}.{b:#x}.{c:#x}.{d:#x}"),
        format!("0{a:o}.{b}.{c}.{d}"),
        format!("{a:03}.{b:03}.{c:03}.{d:03}"),
        format!("[::ffff:{ip}]"),
        format!("[::{ip}]"),
        format!("[64:ff9b::{ip}]"),
        format!("[2002:{:x}:{:x}::]", bits >> 16, bits & 0xffff),
        format!("[::ffff:{:x}:{:x}]", bits >> 16, bits & 0xffff),
        format!("[64:ff9b::{:x}:{:x}]", bits >> 16, bits & 0xffff),
        format!("[::ffff:0:{:x}:{:x}]", bits >> 16, bits & 0xffff),
    ]
}

fn forbidden_v4() -> impl Strategy<Value = Ipv4Addr> {
    let net = |a: u8, b: u8, c: u8, d: u8, bits: u32| {
        let base = Ipv4Addr::new(a, b, c, d).to_bits();
        (0..=(u32::MAX >> bits)).prop_map(move |host| Ipv4Addr::from_bits(base | host))
    };
    prop_oneof![
        net(0, 0, 0, 0, 8),
        net(10, 0, 0, 0, 8),
        net(100, 64, 0, 0, 10),
        net(127, 0, 0, 0, 8),
        net(169, 254, 0, 0, 16),
        net(172, 16, 0, 0, 12),
        net(192, 0, 0, 0, 24),
        net(192, 168, 0, 0, 16),
        net(198, 18, 0, 0, 15),
        net(224, 0, 0, 0, 3),
        Just(Ipv4Addr::new(168, 63, 129, 16)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_forbidden_ipv4_address_passes_in_any_spelling(ip in forbidden_v4()) {
        let guard = guard(&[]);
        for host in spellings_v4(ip) {
            for scheme in ["https", "http"] {
                if let Ok(target) = Target::base_url(&format!("{scheme}://{host}/")) {
                    prop_assert!(resolve::check_without_lookup(&guard, &[], &target).is_err(), "{}", host);
                }
            }
        }
        // And as a DNS answer.
        let bits = ip.to_bits();
        for answer in [
            IpAddr::V4(ip),
            IpAddr::V6(ip.to_ipv6_mapped()),
            IpAddr::V6(Ipv6Addr::from_bits(u128::from(bits))),
            IpAddr::V6(Ipv6Addr::from_bits(0x64_ff9b << 96 | u128::from(bits))),
            IpAddr::V6(Ipv6Addr::from_bits(0x2002 << 112 | u128::from(bits) << 80 | 1)),
        ] {
            prop_assert!(guard.check(SocketAddr::new(answer, 443)).is_err(), "{}", answer);
        }
    }

    #[test]
    fn nothing_outside_global_unicast_passes(bits: u128) {
        let ip = Ipv6Addr::from_bits(bits);
        let global = bits >> 125 == 1;
        let translated = bits >> 32 == 0x64_ff9b << 64;
        let mapped = ip.to_ipv4_mapped().is_some();
        if !(global || translated || mapped) {
            prop_assert!(guard(&[]).check(SocketAddr::new(IpAddr::V6(ip), 443)).is_err(), "{}", ip);
        }
    }

    #[test]
    fn a_taken_url_is_read_the_same_by_everyone(text in "https?://[a-z0-9.@:\\[\\]%#?/\\\\_-]{0,30}") {
        if let Ok(target) = Target::full_url(&text) {
            let url = url::Url::parse(&text).unwrap();
            let host = url.host_str().unwrap().trim_end_matches('.').to_owned();
            prop_assert_eq!(host, target.host().to_string());
            prop_assert_eq!(url.port_or_known_default(), Some(target.port()));
            prop_assert!(url.username().is_empty() && url.password().is_none());
            // Canonical means: parsing it again changes nothing.
            let again = format!("{}{}", target.origin(), target.path_and_query());
            prop_assert_eq!(Target::full_url(&again).unwrap(), target);
        }
    }

    #[test]
    fn a_taken_path_is_canonical_and_sends_what_it_says(path in "/[a-zA-Z0-9./%;:@~+-]{0,24}") {
        if let Ok(canonical) = path::canonical(&path) {
            prop_assert_eq!(path::canonical(&canonical).unwrap(), canonical.clone());
            prop_assert!(!canonical.contains("//") && !canonical.split('/').any(|s| s == "." || s == ".."));
        }
    }
}
