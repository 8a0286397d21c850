//! A thread that does something again and again, by settings that may change meanwhile.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Works until it is dropped.
#[derive(Debug)]
pub(super) struct Periodic<S> {
    shared: Arc<Shared<S>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared<S> {
    state: Mutex<State<S>>,
    wake: Condvar,
}

#[derive(Debug)]
struct State<S> {
    settings: S,
    /// Since the work was last begun.
    changed: bool,
    stop: bool,
}

impl<S: Clone + Send + 'static> Periodic<S> {
    /// Calls `work` on a thread of its own, at once and then each time when the pause is over that it asked for, or where
    /// the settings have changed; None: when they do. It is dropped with the thread.
    ///
    /// # Errors
    /// There is no thread.
    pub(super) fn start(
        name: &str,
        settings: S,
        mut work: impl FnMut(&S) -> Option<Duration> + Send + 'static,
    ) -> io::Result<Self> {
        let state = State {
            settings,
            changed: false,
            stop: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            wake: Condvar::new(),
        });
        let working = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                while let Some(settings) = working.begin() {
                    let pause = work(&settings);
                    working.wait(pause);
                }
            })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Other settings from now on.
    pub(super) fn set(&self, settings: S) {
        let mut state = self.shared.state.lock();
        state.settings = settings;
        state.changed = true;
        drop(state);
        self.shared.wake.notify_all();
    }
}

impl<S: Clone> Shared<S> {
    fn begin(&self) -> Option<S> {
        let mut state = self.state.lock();
        state.changed = false;
        (!state.stop).then(|| state.settings.clone())
    }

    fn wait(&self, pause: Option<Duration>) {
        let mut state = self.state.lock();
        let nothing_new = |state: &mut State<S>| !state.stop && !state.changed;
        match pause {
            Some(pause) => drop(self.wake.wait_while_for(&mut state, nothing_new, pause)),
            None => self.wake.wait_while(&mut state, nothing_new),
        }
    }
}

impl<S> Drop for Periodic<S> {
    fn drop(&mut self) {
        self.shared.state.lock().stop = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the panic hook.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn work_is_done_at_once_again_and_by_what_was_set_last() {
        let (sender, done) = mpsc::channel();
        let periodic = Periodic::start("test", 1, move |number| {
            sender.send(*number).unwrap();
            (*number == 1).then_some(Duration::from_millis(1))
        });
        let periodic = periodic.unwrap();
        assert_eq!(
            (done.recv_timeout(PATIENCE), done.recv_timeout(PATIENCE)),
            (Ok(1), Ok(1))
        );
        periodic.set(2);
        while done.recv_timeout(PATIENCE).unwrap() == 1 {}
        assert!(
            done.recv_timeout(Duration::from_millis(50)).is_err(),
            "nobody asked for more"
        );
        drop(periodic);
        assert_eq!(
            done.recv_timeout(PATIENCE),
            Err(mpsc::RecvTimeoutError::Disconnected)
        );
    }
}
