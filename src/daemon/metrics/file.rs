//! A file of metrics, written anew again and again, as node_exporter's textfile collector reads it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::daemon::periodic::Periodic;

/// How often the file is written.
const INTERVAL: Duration = Duration::from_secs(15);

/// Writes until it is dropped; the file goes with it, so that nobody takes old figures for new ones.
#[derive(Debug)]
pub(in crate::daemon) struct MetricsFile(Periodic<Option<PathBuf>>);

impl MetricsFile {
    /// Has what `render` gives written to `path`, if there is one, at once and then again and again.
    ///
    /// # Errors
    /// There is no thread.
    pub(in crate::daemon) fn start(
        path: Option<PathBuf>,
        render: impl Fn() -> String + Send + 'static,
    ) -> io::Result<Self> {
        let mut writer = Writer::default();
        let write = move |path: &Option<PathBuf>| {
            writer.go_to(path);
            path.as_ref()?;
            writer.write(&render());
            Some(INTERVAL)
        };
        Periodic::start("metrics", path, write).map(Self)
    }

    /// Another file from now on, or none. The old one goes.
    pub(in crate::daemon) fn set(&self, path: Option<PathBuf>) {
        self.0.set(path);
    }
}

/// The file that is being written; removed with this.
#[derive(Default)]
struct Writer {
    path: Option<PathBuf>,
    failing: bool,
}

impl Writer {
    fn go_to(&mut self, path: &Option<PathBuf>) {
        if self.path != *path {
            remove(self.path.as_deref());
            self.path.clone_from(path);
        }
    }

    fn write(&mut self, text: &str) {
        let Some(path) = &self.path else { return };
        let written = replace(path, text);
        if let (Err(error), false) = (&written, self.failing) {
            tracing::warn!(%error, file = %path.display(), "metrics cannot be written; it is tried again");
        }
        self.failing = written.is_err();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        remove(self.path.as_deref());
    }
}

fn remove(path: Option<&Path>) {
    let Some(path) = path else { return };
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, file = %path.display(), "a file of metrics stays, with old figures");
        }
        Ok(()) | Err(_) => {}
    }
}

/// Whoever reads sees the old figures or the new ones, never a part: written beside, then renamed. Readable for all, as its
/// reader is another user.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(name);
    let written = write_new(&beside, text).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        drop(fs::remove_file(&beside));
    }
    written
}

/// Through no link that somebody else has put there.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    drop(fs::remove_file(path));
    let mut file = File::create_new(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o644))?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;
    use std::time::Instant;

    use super::*;

    fn wait_for(what: &str, done: impl Fn() -> bool) {
        let begun = Instant::now();
        while !done() {
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "waited for {what}"
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn the_file_is_whole_readable_for_all_and_goes_in_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.prom");
        let file = MetricsFile::start(Some(path.clone()), || "a 1\n".to_owned()).unwrap();
        wait_for("the file", || path.exists());
        assert_eq!(fs::read_to_string(&path).unwrap(), "a 1\n");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o644
        );
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn another_file_takes_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        let file = MetricsFile::start(None, || "a 1\n".to_owned()).unwrap();
        file.set(Some(one.clone()));
        wait_for("the first", || one.exists());
        file.set(Some(other.clone()));
        wait_for("the second", || other.exists() && !one.exists());
        file.set(None);
        wait_for("its end", || !other.exists());
    }

    #[test]
    fn a_folder_that_is_not_there_is_tried_again_and_does_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let asked = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&asked);
        let file = MetricsFile::start(Some(folder.path().join("none/m.prom")), move || {
            counted.fetch_add(1, Ordering::SeqCst);
            String::new()
        });
        wait_for("a try", || asked.load(Ordering::SeqCst) > 0);
        drop(file.unwrap());
    }

    #[test]
    fn a_link_beside_is_not_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let (path, victim) = (folder.path().join("m"), folder.path().join("victim"));
        fs::write(&victim, "mine").unwrap();
        let beside = folder.path().join(format!("m.{}", std::process::id()));
        std::os::unix::fs::symlink(&victim, beside).unwrap();
        replace(&path, "a 1\n").unwrap();
        assert_eq!(fs::read_to_string(victim).unwrap(), "mine");
        assert_eq!(fs::read_to_string(path).unwrap(), "a 1\n");
    }
}
