//! The file that lines are appended to.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use rustix::fs::FlockOperation;
use sha2::{Digest as _, Sha256};

use super::chain::{Head, Line};
use super::event::{Event, Field};

/// What is read of a file's end to find its last whole line. A crash leaves less than this of lines that are none.
const TAIL: u64 = 1 << 20;

/// What a crash left behind the last whole line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Torn {
    bytes: usize,
    sha256: String,
}

impl Torn {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.len(),
            sha256: HEXLOWER.encode(&Sha256::digest(bytes)),
        }
    }

    /// Tells of it in a session's first line.
    pub(super) fn told_by(&self, event: Event) -> Event {
        event
            .with(Field::TornBytes, self.bytes)
            .with(Field::TornSha256, self.sha256.clone())
    }

    /// Whether a session's first line tells of just this.
    pub(super) fn is_told_by(&self, line: &Line) -> bool {
        line.number(Field::TornBytes) == u64::try_from(self.bytes).ok()
            && line.text(Field::TornSha256) == Some(&self.sha256)
    }
}

/// An audit file, held against a second writer.
#[derive(Debug)]
pub(super) struct AuditFile {
    file: File,
    path: PathBuf,
}

/// What the file held already.
#[derive(Debug)]
pub(super) struct Earlier {
    /// The last whole line; the default where there is none.
    pub(super) head: Head,
    /// What stands behind it.
    pub(super) torn: Option<Torn>,
}

impl AuditFile {
    /// Opens the file to go on from its last line; makes it, with mode 0600, where it is missing.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Earlier)> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)?;
        check(&file)?;
        let earlier = earlier(&mut file)?;
        // What is torn must not become the beginning of the next line.
        if earlier.torn.is_some() {
            file.write_all(b"\n")?;
        }
        let path = path.to_owned();
        Ok((Self { file, path }, earlier))
    }

    /// Opens the file of the same name, if that is another one by now. It must be empty.
    pub(super) fn reopened(&self) -> io::Result<Option<Self>> {
        let is_same = || {
            let (own, there) = (
                self.file.metadata()?,
                std::fs::symlink_metadata(&self.path)?,
            );
            io::Result::Ok((own.dev(), own.ino()) == (there.dev(), there.ino()))
        };
        if is_same().unwrap_or(false) {
            return Ok(None);
        }
        let (file, earlier) = Self::open(&self.path)?;
        if earlier.head != Head::default() || earlier.torn.is_some() {
            return Err(io::Error::other("the new file is not empty"));
        }
        Ok(Some(file))
    }

    /// Writes a part of `bytes`; says how many.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Others must not be able to write to it, nor a second mount at the same time.
fn check(file: &File) -> io::Result<()> {
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(io::Error::other(
            "its group or everybody may write to it (chmod go-w)",
        ));
    }
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("it belongs to another user"));
    }
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => Err(io::Error::other("another process writes to it")),
        locked => Ok(locked?),
    }
}

fn earlier(file: &mut File) -> io::Result<Earlier> {
    let len = file.seek(SeekFrom::End(0))?;
    let start = len.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail)?;
    // A line that begins before what was read is not whole here.
    let skipped = match (start, tail.iter().position(|byte| *byte == b'\n')) {
        (0, _) => 0,
        (_, Some(end)) => end + 1,
        (_, None) => tail.len(),
    };
    let tail = tail.get(skipped..).unwrap_or_default();
    match last_line(tail) {
        Some((head, [])) => Ok(Earlier { head, torn: None }),
        Some((head, torn)) => Ok(Earlier {
            head,
            torn: Some(Torn::of(torn)),
        }),
        None if len == 0 => Ok(Earlier {
            head: Head::default(),
            torn: None,
        }),
        // Its first line was torn; a file with more in it is somebody's who did not mean this one.
        None if start == 0 && len <= super::chain::MAX_LINE as u64 && looks_torn(tail) => {
            Ok(Earlier {
                head: Head::default(),
                torn: Some(Torn::of(tail)),
            })
        }
        None => Err(io::Error::other("it holds something else than audit lines")),
    }
}

fn looks_torn(bytes: &[u8]) -> bool {
    bytes.starts_with(br#"{"seq":1,"#) || bytes.iter().all(|byte| *byte == 0)
}

/// The last whole line and what stands behind it.
fn last_line(bytes: &[u8]) -> Option<(Head, &[u8])> {
    let mut end = bytes.len();
    while let Some(newline) = bytes.get(..end)?.iter().rposition(|byte| *byte == b'\n') {
        let before = bytes.get(..newline)?;
        let start = before
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        if let Ok(line) = Line::parse(before.get(start..)?)
            && line.hash_matches
        {
            return Some((line.head(), bytes.get(newline + 1..)?));
        }
        end = newline;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::SystemTime;

    use super::super::chain::tests::{chain, root};
    use super::super::event::Kind;
    use super::*;

    fn two_lines() -> String {
        let mut chain = chain(Head::default(), &root(1));
        let mut line = || {
            let event = Event::new(Kind::SessionEnd);
            chain.one_line(SystemTime::UNIX_EPOCH, &event).unwrap()
        };
        line() + &line()
    }

    fn opened(content: &[u8]) -> (io::Result<(AuditFile, Earlier)>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        (AuditFile::open(&path), folder)
    }

    #[test]
    fn it_goes_on_from_the_last_whole_line() {
        let two = two_lines();
        let (file, _folder) = opened(two.as_bytes());
        let earlier = file.unwrap().1;
        assert_eq!((earlier.head.seq, earlier.torn), (2, None));
    }

    #[test]
    fn what_a_power_cut_left_is_set_aside() {
        let two = two_lines();
        let zeros = "\0".repeat(5000);
        for torn in [&two[..40], "\0", &zeros, "{\"seq\":3,\n{\"se", "x\n"] {
            let (file, folder) = opened(format!("{two}{torn}").as_bytes());
            let earlier = file.unwrap().1;
            assert_eq!(earlier.head.seq, 2);
            assert_eq!(earlier.torn, Some(Torn::of(torn.as_bytes())));
            let after = std::fs::read(folder.path().join("audit")).unwrap();
            assert_eq!(after, format!("{two}{torn}\n").as_bytes());
        }
        let (file, _folder) = opened(&two.as_bytes()[..60]);
        assert_eq!(file.unwrap().1.head, Head::default());
    }

    #[test]
    fn a_new_file_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        let (_file, earlier) = AuditFile::open(&path).unwrap();
        assert_eq!(earlier.head, Head::default());
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_is_no_audit_file_is_left_alone() {
        for content in ["root:x:0:0::/root:/bin/sh\n", "{}\n", "x"] {
            let (file, folder) = opened(content.as_bytes());
            assert!(file.is_err(), "{content}");
            assert_eq!(
                std::fs::read(folder.path().join("audit")).unwrap(),
                content.as_bytes()
            );
        }
        let long = "x".repeat(2 << 20);
        assert!(opened(long.as_bytes()).0.is_err());
        assert!(AuditFile::open(Path::new("/dev/null")).is_err());
    }

    #[test]
    fn others_may_not_write_to_it_and_symlinks_are_not_followed() {
        let (_file, folder) = opened(b"");
        let path = folder.path().join("audit");
        drop(_file);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o620)).unwrap();
        assert!(AuditFile::open(&path).is_err());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        drop(AuditFile::open(&path).unwrap());
        std::os::unix::fs::symlink(&path, folder.path().join("link")).unwrap();
        assert!(AuditFile::open(&folder.path().join("link")).is_err());
    }

    #[test]
    fn a_second_writer_is_kept_out() {
        let (file, folder) = opened(b"");
        let error = AuditFile::open(&folder.path().join("audit")).unwrap_err();
        assert!(error.to_string().contains("another process"), "{error}");
        drop(file);
        assert!(AuditFile::open(&folder.path().join("audit")).is_ok());
    }

    #[test]
    fn a_file_that_was_moved_away_is_opened_anew() {
        let (file, folder) = opened(two_lines().as_bytes());
        let file = file.unwrap().0;
        assert!(file.reopened().unwrap().is_none(), "the same one");
        let path = folder.path().join("audit");
        std::fs::rename(&path, folder.path().join("audit.1")).unwrap();
        assert!(file.reopened().unwrap().is_some());
        std::fs::write(&path, two_lines()).unwrap();
        assert!(file.reopened().is_err(), "not empty");
    }
}
