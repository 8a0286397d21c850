//! What every operation has in common, and the one way in.

use std::future::Future;

use super::caller::Caller;
use super::error::KmsError;

/// One thing that can be asked of the service.
///
/// An operation is a struct of its parameters, already parsed; a dialect makes it and turns the
/// answer into its own words.
pub trait Operation: Send {
    /// Its name in policies, without the service before it: `Encrypt`.
    const ACTION: &'static str;
    type Answer: Send;

    fn run(
        self,
        engine: &Engine,
        caller: &Caller,
    ) -> impl Future<Output = Result<Self::Answer, KmsError>> + Send;
}

/// The service: store, root key, caches, audit.
#[derive(Debug)]
pub struct Engine {}

impl Engine {
    /// Does what is asked, if the caller may.
    ///
    /// # Errors
    ///
    /// Whatever the operation was refused for; the audit trail has it too.
    pub async fn perform<O: Operation>(
        &self,
        caller: &Caller,
        operation: O,
    ) -> Result<O::Answer, KmsError> {
        operation.run(self, caller).await
    }
}
