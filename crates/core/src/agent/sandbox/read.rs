//! Reads `sandbox:` of `AGENT.md`.

use super::{ALLOW_MAX, CPU_RANGE, Cpu, DISK_MB_RANGE, MEMORY_MB_RANGE, Network, SandboxSpec, Tier, UnknownTier};
use crate::agent::ImageRef;
use crate::agent::fields::{Cx, Fields, did_you_mean};
use crate::finding::quote;
use crate::yaml::{Data, Node};

/// Reads `sandbox:`.
pub(in crate::agent) fn read(node: &Node, cx: &mut Cx<'_>) -> SandboxSpec {
    let mut spec = SandboxSpec::default();
    let Some(entries) = cx.map("`sandbox`", node) else { return spec };
    let mut fields = Fields::new(entries);
    if let Some(tier) = fields.take("tier").and_then(|node| read_tier(node, cx)) {
        spec.tier = tier;
    }
    if let Some(value) = fields.take("or_stronger").and_then(|node| cx.boolean("`or_stronger`", node)) {
        spec.or_stronger = value;
    }
    if let Some(image) = fields.take("image").and_then(|node| read_image(node, cx)) {
        spec.image = image;
    }
    if let Some(cpu) = fields.take("cpu").and_then(|node| read_cpu(node, cx)) {
        spec.cpu = cpu;
    }
    let mut megabytes = |key: &'static str, (min, max): (u32, u32), slot: &mut u32, cx: &mut Cx<'_>| {
        let read = fields.take(key).and_then(|node| cx.whole(&format!("`{key}`"), node, min.into(), max.into()));
        if let Some(value) = read.and_then(|value| u32::try_from(value).ok()) {
            *slot = value;
        }
    };
    megabytes("memory_mb", MEMORY_MB_RANGE, &mut spec.memory_mb, cx);
    megabytes("disk_mb", DISK_MB_RANGE, &mut spec.disk_mb, cx);
    if let Some(network) = fields.take("network").and_then(|node| read_network(node, cx)) {
        spec.network = network;
    }
    fields.finish("`sandbox`", cx);
    spec
}

fn read_tier(node: &Node, cx: &mut Cx<'_>) -> Option<Tier> {
    let text = cx.text("`tier`", node)?;
    match text.parse() {
        Ok(tier) => Some(tier),
        Err(UnknownTier) => {
            let names = Tier::ALL.iter().map(|tier| tier.as_str());
            let hint = did_you_mean(&text, names).unwrap_or_else(|| "container, gvisor, microvm or isolate".into());
            cx.error(node.mark, format!("no tier is called {}", quote(&text)), hint);
            None
        }
    }
}

fn read_image(node: &Node, cx: &mut Cx<'_>) -> Option<String> {
    let text = cx.text("`image`", node)?;
    let image = text.parse::<ImageRef>();
    if image.is_err() {
        cx.error(node.mark, format!("{} is no name of an image", quote(&text)), "`host`, or an image you imported");
    }
    image.ok().map(|image| image.to_string())
}

fn read_cpu(node: &Node, cx: &mut Cx<'_>) -> Option<Cpu> {
    let Data::Number(number) = &node.data else {
        cx.wrong_type("`cpu`", "a number", node);
        return None;
    };
    let cpu = number.as_f64().and_then(Cpu::from_count);
    if cpu.is_none() {
        cx.error(
            node.mark,
            format!("`cpu` must be a number from {} to {}, not {number}", CPU_RANGE.0, CPU_RANGE.1),
            "",
        );
    }
    cpu
}

fn read_network(node: &Node, cx: &mut Cx<'_>) -> Option<Network> {
    const HINT: &str = "none, broker or {allow: [host, …]}";
    match &node.data {
        Data::Text(text) => match text.as_str() {
            "none" => Some(Network::None),
            "broker" => Some(Network::Broker),
            _ => {
                cx.error(node.mark, format!("no network is called {}", quote(text)), HINT);
                None
            }
        },
        Data::Map(entries) => {
            let mut fields = Fields::new(entries);
            let hosts = fields.take("allow").map(|node| read_hosts(node, cx));
            fields.finish("`network`", cx);
            match hosts {
                Some(hosts) => hosts.map(Network::Allow),
                None => {
                    cx.error(node.mark, "`network` says nothing", HINT);
                    None
                }
            }
        }
        _ => {
            cx.error(node.mark, format!("`network` cannot be {}", node.kind()), HINT);
            None
        }
    }
}

fn read_hosts(node: &Node, cx: &mut Cx<'_>) -> Option<Vec<String>> {
    let items = cx.list("`allow`", node)?;
    if items.len() > ALLOW_MAX {
        cx.error(node.mark, format!("`allow` has {} hosts, at most {ALLOW_MAX} fit", items.len()), "");
        return None;
    }
    let mut hosts = Vec::new();
    for item in items {
        let Some(host) = cx.text("a host", item) else { continue };
        if is_host(&host) {
            hosts.push(host);
        } else {
            cx.error(
                item.mark,
                format!("{} is no name of a host", quote(&host)),
                "a plain name like api.example.com or api.example.com:8443, in lower case",
            );
        }
    }
    Some(hosts)
}

/// A DNS name in lower case (RFC 1123), at least two labels, no wildcard, no address; with a port or without.
fn is_host(text: &str) -> bool {
    let (text, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
    let is_port = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit())
            && !port.starts_with('0')
            && port.parse::<u16>().is_ok_and(|port| port != 0)
    };
    if !port.is_none_or(is_port) {
        return false;
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253
        && text.contains('.')
        && text.split('.').all(label)
        && text.rsplit('.').next().is_some_and(|last| last.bytes().any(|byte| byte.is_ascii_alphabetic()))
}
