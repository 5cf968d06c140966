//! Judging one IP address: public, private (liftable by the operator), or never.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use ipnet::IpNet;

use crate::error::DenyReason;

/// IPv4 space an operator may allow: loopback, private (RFC 1918) and shared (RFC 6598).
const V4_PRIVATE: &[(Ipv4Addr, u8)] = &[
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
];

/// IPv4 space that is never a public service.
const V4_RESERVED: &[(Ipv4Addr, u8)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 52, 193, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 175, 48, 0), 24),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// Metadata services of cloud providers, wherever they lie.
const METADATA: &[IpAddr] = &[
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

const METADATA_NAMES: &[&str] = &[
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "metadata.azure.internal",
    "metadata.tencentyun.com",
    "instance-data",
    "instance-data.ec2.internal",
];

/// IPv6 space inside `2000::/3` that is never a public service. Outside `2000::/3` nothing is, but for NAT64.
const V6_RESERVED: &[(Ipv6Addr, u8)] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

const V6_GLOBAL: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
const V6_UNIQUE_LOCAL: (Ipv6Addr, u8) = (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7);
const V6_NAT64: (Ipv6Addr, u8) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);
const V6_SIX_TO_FOUR: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16);

/// What an address is by itself, before the operator's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Public,
    Private,
    Never(DenyReason),
}

/// How an accepted address was accepted; plain `http` needs [`Accepted::Private`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accepted {
    Public,
    Private,
}

/// The operator's list and Livery's own listeners, ready to judge addresses.
#[derive(Debug, Clone, Default)]
pub struct AddressGuard {
    allow: Vec<IpNet>,
    own: Vec<SocketAddr>,
}

impl AddressGuard {
    /// `allow`: networks given with `--allow-upstream`. `own`: every address Livery listens on; an unspecified one
    /// (`0.0.0.0:8080`) stands for all addresses of this host.
    pub fn new(allow: Vec<IpNet>, own: Vec<SocketAddr>) -> Self {
        Self { allow, own }
    }

    /// Whether this socket address may be dialled.
    ///
    /// # Errors
    /// The rule that forbids it.
    pub fn check(&self, address: SocketAddr) -> Result<(), DenyReason> {
        self.judge(address).map(|_| ())
    }

    pub(crate) fn judge(&self, address: SocketAddr) -> Result<Accepted, DenyReason> {
        let ip = unmap(address.ip());
        let accepted = match kind(ip) {
            Kind::Never(reason) => return Err(reason),
            Kind::Public => Accepted::Public,
            Kind::Private if self.allow.iter().any(|net| net.contains(&ip)) => Accepted::Private,
            Kind::Private => return Err(DenyReason::PrivateAddress),
        };
        if self.is_own(ip, address.port()) {
            return Err(DenyReason::OwnAddress);
        }
        Ok(accepted)
    }

    /// Loopback addresses the operator allows, IPv4 first: what the name `localhost` may mean.
    pub(crate) fn allowed_loopback(&self) -> Option<IpAddr> {
        [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
            .into_iter()
            .find(|ip| self.allow.iter().any(|net| net.contains(ip)))
    }

    fn is_own(&self, ip: IpAddr, port: u16) -> bool {
        self.own.iter().filter(|own| own.port() == port).any(|own| {
            let own = unmap(own.ip());
            own == ip || (own.is_unspecified() && is_local(ip)) || (own.is_loopback() && ip.is_loopback())
        })
    }
}

/// Whether this host has the address: only then can a socket be bound to it. A failure to find out counts as yes.
fn is_local(ip: IpAddr) -> bool {
    match UdpSocket::bind(SocketAddr::new(ip, 0)) {
        Ok(_) => true,
        Err(error) => error.kind() != std::io::ErrorKind::AddrNotAvailable,
    }
}

/// An IPv4-mapped address is that IPv4 address.
pub(crate) fn unmap(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

pub(super) fn is_metadata_name(name: &str) -> bool {
    METADATA_NAMES.contains(&name)
}

fn kind(ip: IpAddr) -> Kind {
    if METADATA.contains(&ip) {
        return Kind::Never(DenyReason::Metadata);
    }
    match ip {
        IpAddr::V4(ip) => kind_v4(ip),
        IpAddr::V6(ip) => kind_v6(ip),
    }
}

fn kind_v4(ip: Ipv4Addr) -> Kind {
    if V4_RESERVED.iter().any(|net| v4_in(ip, *net)) {
        Kind::Never(DenyReason::ReservedAddress)
    } else if V4_PRIVATE.iter().any(|net| v4_in(ip, *net)) {
        Kind::Private
    } else {
        Kind::Public
    }
}

fn kind_v6(ip: Ipv6Addr) -> Kind {
    if ip == Ipv6Addr::LOCALHOST || v6_in(ip, V6_UNIQUE_LOCAL) {
        return Kind::Private;
    }
    if let Some(inner) = embedded_v4(ip) {
        // A translated address is public only if what it translates to is; the operator's list does not reach through it.
        return match kind(IpAddr::V4(inner)) {
            Kind::Public => Kind::Public,
            Kind::Private => Kind::Never(DenyReason::ReservedAddress),
            never @ Kind::Never(_) => never,
        };
    }
    if !v6_in(ip, V6_GLOBAL) || V6_RESERVED.iter().any(|net| v6_in(ip, *net)) {
        return Kind::Never(DenyReason::ReservedAddress);
    }
    Kind::Public
}

/// The IPv4 address a translating prefix leads to: NAT64 (RFC 6052), 6to4 (RFC 3056), ISATAP (RFC 5214).
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = ip.octets();
    let at = |start: usize| Ipv4Addr::new(octets[start], octets[start + 1], octets[start + 2], octets[start + 3]);
    let segments = ip.segments();
    let isatap = segments[5] == 0x5efe && matches!(segments[4], 0 | 0x0200);
    if v6_in(ip, V6_NAT64) || (isatap && v6_in(ip, V6_GLOBAL)) {
        Some(at(12))
    } else if v6_in(ip, V6_SIX_TO_FOUR) {
        Some(at(2))
    } else {
        None
    }
}

fn v4_in(ip: Ipv4Addr, (net, bits): (Ipv4Addr, u8)) -> bool {
    let shift = 32 - u32::from(bits);
    ip.to_bits() >> shift == net.to_bits() >> shift
}

fn v6_in(ip: Ipv6Addr, (net, bits): (Ipv6Addr, u8)) -> bool {
    let shift = 128 - u32::from(bits);
    ip.to_bits() >> shift == net.to_bits() >> shift
}
