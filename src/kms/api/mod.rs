//! The dialects: wire format → operation → wire format, and one table of errors each.
//!
//! A dialect knows no key and no policy, the engine no wire format. What both dialects have in common
//! is here: [`Place`] (how keys are named outside), `plaintext` (text and bytes), [`failures`] (who proves nothing),
//! [`Answer`].

#![cfg_attr(
    not(test),
    deny(
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::wildcard_enum_match_arm
    )
)]

pub mod alibaba;
pub mod aws;
pub mod console;
pub mod failures;
pub mod rest;
pub mod web;

mod answer;
mod pem;
mod place;
mod plaintext;
mod source;
mod spelling;

pub use answer::{Answer, Body};
pub use place::{Place, PlaceError};
pub use source::Source;

use crate::kms::engine::{Caller, Engine};

/// Everything that an operation needs beside its parameters.
#[derive(Debug)]
pub struct Asking<'a> {
    /// What does it.
    pub engine: &'a Engine,
    /// Who asks.
    pub caller: Caller,
    /// How keys are named.
    pub place: &'a Place,
}
