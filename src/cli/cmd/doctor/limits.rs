//! What this process may do: lock memory, open files, keep others from its memory.

use std::path::Path;

use rustix::process::{Resource, Rlimit};
use rustix::thread::CapabilitySet;

use super::{Area, Check, Finding};
use crate::cli::exit::Exit;
use crate::cli::failure::chain;
use crate::crypto::{MemoryKind, MemoryPolicy, configure_locked_memory, locked_memory_report};
use crate::daemon::harden::{self, WholeMemory};

const LIMITS: Area = Area("limits");
const MEMORY_LIMIT: Check = LIMITS.check("memory-limit", Exit::MemoryNotLocked);
const KEY_MEMORY: Check = LIMITS.check("key-memory", Exit::MemoryNotLocked);
const SWAP: Check = LIMITS.check("swap", Exit::MemoryNotLocked);
const OPEN_FILES: Check = LIMITS.check("open-files", Exit::Failure);
const DUMPS: Check = LIMITS.check("dumps", Exit::Failure);
const PTRACE: Check = LIMITS.check("ptrace", Exit::Failure);

/// `keys`: how many the keyring is to hold.
pub(super) fn look(keys: u64) -> Vec<Finding> {
    let unbound = rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    let root = rustix::process::geteuid().is_root();
    let memory = rustix::process::getrlimit(Resource::Memlock);
    let files = rustix::process::getrlimit(Resource::Nofile);
    // The process makes itself what a mount makes itself, so that what it finds is true of a mount.
    let hardened = harden::harden();
    let whole = hardened.as_ref().map(|report| report.memory.clone()).ok();
    vec![
        memory_limit(&memory, unbound, keys),
        key_memory(),
        swap(Path::new("/proc/swaps"), whole.as_ref()),
        open_files(&files, root),
        match hardened {
            Ok(_) => DUMPS.ok("a mount's memory reaches no core file and no debugger of the same user"),
            Err(error) => DUMPS.fail(
                chain(&error),
                "let the process set PR_SET_DUMPABLE and RLIMIT_CORE (a seccomp filter of the service or the container?)",
            ),
        },
        ptrace(Path::new("/proc/sys/kernel/yama/ptrace_scope")),
    ]
}

/// Of one key, and of what surrounds all of them: guard pages, the volume key, keys made ahead.
const KEY_LEN: u64 = 32;
const BESIDE: u64 = 1 << 20;

fn memory_limit(limit: &Rlimit, unbound: bool, keys: u64) -> Finding {
    let needed = keys.saturating_mul(KEY_LEN).saturating_add(BESIDE);
    match limit.current {
        _ if unbound => MEMORY_LIMIT.ok("any memory may be locked (CAP_IPC_LOCK)"),
        None => MEMORY_LIMIT.ok("any memory may be locked (ulimit -l: unlimited)"),
        Some(bytes) if bytes >= needed => {
            MEMORY_LIMIT.ok(format!("{} KiB of memory may be locked", bytes >> 10))
        }
        Some(bytes) => MEMORY_LIMIT.warn(
            format!(
                "{} KiB of memory may be locked: too little for {keys} keys (--key-cache-entries)",
                bytes >> 10
            ),
            format!(
                "raise the limit to {} KiB or more: LimitMEMLOCK=, /etc/security/limits.conf; or have fewer keys",
                needed.div_ceil(1024)
            ),
        ),
    }
}

fn key_memory() -> Finding {
    let mend = "raise the limit (ulimit -l, LimitMEMLOCK=), or accept that keys may reach swap: mount --allow-unlocked-memory";
    let kind = configure_locked_memory(MemoryPolicy::Required)
        .map(|report| report.kind)
        .map_err(|error| error.to_string());
    let kind = match (kind, locked_memory_report()) {
        (Err(why), _) => return KEY_MEMORY.fail(why, mend),
        (Ok(kind), None) => kind,
        (Ok(_), Some(report)) => report.kind,
    };
    let said = format!("keys are in {kind}");
    match kind {
        MemoryKind::Unlocked => KEY_MEMORY.fail(said, mend),
        MemoryKind::Locked => KEY_MEMORY.ok(format!("{said}; root can read it")),
        MemoryKind::Secret => KEY_MEMORY.ok(said),
    }
}

/// Keys never reach swap; plaintext in buffers may, unless all memory is locked.
fn swap(swaps: &Path, whole: Option<&WholeMemory>) -> Finding {
    let text = std::fs::read_to_string(swaps).unwrap_or_default();
    // The first line names the columns.
    let used = text.lines().skip(1).any(|line| !line.trim().is_empty());
    match (used, whole) {
        (false, _) => SWAP.ok("there is no swap"),
        (true, Some(WholeMemory::Locked)) => SWAP.ok("there is swap, and all memory of a mount is locked"),
        (true, _) => SWAP.warn(
            "there is swap: plaintext in a mount's buffers may reach it (keys do not)",
            "encrypt the swap, or let a mount lock all its memory: LimitMEMLOCK=infinity, CAP_IPC_LOCK",
        ),
    }
}

/// An O_PATH handle for each cached inode: with fewer, folders are opened again and again.
const FILES_WANTED: u64 = 65_536;

fn open_files(limit: &Rlimit, root: bool) -> Finding {
    match limit.maximum {
        _ if root => OPEN_FILES.ok("root raises the number of open files by itself"),
        None => OPEN_FILES.ok("any number of files may be open"),
        Some(count) if count >= FILES_WANTED => OPEN_FILES.ok(format!("{count} files may be open")),
        Some(count) => OPEN_FILES.warn(
            format!("{count} files may be open: large folders are slower"),
            format!("raise the hard limit to {FILES_WANTED} or more: LimitNOFILE=, /etc/security/limits.conf"),
        ),
    }
}

fn ptrace(scope: &Path) -> Finding {
    match std::fs::read_to_string(scope).as_deref().map(str::trim) {
        Ok("0") => PTRACE.warn(
            "programs of one user may read each other's memory, those that have files of a mount open too (a mount itself cannot be read)",
            "sysctl kernel.yama.ptrace_scope=1",
        ),
        Ok(_) => PTRACE.ok("programs may not read each other's memory"),
        Err(_) => PTRACE.ok("this kernel does not restrict debuggers (no Yama); a mount itself cannot be read"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::cmd::doctor::Level;

    fn limit(count: Option<u64>) -> Rlimit {
        Rlimit {
            current: count,
            maximum: count,
        }
    }

    #[test]
    fn too_little_lockable_memory_is_told_with_the_figure_that_is_enough() {
        let small = memory_limit(&limit(Some(64 << 10)), false, 65_536);
        assert!(
            small.level == Level::Warn && small.mend.contains("3072 KiB"),
            "{small:?}"
        );
        for (bound, unbound) in [
            (Some(64 << 10), true),
            (None, false),
            (Some(8 << 20), false),
        ] {
            assert_eq!(
                memory_limit(&limit(bound), unbound, 65_536).level,
                Level::Ok
            );
        }
    }

    #[test]
    fn few_open_files_are_told_to_those_who_cannot_raise_them() {
        assert_eq!(open_files(&limit(Some(1024)), false).level, Level::Warn);
        assert_eq!(open_files(&limit(Some(1024)), true).level, Level::Ok);
        assert_eq!(open_files(&limit(None), false).level, Level::Ok);
    }

    #[test]
    fn swap_matters_where_not_all_memory_is_locked() {
        let folder = tempfile::tempdir().unwrap();
        let swaps = folder.path().join("swaps");
        assert_eq!(swap(&swaps, None).level, Level::Ok);
        std::fs::write(&swaps, "Filename Type\n").unwrap();
        assert_eq!(swap(&swaps, None).level, Level::Ok);
        std::fs::write(&swaps, "Filename Type\n/dev/sda2 partition\n").unwrap();
        assert_eq!(swap(&swaps, None).level, Level::Warn);
        assert_eq!(
            swap(&swaps, Some(&WholeMemory::NotAllowed)).level,
            Level::Warn
        );
        assert_eq!(swap(&swaps, Some(&WholeMemory::Locked)).level, Level::Ok);
    }

    #[test]
    fn debuggers_that_may_do_anything_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let scope = folder.path().join("scope");
        assert_eq!(ptrace(&scope).level, Level::Ok);
        for (text, level) in [("0\n", Level::Warn), ("1\n", Level::Ok), ("3\n", Level::Ok)] {
            std::fs::write(&scope, text).unwrap();
            assert_eq!(ptrace(&scope).level, level);
        }
    }
}
