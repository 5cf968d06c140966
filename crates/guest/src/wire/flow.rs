//! Flows: connections that programs in the sandbox made to the guest's listener, carried to the host over the one channel.
//!
//! The guest says [`FlowOpened`](Kind::FlowOpened); then bytes go both ways, each within a window the reader grants. The host
//! has the last word: only after its [`FlowWriteEnd`](Kind::FlowWriteEnd) or [`FlowCut`](Kind::FlowCut) may the guest say
//! [`FlowClosed`](Kind::FlowClosed), which frees the flow's place.
//!
//! Owns: the two payloads, the limits, and the [`Ledger`] by which a host holds a guest to them. It refuses, as a broken
//! protocol, every byte beyond a window, a flow too many, and a number used twice.

use std::collections::HashMap;

use super::{Error, Kind, Reader, Writer};

/// Connections a guest carries at once; further ones wait in the kernel's queue.
pub const FLOWS_MAX: usize = 32;
/// Bytes either side may have sent on one flow that the other has not consumed.
pub const FLOW_WINDOW_BYTES: u32 = 64 * 1024;
/// Bytes of one frame of a flow: small, so that flows share the channel with commands fairly.
pub const FLOW_FRAME_BYTES: usize = 16 * 1024;

/// Asks the guest to accept connections on `127.0.0.1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The port, not 0.
    pub port: u16,
}

impl Listen {
    /// As a payload.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u32(self.port.into());
        w.into_bytes()
    }

    /// From a payload.
    ///
    /// # Errors
    /// Not this shape.
    pub fn decode(payload: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(payload);
        let port = u16::try_from(r.u32()?).ok().filter(|port| *port != 0).ok_or(Error::Malformed)?;
        r.finish()?;
        Ok(Self { port })
    }
}

/// So many bytes were consumed, and may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// From 1 to [`FLOW_WINDOW_BYTES`].
    pub bytes: u32,
}

impl Grant {
    /// As a payload.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u32(self.bytes);
        w.into_bytes()
    }

    /// From a payload.
    ///
    /// # Errors
    /// Not this shape, nothing, or more than a whole window.
    pub fn decode(payload: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(payload);
        let bytes = r.u32()?;
        r.finish()?;
        if bytes == 0 || bytes > FLOW_WINDOW_BYTES {
            return Err(Error::Malformed);
        }
        Ok(Self { bytes })
    }
}

/// What a frame of the guest's means to the host, once the [`Ledger`] has let it pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A new flow.
    Opened,
    /// Bytes of a flow.
    Read(&'a [u8]),
    /// Its bytes end here.
    ReadEnd,
    /// So many more bytes may be sent on it.
    Granted(u32),
    /// It is over.
    Closed,
}

/// One flow in the host's books.
#[derive(Debug)]
struct Account {
    /// Bytes the guest may still send.
    guest_may_send: u32,
    /// Bytes the host has sent that the guest has not granted back.
    host_owes: u32,
    read_ended: bool,
    /// Whether the host has said its last word.
    host_done: bool,
}

/// The host's books of all flows of one guest. Pure: it says what is allowed and holds no byte of them.
#[derive(Debug, Default)]
pub struct Ledger {
    accounts: HashMap<u32, Account>,
    last: u32,
}

impl Ledger {
    /// Books a frame from the guest.
    ///
    /// # Errors
    /// The guest may not send this now; the channel is beyond repair.
    pub fn receive<'a>(&mut self, kind: Kind, flow: u32, payload: &'a [u8]) -> Result<Step<'a>, Error> {
        if kind == Kind::FlowOpened {
            return self.open(flow, payload);
        }
        let account = self.accounts.get_mut(&flow).ok_or(Error::Malformed)?;
        match kind {
            Kind::FlowRead => {
                let count = u32::try_from(payload.len()).map_err(|_| Error::TooLong)?;
                if count == 0 || account.read_ended {
                    return Err(Error::Malformed);
                }
                account.guest_may_send = account.guest_may_send.checked_sub(count).ok_or(Error::TooLong)?;
                Ok(Step::Read(payload))
            }
            Kind::FlowReadEnd if payload.is_empty() && !account.read_ended => {
                account.read_ended = true;
                Ok(Step::ReadEnd)
            }
            Kind::FlowGranted => {
                let Grant { bytes } = Grant::decode(payload)?;
                account.host_owes = account.host_owes.checked_sub(bytes).ok_or(Error::Malformed)?;
                Ok(Step::Granted(bytes))
            }
            Kind::FlowClosed if payload.is_empty() && account.host_done => {
                self.accounts.remove(&flow);
                Ok(Step::Closed)
            }
            _ => Err(Error::Malformed),
        }
    }

    fn open(&mut self, flow: u32, payload: &[u8]) -> Result<Step<'static>, Error> {
        if flow <= self.last || !payload.is_empty() {
            return Err(Error::Malformed);
        }
        if self.accounts.len() >= FLOWS_MAX {
            return Err(Error::TooLong);
        }
        self.last = flow;
        let account = Account { guest_may_send: FLOW_WINDOW_BYTES, host_owes: 0, read_ended: false, host_done: false };
        self.accounts.insert(flow, account);
        Ok(Step::Opened)
    }

    /// Books bytes the host consumed and is about to grant again. `false`: the flow is over.
    pub fn consumed(&mut self, flow: u32, bytes: u32) -> bool {
        let account = self.accounts.get_mut(&flow);
        account.map(|account| account.guest_may_send = account.guest_may_send.saturating_add(bytes)).is_some()
    }

    /// Bytes the host may send on a flow now. `None`: the flow is over.
    #[must_use]
    pub fn room(&self, flow: u32) -> Option<u32> {
        self.accounts.get(&flow).map(|account| FLOW_WINDOW_BYTES - account.host_owes)
    }

    /// Books bytes the host is about to send. `false`: the flow is over, or the window does not hold them.
    pub fn sends(&mut self, flow: u32, bytes: u32) -> bool {
        let Some(account) = self.accounts.get_mut(&flow) else { return false };
        let owed = account.host_owes.saturating_add(bytes);
        let fits = owed <= FLOW_WINDOW_BYTES && !account.host_done;
        if fits {
            account.host_owes = owed;
        }
        fits
    }

    /// Books that the host is about to end or cut the flow. `false`: the flow is over.
    pub fn ends(&mut self, flow: u32) -> bool {
        self.accounts.get_mut(&flow).map(|account| account.host_done = true).is_some()
    }

    /// Flows open now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.accounts.len()
    }

    /// Whether no flow is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }
}

#[cfg(test)]
mod tests;
