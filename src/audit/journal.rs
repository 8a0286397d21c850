//! journald, by its own protocol: a datagram of fields (systemd's "Native Journal Protocol").

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// Where journald listens.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

/// A connection to journald. A datagram that finds its buffer full is an error, and no wait.
#[derive(Debug)]
pub(super) struct Journal(UnixDatagram);

impl Journal {
    pub(super) fn connect(socket: &Path) -> io::Result<Self> {
        let datagrams = UnixDatagram::unbound()?;
        datagrams.connect(socket)?;
        datagrams.set_nonblocking(true)?;
        Ok(Self(datagrams))
    }

    /// Sends one line. The message is the line itself, so that `journalctl --output cat` gives what can be verified.
    pub(super) fn send(&self, line: &str, event: &str) -> io::Result<()> {
        let line = line.trim_end();
        let entry = format!(
            "MESSAGE={line}\nPRIORITY=5\nSYSLOG_IDENTIFIER=envelopefs-audit\nENVELOPEFS_EVENT={event}\n"
        );
        self.0.send(entry.as_bytes()).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_the_line_and_what_to_look_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let journald = UnixDatagram::bind(&path).unwrap();
        Journal::connect(&path)
            .unwrap()
            .send("{\"seq\":1}\n", "unwrap")
            .unwrap();
        let mut entry = [0; 200];
        let len = journald.recv(&mut entry).unwrap();
        let expected = "MESSAGE={\"seq\":1}\nPRIORITY=5\nSYSLOG_IDENTIFIER=envelopefs-audit\nENVELOPEFS_EVENT=unwrap\n";
        assert_eq!(&entry[..len], expected.as_bytes());
    }

    #[test]
    fn where_nobody_listens_there_is_no_connection() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Journal::connect(&folder.path().join("socket")).is_err());
    }
}
