//! A pass over a tree, shown on stderr.

use indicatif::ProgressBar;

use crate::cli::output::counted;
use crate::cli::progress;
use crate::maint::mirror::Passed;

/// A bar for as long as this lives.
#[derive(Debug)]
pub(super) struct Pass {
    bar: ProgressBar,
    done: &'static str,
}

impl Pass {
    /// A pass by which things are `done`, as in "copied".
    pub(super) fn begin(wanted: bool, done: &'static str) -> Self {
        let template = "{spinner} {msg}, {bytes}, {elapsed}, {bytes_per_sec}";
        let bar = progress::spinner(wanted, template);
        Self { bar, done }
    }

    /// How far it is.
    pub(super) fn show(&self, passed: Passed) {
        let names = counted(passed.entries, "name");
        self.bar.set_message(format!("{names} {}", self.done));
        self.bar.set_position(passed.bytes);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
