//! Bodies of requests: bounded, and wiped once they were read.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::timeout;
use zeroize::Zeroizing;

/// How many times the bound is read on, and for how long, where a body is too long.
const DRAINED: usize = 8;
const DRAINED_FOR: Duration = Duration::from_secs(2);

/// Why a body is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyError {
    /// The client stopped sending.
    Broken,
    TooLong,
}

/// The whole body. The buffer is made as long as the client says, so that it does not grow with a
/// secret in it.
pub(super) async fn read(mut body: Incoming, max: usize) -> Result<Zeroizing<Vec<u8>>, BodyError> {
    let said = body.size_hint().exact();
    let said = said.map_or(Ok(4096), usize::try_from);
    let room = said.unwrap_or(usize::MAX);
    if room > max {
        if room <= max.saturating_mul(DRAINED) {
            drain(body, room).await;
        }
        return Err(BodyError::TooLong);
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_error| BodyError::Broken)?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        if data.len() > max - bytes.len() {
            drain(body, max.saturating_mul(DRAINED)).await;
            return Err(BodyError::TooLong);
        }
        append(&mut bytes, data);
    }
    Ok(bytes)
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

/// As `extend_from_slice`, but a buffer that has to move is wiped where it was.
fn append(bytes: &mut Zeroizing<Vec<u8>>, data: &[u8]) {
    if bytes.capacity() - bytes.len() < data.len() {
        let room = (bytes.len() + data.len()).saturating_mul(2);
        let mut larger = Zeroizing::new(Vec::with_capacity(room));
        larger.extend_from_slice(bytes);
        *bytes = larger;
    }
    bytes.extend_from_slice(data);
}
