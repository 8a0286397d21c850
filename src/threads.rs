//! Threads beside those that serve requests.
//!
//! A thread inherits from the one that starts it, and requests over io_uring are served by threads that are each bound to
//! a processor and, for as long as short requests follow each other, of the policy SCHED_IDLE
//! (`docs/adr/0030-who-is-answered-keeps-the-processor.md`). What is started while such a thread serves a request has work of
//! its own, which is to get all processors and a share of them.

#![expect(
    unsafe_code,
    reason = "the scheduling policy of a thread has no safe form"
)]

use std::io;
use std::thread::{Builder, JoinHandle};

use rustix::process::Pid;

/// Starts a thread with the processors and the policy that the process began with.
///
/// # Errors
/// `EAGAIN`: the system has no more threads for this process.
pub fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).spawn(move || {
        be_as_the_first();
        work()
    })
}

/// The first thread of the process serves no requests. Where the kernel refuses, the thread works all the same.
fn be_as_the_first() {
    let first = rustix::process::getpid();
    if let Ok(processors) = rustix::thread::sched_getaffinity(Some(first)) {
        let _ = rustix::thread::sched_setaffinity(None, &processors);
    }
    if policy_of(None) == libc::SCHED_IDLE && policy_of(Some(first)) == libc::SCHED_OTHER {
        set_policy(libc::SCHED_OTHER);
    }
}

/// Of the calling thread; says whether the kernel did it.
fn set_policy(policy: libc::c_int) -> bool {
    let none = libc::sched_param { sched_priority: 0 };
    // SAFETY: the kernel only reads the structure.
    unsafe { libc::sched_setscheduler(0, policy, &none) == 0 }
}

/// The policy of a thread; of the calling one with `None`.
fn policy_of(thread: Option<Pid>) -> libc::c_int {
    let thread = thread.map_or(0, |thread| thread.as_raw_nonzero().get());
    // SAFETY: only returns a number.
    unsafe { libc::sched_getscheduler(thread) }
}

#[cfg(test)]
mod tests {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    use super::*;

    fn may_go_back_from_idle() -> bool {
        let own = rustix::thread::capabilities(None).unwrap();
        own.effective
            .contains(rustix::thread::CapabilitySet::SYS_NICE)
    }

    #[test]
    fn what_a_bound_idle_thread_starts_is_neither() {
        let of_process = sched_getaffinity(Some(rustix::process::getpid())).unwrap();
        let (processors, policy) = std::thread::spawn(|| {
            let mut one = CpuSet::new();
            let own = sched_getaffinity(None).unwrap();
            one.set((0..CpuSet::MAX_CPU).find(|nth| own.is_set(*nth)).unwrap());
            sched_setaffinity(None, &one).unwrap();
            if may_go_back_from_idle() {
                assert!(set_policy(libc::SCHED_IDLE));
            }
            let started = spawn("started", || {
                (sched_getaffinity(None).unwrap(), policy_of(None))
            });
            started.unwrap().join().unwrap()
        })
        .join()
        .unwrap();
        assert_eq!(processors, of_process);
        assert_eq!(policy, policy_of(Some(rustix::process::getpid())));
    }

    #[test]
    fn a_thread_has_its_name_and_gives_its_result() {
        let named = spawn("of-this-name", || {
            std::thread::current().name().map(str::to_owned)
        });
        assert_eq!(
            named.unwrap().join().unwrap().as_deref(),
            Some("of-this-name")
        );
    }
}
