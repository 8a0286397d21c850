//! Calls of a KMIP server, over a few connections that stay open.

use std::time::Duration;

use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::connection::Connection;
use super::credentials;
use super::failure::Failure;
use super::message::{self, Operation, Version, tag};
use super::ttlv::{Item, Writer};
use super::uri::{KmipFiles, Place};
use crate::keys::error::KeyError;
use crate::keys::flight::Flight;

/// Connections that are kept, at most: as many as there are threads that wait for keys.
const IDLE_MAX: usize = 4;

/// A server, and how this machine shows itself to it.
#[derive(Debug)]
pub(super) struct Client {
    place: Place,
    files: KmipFiles,
    within: Duration,
    idle: Mutex<Vec<Connection>>,
    version: Mutex<Option<Version>>,
    /// Asking for it, once for all who need it.
    asking: Flight<Result<Version, Failure>>,
}

impl Client {
    /// Nothing is connected to yet. Connecting, and each call, may take `within`.
    pub(super) fn new(place: Place, files: KmipFiles, within: Duration) -> Self {
        Self {
            place,
            files,
            within,
            idle: Mutex::default(),
            version: Mutex::default(),
            asking: Flight::default(),
        }
    }

    /// `host:port`.
    pub(super) fn server(&self) -> String {
        self.place.server()
    }

    /// Speaks no newer version from now on.
    #[cfg(test)]
    pub(super) fn speak(&self, version: Version) {
        *self.version.lock() = Some(version);
    }

    /// Connections that wait for work.
    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        self.idle.lock().len()
    }

    /// Does one operation; `read` takes what is wanted out of the answer's payload.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) fn call<T>(
        &self,
        operation: Operation,
        payload: &dyn Fn(&mut Writer),
        read: &dyn Fn(&Item<'_>) -> Option<T>,
    ) -> Result<T, Failure> {
        self.call_as(self.version()?, operation, payload, read)
    }

    fn call_as<T>(
        &self,
        version: Version,
        operation: Operation,
        payload: &dyn Fn(&mut Writer),
        read: &dyn Fn(&Item<'_>) -> Option<T>,
    ) -> Result<T, Failure> {
        let request = message::request(version, operation, payload);
        message::read(&self.exchange(&request)?, operation, read)
    }

    /// The newest version that both speak; asked for once, also by those who wait while it fails.
    ///
    /// # Errors
    /// `Config` where there is none.
    pub(super) fn version(&self) -> Result<Version, Failure> {
        let known = *self.version.lock();
        match known {
            Some(version) => Ok(version),
            None => self.asking.join(|| self.agree()),
        }
    }

    fn agree(&self) -> Result<Version, Failure> {
        let found = match self.discover(Version::NEWEST) {
            // A server need not read a version that it does not speak.
            Err(Failure::Refused(_)) => self.discover(Version::OLDEST)?,
            found => found?,
        };
        let version = found.ok_or_else(|| {
            let message = format!("{} speaks none of KMIP 1.2, 1.3, 1.4", self.server());
            KeyError::config(message)
        })?;
        *self.version.lock() = Some(version);
        Ok(version)
    }

    fn discover(&self, version: Version) -> Result<Option<Version>, Failure> {
        let ours = Version::OLDEST.0..=Version::NEWEST.0;
        let payload = |writer: &mut Writer| {
            for minor in ours.clone().rev() {
                Version(minor).write(writer);
            }
        };
        self.call_as(version, Operation::DiscoverVersions, &payload, &|payload| {
            let known = payload.all(tag::PROTOCOL_VERSION).filter_map(|version| {
                let major = version.integer(tag::PROTOCOL_VERSION_MAJOR)?;
                let minor = version.integer(tag::PROTOCOL_VERSION_MINOR)?;
                (major == 1 && ours.contains(&minor)).then_some(Version(minor))
            });
            Some(known.max())
        })
    }

    /// A connection that the server has closed meanwhile is opened anew, once: what is asked changes
    /// nothing there, so it may be asked twice.
    fn exchange(&self, request: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let idle = self.idle.lock().pop();
        if let Some(mut connection) = idle {
            match connection.exchange(request, self.within) {
                Err(Failure::Closed) => {
                    tracing::debug!(server = self.server(), "KMIP connection is opened anew");
                }
                done => return self.keep(connection, done),
            }
        }
        let config = credentials::tls(&self.files)?;
        let mut connection = Connection::open(&self.place, config, self.within)?;
        let done = connection.exchange(request, self.within);
        self.keep(connection, done)
    }

    /// After a failure nobody knows what a connection still holds.
    fn keep(
        &self,
        connection: Connection,
        done: Result<Zeroizing<Vec<u8>>, Failure>,
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let mut idle = self.idle.lock();
        if done.is_ok() && idle.len() < IDLE_MAX {
            idle.push(connection);
        }
        done
    }
}
