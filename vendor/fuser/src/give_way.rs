//! Who was answered goes on where it asked.
//!
//! The scheduler puts whom it wakes on a processor that is idle, if there is one. For a program that asks for one thing after
//! the other, each answer so wakes another processor, and its next request comes from there and finds another thread asleep:
//! that costs more than all else of a small request. But whom a thread of SCHED_IDLE wakes takes that thread's processor at
//! once (sched(7); `select_idle_sibling` in the kernel's kernel/sched/fair.c), and the thread goes on when the other one waits
//! for its next answer.
//!
//! Where others want its processor, a thread of SCHED_IDLE waits for milliseconds, and then nobody would be put on an
//! idle processor anyway. So a thread is one only while short requests follow each other quickly and some processor is idle.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use log::debug;
use log::warn;

/// Who asks again within this time does little between two requests: a small part of it is what a wake-up costs.
const QUICK: Duration = Duration::from_micros(200);
/// No request for so long, or none answered: a pause, or somebody else has the processor.
const LATE: Duration = Duration::from_millis(1);
/// After so many quick requests in a row it is looked whether a processor is idle. A look takes some microseconds, as a
/// request does, so it does not show among so many.
const LOOKS_EVERY: u32 = 64;

/// Those that the threads run on.
#[derive(Clone, Debug)]
pub(crate) struct Processors {
    count: usize,
    /// /proc/loadavg, opened while all of /proc can still be.
    load: Arc<File>,
}

impl Processors {
    /// `None` where there is one alone, or this process may not go back from SCHED_IDLE: that takes RLIMIT_NICE or
    /// CAP_SYS_NICE.
    pub(crate) fn new(count: usize) -> Option<Self> {
        if count < 2 || !may_go_back() {
            return None;
        }
        let load = File::open("/proc/loadavg").inspect_err(|error| debug!("/proc/loadavg: {error}"));
        Some(Self {
            count,
            load: Arc::new(load.ok()?),
        })
    }

    /// Whether fewer threads want a processor than there are, all threads of the system together.
    fn is_one_idle(&self) -> bool {
        let mut text = [0; 64];
        let len = self.load.read_at(&mut text, 0).unwrap_or(0);
        running(&text[..len]).is_some_and(|running| running < self.count)
    }
}

/// The threads that run or want to: of "0.20 0.18 0.12 1/80 11206" the 1 (proc(5)).
fn running(loadavg: &[u8]) -> Option<usize> {
    let field = std::str::from_utf8(loadavg).ok()?.split(' ').nth(3)?;
    field.split_once('/')?.0.parse().ok()
}

/// On a thread of its own, which is lost where it may not.
fn may_go_back() -> bool {
    let tried = std::thread::spawn(|| {
        // SAFETY: only returns a number.
        let is_usual = unsafe { libc::sched_getscheduler(0) } == libc::SCHED_OTHER;
        is_usual && set_policy(libc::SCHED_IDLE).is_ok() && set_policy(libc::SCHED_OTHER).is_ok()
    });
    tried.join().unwrap_or(false)
}

/// Of the calling thread.
fn set_policy(policy: libc::c_int) -> io::Result<()> {
    let none = libc::sched_param { sched_priority: 0 };
    // SAFETY: the kernel only reads the structure.
    match unsafe { libc::sched_setscheduler(0, policy, &none) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What to do after a wait.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Stay,
    Look,
    Stop,
}

/// How requests follow each other.
#[derive(Debug, Default)]
struct Pace {
    /// How many came quickly, one after the other.
    quick: u32,
}

impl Pace {
    fn waited(&mut self, time: Duration) -> Step {
        if time >= LATE {
            self.quick = 0;
            return Step::Stop;
        }
        if time >= QUICK {
            return Step::Stay;
        }
        self.quick = self.quick.wrapping_add(1);
        if self.quick % LOOKS_EVERY == 0 {
            Step::Look
        } else {
            Step::Stay
        }
    }
}

/// Whether the calling thread gives way to whom it answers, and when. For one thread, which alone calls it.
#[derive(Debug)]
pub(crate) struct GiveWay {
    processors: Option<Processors>,
    pace: Pace,
    gives_way: bool,
}

impl GiveWay {
    pub(crate) fn new(processors: Option<Processors>) -> Self {
        Self {
            processors,
            pace: Pace::default(),
            gives_way: false,
        }
    }

    /// So long nothing was to be done.
    pub(crate) fn waited(&mut self, time: Duration) {
        let Some(processors) = &self.processors else {
            return;
        };
        match self.pace.waited(time) {
            Step::Stay => {}
            Step::Look => self.set(processors.is_one_idle()),
            Step::Stop => self.set(false),
        }
    }

    /// So long it took to do what was to be done.
    pub(crate) fn served(&mut self, time: Duration) {
        if time >= LATE {
            self.stop();
        }
    }

    /// What comes is not short.
    pub(crate) fn stop(&mut self) {
        self.pace = Pace::default();
        self.set(false);
    }

    fn set(&mut self, gives_way: bool) {
        if gives_way == self.gives_way {
            return;
        }
        let policy = if gives_way {
            libc::SCHED_IDLE
        } else {
            libc::SCHED_OTHER
        };
        match set_policy(policy) {
            Ok(()) => self.gives_way = gives_way,
            // What may not be undone is not done again.
            Err(error) => {
                warn!("a thread that serves requests keeps its scheduling policy: {error}");
                self.processors = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_micros(20);

    fn steps(pace: &mut Pace, count: u32, time: Duration) -> Vec<Step> {
        (0..count).map(|_nth| pace.waited(time)).collect()
    }

    #[test]
    fn it_looks_after_a_row_of_quick_requests_and_not_before() {
        let mut pace = Pace::default();
        let before = steps(&mut pace, LOOKS_EVERY - 1, SOON);
        assert!(before.iter().all(|step| *step == Step::Stay));
        assert_eq!(pace.waited(SOON), Step::Look);
        let next = steps(&mut pace, LOOKS_EVERY, SOON);
        assert_eq!(next.iter().filter(|step| **step == Step::Look).count(), 1);
    }

    #[test]
    fn requests_that_are_not_quick_bring_it_no_nearer() {
        let mut pace = Pace::default();
        steps(&mut pace, LOOKS_EVERY - 1, SOON);
        let slower = steps(&mut pace, 3 * LOOKS_EVERY, QUICK);
        assert!(slower.iter().all(|step| *step == Step::Stay));
        assert_eq!(pace.waited(SOON), Step::Look);
    }

    #[test]
    fn a_pause_ends_a_row() {
        let mut pace = Pace::default();
        steps(&mut pace, LOOKS_EVERY - 1, SOON);
        assert_eq!(pace.waited(LATE), Step::Stop);
        assert_eq!(pace.waited(SOON), Step::Stay);
    }

    #[test]
    fn running_threads_are_found_in_what_proc_says() {
        assert_eq!(running(b"0.20 0.18 0.12 1/80 11206\n"), Some(1));
        assert_eq!(running(b"12.00 9.50 3.01 117/2048 1\n"), Some(117));
        for odd in [
            &b""[..],
            b"0.20 0.18 0.12",
            b"0.20 0.18 0.12 x/80 1",
            b"0.20 0.18 0.12 80 1",
            b"0.20 0.18 0.12 -1/80 1",
            b"\xff 1 1 1/1",
        ] {
            assert_eq!(running(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn one_processor_is_never_given_way_on() {
        assert!(Processors::new(1).is_none());
    }

    #[test]
    fn a_thread_goes_to_idle_and_comes_back() {
        // SAFETY: only returns a number.
        let policy = || unsafe { libc::sched_getscheduler(0) };
        let Some(processors) = Processors::new(usize::MAX) else {
            // Then it may not: no thread of this process changes.
            assert!(!may_go_back());
            return;
        };
        std::thread::spawn(move || {
            let mut give_way = GiveWay::new(Some(processors));
            for _nth in 0..LOOKS_EVERY {
                assert_eq!(policy(), libc::SCHED_OTHER);
                give_way.waited(SOON);
            }
            assert_eq!(policy(), libc::SCHED_IDLE);
            give_way.waited(LATE);
            assert_eq!(policy(), libc::SCHED_OTHER);
            for end in [GiveWay::stop, |one: &mut GiveWay| one.served(LATE)] {
                for _nth in 0..LOOKS_EVERY {
                    give_way.waited(SOON);
                }
                assert_eq!(policy(), libc::SCHED_IDLE);
                end(&mut give_way);
                assert_eq!(policy(), libc::SCHED_OTHER);
            }
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_thread_stays_as_it_is_where_no_processor_is_idle() {
        let Some(mut processors) = Processors::new(2) else {
            return;
        };
        // As many as never want one.
        processors.count = 0;
        let mut give_way = GiveWay::new(Some(processors));
        for _nth in 0..3 * LOOKS_EVERY {
            give_way.waited(SOON);
        }
        assert!(!give_way.gives_way);
    }
}
