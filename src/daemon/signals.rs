//! Signals: SIGTERM and SIGINT end the mount properly, SIGHUP has the audit file opened anew (a mount in the
//! background has no terminal to lose).
//!
//! SIGPIPE is ignored from the start by Rust's runtime: a write to a closed pipe is an error value.

use std::io;
use std::thread::JoinHandle;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals, SignalsInfo};

/// Somebody wants the mount to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Termination {
    /// SIGTERM or SIGINT.
    pub signal: i32,
    /// 1 for the first such signal, then counting: who asks again wants it done at any cost.
    pub times: u32,
}

/// Watches for signals until it is dropped.
#[derive(Debug)]
pub struct SignalWatch {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

/// Calls `terminate` at each SIGTERM or SIGINT and `hang_up` at each SIGHUP, on a thread of its own.
///
/// # Errors
/// The handlers cannot be installed, or no thread can be started.
pub fn on_termination(
    mut terminate: impl FnMut(Termination) + Send + 'static,
    mut hang_up: impl FnMut() + Send + 'static,
) -> io::Result<SignalWatch> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let handle = signals.handle();
    let thread = std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || watch(&mut signals, &mut terminate, &mut hang_up))?;
    Ok(SignalWatch {
        handle,
        thread: Some(thread),
    })
}

fn watch(
    signals: &mut SignalsInfo,
    terminate: &mut dyn FnMut(Termination),
    hang_up: &mut dyn FnMut(),
) {
    let mut times = 0;
    for signal in signals.forever() {
        if signal == SIGHUP {
            tracing::debug!("SIGHUP");
            hang_up();
            continue;
        }
        times += 1;
        tracing::info!(signal, times, "asked to end");
        terminate(Termination { signal, times });
    }
}

impl Drop for SignalWatch {
    fn drop(&mut self) {
        self.handle.close();
        // The callback itself may end the mount and thereby drop the watch on its own thread.
        let own = |thread: &JoinHandle<()>| thread.thread().id() == std::thread::current().id();
        if let Some(thread) = self.thread.take().filter(|thread| !own(thread)) {
            // A callback that panicked has been reported by the panic hook.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// One test for all: signals concern the whole process.
    #[test]
    fn termination_is_counted_and_hangup_is_not() {
        let (sender, receiver) = mpsc::channel();
        let (hung_up, hang_ups) = mpsc::channel();
        let watch = on_termination(
            move |termination| sender.send(termination).unwrap(),
            move || hung_up.send(()).unwrap(),
        );
        let watch = watch.unwrap();
        for (signal, expected) in [(SIGHUP, None), (SIGTERM, Some(1)), (SIGINT, Some(2))] {
            signal_hook::low_level::raise(signal).unwrap();
            let received = receiver.recv_timeout(Duration::from_millis(300)).ok();
            let termination = expected.map(|times| Termination { signal, times });
            assert_eq!(received, termination);
        }
        assert_eq!(hang_ups.try_iter().count(), 1);
        drop(watch);
        assert!(receiver.recv_timeout(Duration::from_millis(10)).is_err());
    }
}
