//! A service whose requests are signed by an access key.

use jiff::Timestamp;

use super::client::{Client, Request, Response};
use super::clock;
use super::credentials::AccessKey;
use super::endpoint::Endpoint;
use super::reach::Reach;
use super::refusal::{Failure, Refusal, Words};
use super::renewed::{Renewed, Source};
use crate::keys::error::KeyError;

/// Where the service is, how it is reached, and whose access key signs.
#[derive(Debug)]
pub(crate) struct Signed<S: Source> {
    client: Client,
    endpoint: Endpoint,
    credentials: Renewed<S>,
    /// What it says where it does not do what was asked.
    refusal: fn(&Response, Timestamp) -> Refusal,
}

impl<S: Source<Given = AccessKey>> Signed<S> {
    /// The service at the address that `reach` says, else at its own. Sends nothing.
    ///
    /// # Errors
    /// `Config` for what cannot be followed.
    pub(crate) fn new(
        reach: &Reach,
        own: impl FnOnce() -> Result<Endpoint, KeyError>,
        source: S,
        refusal: fn(&Response, Timestamp) -> Refusal,
    ) -> Result<Self, KeyError> {
        let endpoint = reach.endpoint.clone().map_or_else(own, Ok)?;
        Ok(Self {
            client: Client::new(reach)?,
            endpoint,
            credentials: Renewed::new(source),
            refusal,
        })
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Takes what this machine proves itself with out of memory.
    pub(crate) fn forget(&self) {
        self.credentials.forget();
    }

    /// Sends the request that `sign` makes. Where the service calls the access key bad or expired, as
    /// `words` have it, and another is to be had, that is done once more.
    ///
    /// # Errors
    /// What the service says; `Known` where no access key is to be had, and where no answer came.
    pub(crate) fn call(
        &self,
        words: &Words,
        sign: impl Fn(&AccessKey) -> Result<Request, KeyError>,
    ) -> Result<Response, Failure> {
        self.credentials.with(
            |done: &Result<Response, Failure>| {
                let failure = done.as_ref().err();
                failure.is_some_and(|failure| (words.is_of_credentials)(failure.code()))
            },
            |key| {
                let response = self.client.send(sign(key)?)?;
                if response.is_success() {
                    Ok(response)
                } else {
                    Err(Failure::Refused((self.refusal)(&response, clock::now())))
                }
            },
        )
    }
}
