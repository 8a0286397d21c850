//! What the providers of key services over HTTP share: their URIs, how this machine reaches a
//! service, and one careful HTTP client.
//!
//! A stored URI says which key. Where the service is reached, which CA signs for it and who this
//! machine is are said on the machine ([`Reach`], [`Environment`]): a volume that could say it
//! would send credentials and data keys to a server of its author's choice.

mod client;
mod endpoint;
mod environment;
pub(crate) mod files;
mod reach;
mod token;
mod uri;
pub(crate) mod wire;

#[cfg(test)]
pub(crate) mod double;
#[cfg(test)]
pub(crate) mod failures;

pub(crate) use client::{Client, Request, Response};
pub(crate) use endpoint::Endpoint;
pub use environment::Environment;
pub use reach::{Reach, ServiceOptions};
pub(crate) use token::{Lease, TokenSource, Tokens};
pub(crate) use uri::{ServiceUri, UriForm};
