//! A question that may never be answered.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// What `work` comes to, on a thread of its own; None where it takes longer than `limit`. The thread is left to itself
/// then: a call into a dead mount or a vendor's module cannot be taken back.
pub(super) fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = mpsc::channel();
    let spawned = thread::Builder::new()
        .name("doctor".to_owned())
        .spawn(move || drop(sender.send(work())));
    spawned.ok()?;
    receiver.recv_timeout(limit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_and_silence_ends() {
        assert_eq!(within(Duration::from_secs(30), || 7), Some(7));
        let (held, hold) = mpsc::channel::<()>();
        let never = move || hold.recv().is_ok();
        assert_eq!(within(Duration::from_millis(20), never), None);
        drop(held);
    }

    #[test]
    fn who_panics_has_not_answered() {
        let panics = || -> u8 { panic!("as a test") };
        assert_eq!(within(Duration::from_secs(30), panics), None);
    }
}
