//! Who may do what: policies in the JSON that both clouds have, and grants.
//!
//! * [`document`]: text → [`Policy`]; what is not understood is refused there
//! * [`condition`]: what a statement's `Condition` says
//! * `strict`: what a policy that is set must not have, though it could be read
//! * [`judge`]: one request against the policies of key and caller, and the key's grants
//! * [`actions`]: the names that an action has
//!
//! A denial wins; what nothing allows is not allowed.

pub mod actions;
pub mod condition;
pub mod document;
pub mod judge;
mod strict;
mod wildcard;

pub use document::{Policy, PolicyError, PolicyKind};
pub use judge::{Decision, KeyFacts, Request, Rules, covers, decide};
