//! Bodies of requests: bounded, one and all together, and wiped once they were read.

use std::net::IpAddr;
use std::ops::Deref;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::limits::{Share, Shares};
use crate::crypto::move_wiped;

/// How many times the bound is read on, and for how long, where a body is too long.
const DRAINED: usize = 8;
const DRAINED_FOR: Duration = Duration::from_secs(2);
/// A body of so many bytes needs no share: the number of connections bounds these.
pub(super) const SHORT: usize = 16 * 1024;

/// Why a body is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyError {
    /// The client stopped sending.
    Broken,
    /// Too much is sent at once, by this source or by all.
    Crowded,
    TooLong,
}

/// A body, as much as came; its memory counts for who sends it until it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    bytes: Zeroizing<Vec<u8>>,
    /// `None` for a short one.
    share: Option<Share>,
}

impl Deref for Held {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The whole body. Memory is taken as bytes come, not as many as the client says there will be.
pub(super) async fn read(
    mut body: Incoming,
    max: usize,
    shares: &Shares,
    address: IpAddr,
) -> Result<Held, BodyError> {
    let said = body.size_hint().exact();
    let said = said.map_or(Ok(max), usize::try_from);
    let said = said.unwrap_or(usize::MAX);
    if said > max {
        if said <= max.saturating_mul(DRAINED) {
            drain(body, said).await;
        }
        return Err(BodyError::TooLong);
    }
    let mut held = Held {
        bytes: Zeroizing::default(),
        share: None,
    };
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_error| BodyError::Broken)?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        if data.len() > max - held.bytes.len() {
            drain(body, max.saturating_mul(DRAINED)).await;
            return Err(BodyError::TooLong);
        }
        if !held.append(data, said, shares, address) {
            drop(held);
            drain(body, said).await;
            return Err(BodyError::Crowded);
        }
    }
    Ok(held)
}

impl Held {
    /// As `extend_from_slice`, but a buffer that has to move is wiped where it was. `false` where there is no more
    /// memory for this source.
    fn append(&mut self, data: &[u8], said: usize, shares: &Shares, address: IpAddr) -> bool {
        let needed = self.bytes.len() + data.len();
        if needed > self.bytes.capacity() {
            let room = needed.saturating_mul(2).clamp(SHORT.min(said), said);
            let room = room.max(needed);
            if !self.holds(room, shares, address) {
                return false;
            }
            move_wiped(&mut self.bytes, room);
        }
        self.bytes.extend_from_slice(data);
        true
    }

    /// Takes a share for so much memory.
    fn holds(&mut self, room: usize, shares: &Shares, address: IpAddr) -> bool {
        if room <= SHORT {
            return true;
        }
        match &mut self.share {
            Some(share) => share.grow_to(room),
            None => {
                self.share = shares.take(address, room);
                self.share.is_some()
            }
        }
    }
}

/// Reads on for a while: a client that is cut off while it sends does not see what it is told.
async fn drain(mut body: Incoming, most: usize) {
    let reading = async {
        let mut left = most;
        while let Some(Ok(frame)) = body.frame().await {
            let len = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(len) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // Whoever is slow is cut off.
    let _in_time = timeout(DRAINED_FOR, reading).await.is_ok();
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn nothing() -> Held {
        Held {
            bytes: Zeroizing::default(),
            share: None,
        }
    }

    #[test]
    fn memory_is_taken_as_bytes_come_and_not_as_they_are_announced() {
        let (shares, said) = (Shares::new(usize::MAX, usize::MAX), 1024 * 1024);
        let mut held = nothing();
        assert!(held.append(b"x", said, &shares, HERE));
        assert!(held.bytes.capacity() <= SHORT, "{}", held.bytes.capacity());
        assert_eq!(shares.taken(), 0, "a short one needs no share");
        let mut came = 1;
        while came < said {
            let more = vec![7; 8192.min(said - came)];
            assert!(held.append(&more, said, &shares, HERE));
            came += more.len();
            assert!(held.bytes.capacity() <= (2 * came).max(SHORT));
            assert!(shares.taken() >= held.bytes.len() || came <= SHORT);
        }
        assert_eq!((held.len(), shares.taken()), (said, said));
        drop(held);
        assert_eq!(shares.taken(), 0, "given back");
    }

    #[test]
    fn a_short_body_is_one_allocation_of_its_length() {
        let shares = Shares::new(0, 0);
        let mut held = nothing();
        assert!(held.append(&[1; 300], 300, &shares, HERE));
        assert_eq!(held.bytes.capacity(), 300);
    }

    #[test]
    fn what_all_send_together_and_what_one_sends_is_bounded() {
        let shares = Shares::new(100_000, 60_000);
        let there = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let send = |address| {
            let mut held = nothing();
            held.append(&[0; 50_000], 50_000, &shares, address)
                .then_some(held)
        };
        let first = send(HERE).unwrap();
        assert!(send(HERE).is_none(), "one source");
        let second = send(there).unwrap();
        let elsewhere = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
        assert!(send(elsewhere).is_none(), "all");
        drop((first, second));
        assert!(send(elsewhere).is_some());
    }
}
