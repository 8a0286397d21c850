//! Landlock for every thread that a process has: the kernel restricts the thread that asks, and those that it will
//! start (landlock(7)). Each of the others is asked by a signal to do it itself, one after the other, as the C library
//! does it for `setuid`.

#![expect(
    unsafe_code,
    reason = "a signal's handler, a signal to one thread and landlock_restrict_self have no safe form"
)]

use std::collections::BTreeSet;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// One process is restricted at a time.
static TURN: Mutex<()> = Mutex::new(());
/// The rules, for whoever handles the signal.
static RULES: AtomicI32 = AtomicI32::new(-1);
/// What came of the last signal: an errno, or 0.
static ANSWER: AtomicI32 = AtomicI32::new(WAITING);
const WAITING: i32 = -1;

/// How long a thread may take. Only one that blocks the signal takes more than an instant.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOKS_EVERY: Duration = Duration::from_micros(100);

/// Which version of Landlock the kernel offers; 0 where it has none.
pub(in crate::daemon) fn landlock_version() -> i32 {
    // SAFETY: with this flag the call takes no attributes, and touches no memory of this process.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            ptr::null::<libc::c_void>(),
            0_usize,
            CREATE_RULESET_VERSION,
        )
    };
    i32::try_from(version).map_or(0, |version| version.max(0))
}

/// `LANDLOCK_CREATE_RULESET_VERSION` (linux/landlock.h).
const CREATE_RULESET_VERSION: u32 = 1;

/// Restricts every thread of this process, for good, to what `rules`, a Landlock ruleset, allow; and has none of them
/// gain rights by running a program (`PR_SET_NO_NEW_PRIVS`). Returns how many they are.
///
/// # Errors
/// A thread refuses, or does not answer within ten seconds. Some are restricted then, and others are not.
pub(in crate::daemon) fn restrict_all(rules: &OwnedFd) -> io::Result<usize> {
    let _turn = TURN.lock();
    RULES.store(rules.as_raw_fd(), Ordering::SeqCst);
    answered(restrict())?;
    let _handler = Handler::install()?;
    let own = rustix::thread::gettid().as_raw_nonzero().get();
    let mut done = BTreeSet::from([own]);
    // A thread that starts meanwhile may have been started by one that was not restricted yet. Once a whole round
    // finds nobody new there is no such starter any more.
    loop {
        let new: Vec<i32> = threads()?.filter(|thread| !done.contains(thread)).collect();
        if new.is_empty() {
            return Ok(done.len());
        }
        for thread in new {
            restrict_thread(thread)?;
            done.insert(thread);
        }
    }
}

fn threads() -> io::Result<impl Iterator<Item = i32>> {
    let tasks = std::fs::read_dir("/proc/self/task")?;
    Ok(tasks
        .flatten()
        .filter_map(|task| task.file_name().to_str()?.parse().ok()))
}

/// Returns when the thread has restricted itself, or is gone.
fn restrict_thread(thread: i32) -> io::Result<()> {
    ANSWER.store(WAITING, Ordering::SeqCst);
    if !signal(thread, signal_number())? {
        return Ok(());
    }
    let begun = Instant::now();
    loop {
        match ANSWER.load(Ordering::SeqCst) {
            WAITING if !signal(thread, 0)? => return Ok(()),
            WAITING if begun.elapsed() > PATIENCE => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "a thread does not take signals",
                ));
            }
            WAITING => std::thread::sleep(LOOKS_EVERY),
            errno => return answered(errno),
        }
    }
}

fn answered(errno: i32) -> io::Result<()> {
    match errno {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// One that nobody else uses: neither the C library, which has the first two, nor Rust's runtime or signal-hook.
fn signal_number() -> i32 {
    libc::SIGRTMIN() + 5
}

/// Whether there was such a thread. The signal 0 only asks for that.
fn signal(thread: i32, signal: i32) -> io::Result<bool> {
    let process = rustix::process::getpid().as_raw_nonzero().get();
    // SAFETY: tgkill takes three numbers and touches no memory of this process.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal) };
    if sent == 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ESRCH) => Ok(false),
        error => Err(error),
    }
}

/// Restricts this thread; an errno, or 0. It is called where a signal interrupted something: it makes system calls and
/// nothing else.
fn restrict() -> i32 {
    if let Err(errno) = rustix::thread::set_no_new_privs(true) {
        return errno.raw_os_error();
    }
    let rules = RULES.load(Ordering::SeqCst);
    // SAFETY: landlock_restrict_self takes two numbers and touches no memory of this process.
    let restricted = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules, 0) };
    if restricted == 0 {
        return 0;
    }
    io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EIO)
}

extern "C" fn on_signal(_signal: libc::c_int) {
    // SAFETY: it gives the place of this thread's errno, which is there for as long as the thread.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: as above; nobody else reads or writes it.
    let errno = unsafe { place.read() };
    ANSWER.store(restrict(), Ordering::SeqCst);
    // SAFETY: as above. What the signal interrupted finds its errno as it was.
    unsafe { place.write(errno) };
}

/// The handler is there; dropped, what was there before is again.
struct Handler(libc::sigaction);

impl Handler {
    fn install() -> io::Result<Self> {
        // SAFETY: all zeros are a valid sigaction: no handler, an empty mask, no flags.
        let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
        let handler: extern "C" fn(libc::c_int) = on_signal;
        action.sa_sigaction = handler as libc::sighandler_t;
        // Calls that the signal interrupts go on.
        action.sa_flags = libc::SA_RESTART;
        set(&action).map(Self)
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        // It was there before, so it can be set.
        drop(set(&self.0));
    }
}

/// Gives what was there before.
fn set(action: &libc::sigaction) -> io::Result<libc::sigaction> {
    let mut before = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: both are places of the right type that live until the call returns; the handler, where one is set, makes
    // system calls alone, which may be made wherever a signal interrupts.
    let failed =
        unsafe { libc::sigaction(signal_number(), ptr::from_ref(action), before.as_mut_ptr()) };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it began as zeros, which are valid, and the call has filled it in.
    Ok(unsafe { before.assume_init() })
}
