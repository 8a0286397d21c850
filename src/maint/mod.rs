//! Whole-volume work beside the mount: check, recovery after a crash, one-file encrypt and decrypt, whole trees
//! copied into a mount and out of it.

mod census;
mod check;
mod error;
pub mod mirror;
mod open;
mod recover;
mod single;
mod walk;

pub use census::{Census, KeyCount, Spot, census};
pub use check::{CheckOptions, CheckReport, Finding, LostRange, Severity, check};
pub use error::MaintError;
pub use recover::{Recovery, recover};
pub use single::{SingleOptions, decrypt, encrypt};
pub use walk::{Folder, Unread, join, walk};
