//! The key workers: a queue, and the threads that empty it.

use std::collections::VecDeque;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::threads;

use super::DekRequest;

/// Keys whose time is over are looked for at least this far apart.
const SWEEP_LEAST: Duration = Duration::from_millis(100);
/// A worker with nothing to do ends after this time, unless it is the last: its stack is locked memory, too.
const LINGER: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 60 });

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
    workers_max: usize,
}

struct State {
    awaited: VecDeque<DekRequest>,
    refresh: VecDeque<DekRequest>,
    /// `None`: never (keys are kept for ever).
    sweep_at: Option<Instant>,
    /// Workers that there are, those that are just beginning among them, and those of them with nothing to do.
    workers: usize,
    idle: usize,
    closed: bool,
}

impl Queue {
    /// A queue without workers.
    pub(super) fn new(ttl: Duration, workers_max: usize) -> Self {
        let sweep_every = (ttl / 2).max(SWEEP_LEAST);
        let state = State {
            awaited: VecDeque::new(),
            refresh: VecDeque::new(),
            sweep_at: Instant::now().checked_add(sweep_every),
            workers: 0,
            idle: 0,
            closed: false,
        };
        Self {
            state: Mutex::new(state),
            wake: Condvar::new(),
            sweep_every,
            workers_max,
        }
    }

    /// Says whether one more worker is due, which then counts as one; gives the request back where the queue is closed.
    pub(super) fn push(&self, request: DekRequest, urgency: Urgency) -> Result<bool, DekRequest> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(request);
        }
        match urgency {
            Urgency::Awaited => state.awaited.push_back(request),
            Urgency::Refresh => state.refresh.push_back(request),
        }
        let waiting = state.awaited.len().saturating_add(state.refresh.len());
        let is_short = waiting > state.idle && state.workers < self.workers_max;
        state.workers = state.workers.saturating_add(usize::from(is_short));
        drop(state);
        self.wake.notify_one();
        Ok(is_short)
    }

    /// One more worker.
    pub(super) fn add_worker(&self) {
        let mut state = self.state.lock();
        state.workers = state.workers.saturating_add(1);
    }

    /// A worker that was counted is not there.
    pub(super) fn lose_worker(&self) {
        let mut state = self.state.lock();
        state.workers = state.workers.saturating_sub(1);
    }

    #[cfg(test)]
    pub(super) fn workers(&self) -> usize {
        self.state.lock().workers
    }

    /// Waits for something to do.
    pub(super) fn next_job(&self) -> Job {
        let mut state = self.state.lock();
        let rests_until = Instant::now().checked_add(LINGER);
        loop {
            if let Some(job) = state.take_job(self.sweep_every) {
                return job;
            }
            let rests_until = rests_until.filter(|_| state.workers > 1);
            if rests_until.is_some_and(|until| until <= Instant::now()) {
                state.workers = state.workers.saturating_sub(1);
                return Job::Stop;
            }
            state.idle = state.idle.saturating_add(1);
            match state.sweep_at.into_iter().chain(rests_until).min() {
                Some(at) => drop(self.wake.wait_until(&mut state, at)),
                None => self.wake.wait(&mut state),
            }
            state.idle = state.idle.saturating_sub(1);
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
#[derive(Default)]
pub(super) struct Workers(Mutex<Vec<JoinHandle<()>>>);

impl Workers {
    /// Starts one more; says whether the system gave it.
    pub(super) fn start(&self, work: impl FnOnce() + Send + 'static) -> bool {
        let mut threads = self.0.lock();
        threads.retain(|thread| !thread.is_finished());
        match threads::spawn("key-worker", work) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                tracing::warn!(%error, "fewer key workers than asked for");
                return false;
            }
        }
        true
    }

    /// Waits for the threads to end; not for the calling one, should it be a worker that held
    /// the last reference to the keyring.
    pub(super) fn join(&self) {
        let threads = std::mem::take(&mut *self.0.lock());
        for worker in threads {
            if worker.thread().id() != thread::current().id() && worker.join().is_err() {
                tracing::error!("a key worker panicked");
            }
        }
    }
}
