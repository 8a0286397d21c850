//! What the providers of key services over HTTP share: their URIs, how this machine reaches a
//! service, and one careful HTTP client.
//!
//! A stored URI says which key. Where the service is reached, which CA signs for it and who this
//! machine is are said on the machine ([`Reach`], [`Environment`]): a volume that could say it
//! would send credentials and data keys to a server of its author's choice.

pub(crate) mod ciphertext;
pub(crate) mod clock;
pub(crate) mod context;
pub(crate) mod credentials;
pub(crate) mod digest;
pub(crate) mod ini;
pub(crate) mod kms;
pub(crate) mod metadata;
pub(crate) mod names;
pub(crate) mod oauth;
pub(crate) mod refusal;
pub(crate) mod region;
pub(crate) mod renewed;
pub(crate) mod signed;
pub(crate) mod wire;

mod client;
mod endpoint;
mod environment;
mod reach;
mod token;
mod uri;

#[cfg(test)]
pub(crate) mod double;
#[cfg(test)]
pub(crate) mod failures;
#[cfg(test)]
pub(crate) mod pages;
#[cfg(test)]
pub(crate) mod python;

pub(crate) use client::{Client, Request, Response};
pub(crate) use endpoint::Endpoint;
pub use environment::Environment;
pub use reach::{Reach, ServiceOptions};
pub(crate) use token::{Lease, Token, Tokens};
pub(crate) use uri::{ServiceUri, UriForm};
