//! The key workers: a queue, and the threads that empty it.

use std::collections::VecDeque;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::DekRequest;

/// Keys whose time is over are looked for at least this far apart.
const SWEEP_LEAST: Duration = Duration::from_millis(100);

/// Whether somebody waits for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    Awaited,
    /// Nobody waits yet: it comes after all that is awaited.
    Refresh,
}

/// What a worker does next.
pub(super) enum Job {
    Fly(DekRequest),
    Sweep,
    Stop,
}

/// Requests in the order of their coming. Not bounded here: each is a file being opened, and the
/// kernel bounds those.
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    sweep_every: Duration,
}

struct State {
    awaited: VecDeque<DekRequest>,
    refresh: VecDeque<DekRequest>,
    /// `None`: never (keys are kept for ever).
    sweep_at: Option<Instant>,
    closed: bool,
}

impl Queue {
    pub(super) fn new(ttl: Duration) -> Self {
        let sweep_every = (ttl / 2).max(SWEEP_LEAST);
        let state = State {
            awaited: VecDeque::new(),
            refresh: VecDeque::new(),
            sweep_at: Instant::now().checked_add(sweep_every),
            closed: false,
        };
        Self {
            state: Mutex::new(state),
            wake: Condvar::new(),
            sweep_every,
        }
    }

    /// Gives the request back where the queue is closed.
    pub(super) fn push(&self, request: DekRequest, urgency: Urgency) -> Option<DekRequest> {
        let mut state = self.state.lock();
        if state.closed {
            return Some(request);
        }
        match urgency {
            Urgency::Awaited => state.awaited.push_back(request),
            Urgency::Refresh => state.refresh.push_back(request),
        }
        drop(state);
        self.wake.notify_one();
        None
    }

    /// Waits for something to do.
    pub(super) fn next_job(&self) -> Job {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.take_job(self.sweep_every) {
                return job;
            }
            match state.sweep_at {
                Some(at) => drop(self.wake.wait_until(&mut state, at)),
                None => self.wake.wait(&mut state),
            }
        }
    }

    /// Stops all workers after what they do now; gives back what nobody will do.
    pub(super) fn close(&self) -> Vec<DekRequest> {
        let mut state = self.state.lock();
        state.closed = true;
        let mut left: Vec<_> = state.awaited.drain(..).collect();
        left.extend(state.refresh.drain(..));
        drop(state);
        self.wake.notify_all();
        left
    }
}

impl State {
    fn take_job(&mut self, sweep_every: Duration) -> Option<Job> {
        if self.closed {
            return Some(Job::Stop);
        }
        let now = Instant::now();
        if self.sweep_at.is_some_and(|at| at <= now) {
            self.sweep_at = now.checked_add(sweep_every);
            return Some(Job::Sweep);
        }
        let request = self
            .awaited
            .pop_front()
            .or_else(|| self.refresh.pop_front());
        request.map(Job::Fly)
    }
}

/// The threads.
pub(super) struct Workers(Vec<JoinHandle<()>>);

impl Workers {
    /// Starts `count` threads, or as many as the system gives.
    pub(super) fn spawn<F: FnOnce() + Send + 'static>(count: usize, work: impl Fn() -> F) -> Self {
        let spawn = |n| {
            thread::Builder::new()
                .name(format!("key-worker-{n}"))
                .spawn(work())
        };
        let spawned = (0..count).map_while(|n| {
            let failed = |error| tracing::warn!(%error, "fewer key workers than asked for");
            spawn(n).map_err(failed).ok()
        });
        Self(spawned.collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits for the threads to end; not for the calling one, should it be a worker that held
    /// the last reference to the keyring.
    pub(super) fn join(&mut self) {
        for worker in self.0.drain(..) {
            if worker.thread().id() != thread::current().id() && worker.join().is_err() {
                tracing::error!("a key worker panicked");
            }
        }
    }
}
