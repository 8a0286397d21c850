//! The progress bar of a command that takes its time.

use indicatif::{ProgressBar, ProgressStyle};

/// A spinner on stderr with this template (indicatif's), or nothing where none is wanted.
pub(super) fn spinner(wanted: bool, template: &str) -> ProgressBar {
    if !wanted {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
