//! After a mount that ended without an unmount: the length of every file that it may have changed is
//! set right before anybody asks for it. `stat` reads lengths without a key, so it could not.

use crate::storage::{Access, CName, FileKind, Node, Stat, Timestamp};
use crate::volume::Volume;

use super::error::MaintError;
use super::open::{Opened, open};
use super::walk::{join, walk};

/// File times are taken from a clock that may lag behind by a tick, and by more over a network.
const CLOCK_SLACK_SECS: i64 = 2;

/// What a recovery found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Files looked at: changed since the mount began that did not end well.
    pub examined: u64,
    /// Files whose length or commit was set right.
    pub mended: u64,
    /// Files that a crash left without a header.
    pub empty: u64,
    /// Files that could not be mended: they are left as they are, and logged.
    pub failed: u64,
    /// Those of them that another time may be: their keys were not to be had, or the disk failed.
    pub postponed: u64,
}

/// Looks over every file that changed since `since`. A file that fails does not stop the rest. Other mounts may be at
/// work in a shared volume: what they remove meanwhile needs no look.
///
/// # Errors
/// Where the ciphertext folder cannot be read.
pub fn recover(volume: &Volume, since: Timestamp) -> Result<Recovery, MaintError> {
    let mut recovery = Recovery::default();
    walk(volume.root(), |folder| {
        let folder = match folder.map_err(|unread| unread.error) {
            Err(error) if is_gone(&error) => return Ok(()),
            folder => folder?,
        };
        let files = folder
            .entries
            .iter()
            .filter(|entry| entry.kind == FileKind::Regular);
        for entry in files {
            let stat = match folder.node.stat_child(&entry.name) {
                Err(error) if is_gone(&error) => continue,
                stat => stat?,
            };
            if is_suspect(&stat, since) {
                let mended = mend(volume, &folder.node, &entry.name);
                recovery.count(&join(&folder.path, &entry.name), mended);
            }
        }
        Ok::<_, std::io::Error>(())
    })
    .map_err(|source| MaintError::Io {
        path: ".".into(),
        source,
    })?;
    Ok(recovery)
}

fn is_suspect(stat: &Stat, since: Timestamp) -> bool {
    stat.ctime.secs >= since.secs - CLOCK_SLACK_SECS
}

fn is_gone(error: &std::io::Error) -> bool {
    [Some(libc::ENOENT), Some(libc::ESTALE)].contains(&error.raw_os_error())
}

/// What became of one file.
enum Mended {
    Nothing,
    Lengths,
    Empty,
}

fn mend(volume: &Volume, folder: &Node, name: &CName) -> Result<Mended, MaintError> {
    let opened = match open(volume, folder, name, Access::ReadWrite) {
        Err(MaintError::Io { source, .. }) if is_gone(&source) => return Ok(Mended::Nothing),
        opened => opened?,
    };
    let open = match opened {
        Opened::Empty(_) => return Ok(Mended::Empty),
        Opened::Foreign => return Ok(Mended::Nothing),
        Opened::Sealed(open) => open,
    };
    if !open.needs_commit() && !open.is_untidy() {
        return Ok(Mended::Nothing);
    }
    open.mend().map_err(|source| MaintError::Content {
        path: name.to_string_lossy().into(),
        source,
    })?;
    Ok(Mended::Lengths)
}

impl Recovery {
    fn count(&mut self, path: &str, mended: Result<Mended, MaintError>) {
        self.examined += 1;
        match mended {
            Ok(Mended::Nothing) => {}
            Ok(Mended::Lengths) => self.mended += 1,
            Ok(Mended::Empty) => self.empty += 1,
            Err(error) => {
                self.failed += 1;
                self.postponed += u64::from(error.may_pass());
                tracing::error!(ciphertext = path, %error, "could not be mended after the crash");
            }
        }
    }
}
