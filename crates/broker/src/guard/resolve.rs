//! Looking a name up, once, with a stub resolver of our own: no `/etc/hosts`, no search domains. Every answer is judged and
//! one bad answer condemns the name; what comes back are socket addresses that may be dialled as they are.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use super::dns::Dns;
use super::ranges::{Accepted, AddressGuard, unmap};
use super::target::{Host, Scheme, Target};
use crate::error::{DenyReason, Phase};
use crate::{Error, Result};

/// Most addresses a name may have, A and AAAA together.
const ANSWERS_MAX: usize = 64;
/// Most aliases on the way to an address.
const ALIASES_MAX: usize = 8;
pub(crate) struct Resolver {
    dns: Dns,
    own_names: Vec<String>,
}

impl Resolver {
    /// Asks `server` alone, or the host's own servers.
    pub(crate) fn new(server: Option<SocketAddr>, own_names: Vec<String>) -> Self {
        Self { dns: Dns::new(server), own_names }
    }

    /// The addresses of a target that may be dialled, all of them checked.
    pub(crate) async fn addresses(
        &self,
        guard: &AddressGuard,
        target: &Target,
        timeout: Duration,
    ) -> Result<Vec<SocketAddr>> {
        check_without_lookup(guard, &self.own_names, target)?;
        let ips = match target.host() {
            Host::Ip(ip) => vec![*ip],
            Host::Name(name) if is_localhost(name) => guard.allowed_loopback().into_iter().collect(),
            Host::Name(name) => tokio::time::timeout(timeout, self.lookup(name))
                .await
                .map_err(|_| Error::Timeout { phase: Phase::Resolve })??,
        };
        judge_all(guard, target, &ips)
    }

    async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>> {
        let mut name = Name::from_ascii(name).map_err(|_| Error::Unresolvable)?;
        name.set_fqdn(true);
        let dns = self.dns.resolver().ok_or(Error::ResolverFailed)?;
        let (v4, v6) = tokio::join!(dns.lookup(name.clone(), RecordType::A), dns.lookup(name, RecordType::AAAA));
        let mut ips = Vec::new();
        let mut failed = false;
        for answer in [v4, v6] {
            match answer {
                Ok(lookup) => ips.extend(addresses_of(&lookup)?),
                Err(error) => failed |= !says_nothing_there(&error),
            }
        }
        if ips.len() > ANSWERS_MAX {
            return Err(Error::Denied { reason: DenyReason::TooManyAnswers });
        }
        match (ips.is_empty(), failed) {
            (false, _) => Ok(ips),
            (true, true) => Err(Error::ResolverFailed),
            (true, false) => Err(Error::Unresolvable),
        }
    }
}

/// What can be said without asking anyone: literals, `localhost`, our own names.
pub(crate) fn check_without_lookup(guard: &AddressGuard, own_names: &[String], target: &Target) -> Result<()> {
    match target.host() {
        Host::Ip(ip) => judge_all(guard, target, &[*ip]).map(|_| ()),
        Host::Name(name) if is_localhost(name) => {
            let ip = guard.allowed_loopback().ok_or(Error::Denied { reason: DenyReason::PrivateAddress })?;
            judge_all(guard, target, &[ip]).map(|_| ())
        }
        Host::Name(name) if own_names.iter().any(|own| own == name) => {
            Err(Error::Denied { reason: DenyReason::OwnAddress })
        }
        Host::Name(_) => Ok(()),
    }
}

/// `localhost` never goes to a DNS server (RFC 6761): it is loopback, and loopback must be allowed.
fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

fn judge_all(guard: &AddressGuard, target: &Target, ips: &[IpAddr]) -> Result<Vec<SocketAddr>> {
    let denied = |reason| Error::Denied { reason };
    let mut out = Vec::with_capacity(ips.len());
    for ip in ips {
        let address = SocketAddr::new(unmap(*ip), target.port());
        let accepted = guard.judge(address).map_err(denied)?;
        if target.scheme() == Scheme::Http && accepted != Accepted::Private {
            return Err(denied(DenyReason::PlaintextUpstream));
        }
        out.push(address);
    }
    Ok(out)
}

fn addresses_of(lookup: &Lookup) -> Result<Vec<IpAddr>> {
    let mut aliases = 0;
    let mut ips = Vec::new();
    for record in lookup.answers() {
        match &record.data {
            RData::A(a) => ips.push(IpAddr::V4(a.0)),
            RData::AAAA(aaaa) => ips.push(IpAddr::V6(aaaa.0)),
            RData::CNAME(_) => aliases += 1,
            _ => {}
        }
    }
    if aliases > ALIASES_MAX {
        return Err(Error::Denied { reason: DenyReason::TooManyAnswers });
    }
    Ok(ips)
}

fn says_nothing_there(error: &NetError) -> bool {
    use hickory_resolver::net::DnsError;
    use hickory_resolver::proto::op::ResponseCode;
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            matches!(none.response_code, ResponseCode::NXDomain | ResponseCode::NoError)
        }
        _ => false,
    }
}
