//! Brokers and calls as the tests need them.

use std::time::Duration;

use livery_broker::{Broker, BrokerConfig, Credential, Inbound, Outbound, Result, Secret, Slot, Target, Timeouts};
use livery_core::id::OrgId;

pub(crate) const KEY: &str = "sk-live-4fGh7Kq2Zx9WmB3nVt8RpL6yD1cJ5sA0";
pub(crate) const MARKER: &str = "[REDACTED:prv_1]";

/// A name server nobody is at: a test that needs names brings its own.
pub(crate) const NO_RESOLVER: &str = "127.0.0.1:9";

pub(crate) fn config() -> BrokerConfig {
    BrokerConfig {
        allow_upstream: vec!["127.0.0.1/32".parse().unwrap()],
        resolver: Some(NO_RESOLVER.parse().unwrap()),
        ..BrokerConfig::default()
    }
}

pub(crate) fn broker() -> Broker {
    Broker::new(config()).unwrap()
}

pub(crate) fn tenant(n: u128) -> OrgId {
    OrgId::from_bits(n)
}

pub(crate) fn credential(key: &str) -> Credential {
    Credential {
        slot: Slot::bearer(),
        secret: Secret::from(key.to_owned()),
        owner: "prv_1".to_owned(),
        version: 1,
        at: livery_core::Timestamp::from_micros(1_440_938_160_000_000),
    }
}

/// Waits long enough for a slow machine and short enough for a test that expects one to run out.
pub(crate) fn timeouts() -> Timeouts {
    let second = Duration::from_secs(10);
    Timeouts { resolve: second, connect: second, tls: second, first_byte: second, idle: second, total: second * 3 }
}

/// A `POST` of `{}` with the key.
pub(crate) fn post(url: &str) -> Outbound {
    let mut call = Outbound::post(tenant(1), Target::full_url(url).unwrap(), "{}");
    call.credential = Some(credential(KEY));
    call.timeouts = timeouts();
    call
}

/// The whole body as text.
pub(crate) async fn text(inbound: Inbound) -> Result<String> {
    let body = inbound.collect(1 << 24).await?;
    Ok(String::from_utf8(body.to_vec()).unwrap())
}
