//! Whether the service can do its work.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::kms::engine::Engine;

/// For how long an answer holds: everybody may ask, and the store is not to be asked each time.
const HOLDS: Duration = Duration::from_secs(1);

/// The last answer, and when it was given.
#[derive(Debug, Default)]
pub(super) struct Readiness(Mutex<Option<(Instant, bool)>>);

impl Readiness {
    pub(super) async fn is_ready(&self, engine: &Engine) -> bool {
        let mut last = self.0.lock().await;
        if let Some((at, ready)) = *last
            && at.elapsed() < HOLDS
        {
            return ready;
        }
        let ready = engine.ready().await.is_ok();
        *last = Some((Instant::now(), ready));
        ready
    }
}
