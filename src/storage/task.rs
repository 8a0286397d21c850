//! What `/proc` tells of a thread that waits for an answer.

use rustix::fs::{CWD, Mode, OFlags};

/// Whether a signal waits for the thread `tid` that would end its system call. The thread may itself be unable to
/// act on it, as one is that waits for a FUSE file system's answer. `false` where it cannot be seen.
pub fn is_signalled(tid: u32) -> bool {
    // 0: a thread of a process namespace that is not below this one's.
    tid != 0 && read_status(tid).is_some_and(|status| has_signal(&status))
}

fn read_status(tid: u32) -> Option<String> {
    let path = format!("/proc/{tid}/status");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path.as_str(), flags, Mode::empty()).ok()?;
    let (mut text, mut page) = (Vec::new(), [0; 4096]);
    loop {
        match rustix::io::read(&file, &mut page[..]).ok()? {
            0 => break,
            len => text.extend_from_slice(&page[..len]),
        }
    }
    String::from_utf8(text).ok()
}

fn has_signal(status: &str) -> bool {
    let set = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let hex = line.and_then(|line| line.strip_prefix(':'));
        hex.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
            .unwrap_or(0)
    };
    // Which thread gets a signal that is for the whole process is known only of the first: the kernel prefers it.
    // Another is told when the signal is its own, as a deadly one always is.
    let first = field(status, "Pid") == field(status, "Tgid");
    let pending = set("SigPnd") | if first { set("ShdPnd") } else { 0 };
    pending & !set("SigBlk") & !set("SigIgn") != 0
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = status.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(pid: u32, own: u64, shared: u64, blocked: u64, ignored: u64) -> String {
        format!(
            "Name:\tx\nTgid:\t7\nPid:\t{pid}\nSigQ:\t1/9\nSigPnd:\t{own:016x}\nShdPnd:\t{shared:016x}\n\
             SigBlk:\t{blocked:016x}\nSigIgn:\t{ignored:016x}\nSigCgt:\t0000000000000000\n"
        )
    }

    #[test]
    fn what_is_neither_blocked_nor_ignored_counts() {
        for (text, signalled) in [
            (status(7, 0, 0, 0, 0), false),
            (status(7, 0x100, 0, 0, 0), true),
            (status(7, 0, 0x100, 0, 0), true),
            (status(7, 0x100, 0x2000, 0x2100, 0), false),
            (status(7, 0x100, 0, 0, 0x100), false),
            (status(8, 0, 0x100, 0, 0), false),
            (status(8, 0x100, 0x100, 0, 0), true),
            (String::new(), false),
            ("SigPnd:\tnonsense\n".to_owned(), false),
        ] {
            assert_eq!(has_signal(&text), signalled, "{text}");
        }
    }

    #[test]
    fn this_thread_has_none_and_an_unknown_one_is_not_seen() {
        let tid = u32::try_from(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
        assert!(read_status(tid).is_some());
        assert!(!is_signalled(tid));
        assert!(!is_signalled(0));
        assert!(!is_signalled(u32::MAX));
    }
}
