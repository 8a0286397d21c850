//! A file of metrics, written anew again and again, as node_exporter's textfile collector reads it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// How often the file is written.
const INTERVAL: Duration = Duration::from_secs(15);

/// Writes until it is dropped; the file goes with it, so that nobody takes old figures for new ones.
#[derive(Debug)]
pub(in crate::daemon) struct MetricsFile {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    path: Option<PathBuf>,
    changed: bool,
    stop: bool,
}

impl MetricsFile {
    /// Has what `render` gives written to `path`, if there is one, at once and then again and again.
    ///
    /// # Errors
    /// There is no thread.
    pub(in crate::daemon) fn start(
        path: Option<PathBuf>,
        render: impl Fn() -> String + Send + 'static,
    ) -> io::Result<Self> {
        let state = State {
            path,
            ..State::default()
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            wake: Condvar::new(),
        });
        let writing = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || writing.write_all(&render))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Another file from now on, or none. The old one goes.
    pub(in crate::daemon) fn set(&self, path: Option<PathBuf>) {
        let mut state = self.shared.state.lock();
        if state.path != path {
            let old = std::mem::replace(&mut state.path, path);
            state.changed = true;
            drop(state);
            remove(old.as_deref());
            self.shared.wake.notify_all();
        }
    }
}

impl Drop for MetricsFile {
    fn drop(&mut self) {
        self.shared.state.lock().stop = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the panic hook.
            drop(thread.join());
        }
        remove(self.shared.state.lock().path.as_deref());
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

impl Shared {
    fn write_all(&self, render: &dyn Fn() -> String) {
        let mut failing = false;
        loop {
            let path = self.state.lock().path.clone();
            if let Some(path) = path {
                let written = replace(&path, &render());
                match &written {
                    Err(error) if !failing => {
                        tracing::warn!(%error, file = %path.display(), "metrics cannot be written; it is tried again");
                    }
                    _ => {}
                }
                failing = written.is_err();
                // Set anew while it was written: the old one is not to come back.
                if self.state.lock().path.as_deref() != Some(path.as_path()) {
                    remove(Some(&path));
                }
            }
            if self.is_over() {
                return;
            }
        }
    }

    /// Waits until the next time.
    fn is_over(&self) -> bool {
        let mut state = self.state.lock();
        if !state.stop && !state.changed {
            match &state.path {
                Some(_) => drop(self.wake.wait_for(&mut state, INTERVAL)),
                None => self.wake.wait(&mut state),
            }
        }
        state.changed = false;
        state.stop
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
    use std::sync::atomic::{AtomicU32, Ordering};
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
        wait_for("the second", || other.exists());
        assert!(!one.exists());
        file.set(None);
        assert!(!other.exists());
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
