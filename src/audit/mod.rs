//! What happened, line by line, so that a line which is changed, taken out or put in later is noticed.
//!
//! * [`event`]: what is told: one table of kinds and one of fields
//! * [`chain`]: pure: how a line looks, its hash, its seal, and the key that goes on with each line
//! * [`sink`]: the queue, and the one thread that writes a file or the journal
//! * [`verify`](mod@verify): reads lines again and says what is not as it was written
//!
//! Whoever tells of something calls [`Audit::note`], which never waits. docs/AUDIT.md is for people.

pub mod chain;
pub mod event;
mod file;
mod journal;
pub mod sink;
mod time;
pub mod verify;

pub use chain::{Head, SessionId};
pub use event::{Event, Field, Kind, Subject};
pub use sink::{Audit, AuditError, AuditReport, Permit, QueueFull, Session, Target, WhenFull};
pub use verify::{Expected, Finding, Report, Verifier};
