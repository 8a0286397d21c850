//! Renewing the token of an idle mount: a token that nobody uses would end, and one that was given
//! by hand cannot be got again.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use crate::keys::service::Tokens;
use crate::keys::service::renewed::Source;
use crate::threads;

/// How often a token is looked after, at the least and at the most.
const EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));

/// A thread that renews tokens in time. It ends soon after this is dropped, and is not waited for.
#[derive(Debug, Default)]
pub(super) struct Renewal(OnceLock<Option<Sender<()>>>);

impl Renewal {
    /// Starts the thread with the first token that has an end.
    pub(super) fn begin<S: Source + 'static>(&self, tokens: &Arc<Tokens<S>>) {
        if self.0.get().is_some() || tokens.due_in().is_none() {
            return;
        }
        self.0.get_or_init(|| {
            let (stop, stopped) = mpsc::channel();
            let tokens = Arc::downgrade(tokens);
            match threads::spawn("vault-token", move || renew(&tokens, &stopped)) {
                Ok(_runs_alone) => Some(stop),
                Err(error) => {
                    tracing::warn!(%error, "no thread to renew an unused token: it will end");
                    None
                }
            }
        });
    }
}

fn renew<S: Source>(tokens: &Weak<Tokens<S>>, stopped: &Receiver<()>) {
    while let Some(tokens_now) = tokens.upgrade() {
        tokens_now.renew_if_due();
        let (least, most) = EVERY;
        let wait = tokens_now.due_in().unwrap_or(most).clamp(least, most);
        drop(tokens_now);
        if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}
