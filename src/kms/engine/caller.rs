//! Who asks.

use std::net::IpAddr;

use super::ids;

/// The wire format in which a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    Alibaba,
    Aws,
    Rest,
    Console,
    /// The command line on the server's own machine, by who holds the store and the root key. No
    /// policy is asked for it: it is the way back in when the last administrator is locked out. The
    /// audit trail has it like any other. Nothing that came over a network may bear it.
    Local,
    /// What the service does by schedule.
    Service,
}

impl Dialect {
    /// Its name in the audit trail and in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Alibaba => "alibaba",
            Self::Aws => "aws",
            Self::Rest => "rest",
            Self::Console => "console",
            Self::Local => "local",
            Self::Service => "service",
        }
    }
}

/// Who asks, proven by a signature, and how the audit trail names the request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The principal that the access key belongs to: who policies and grants speak of.
    pub principal: String,
    /// The access key's public half.
    pub access_key_id: String,
    pub dialect: Dialect,
    /// Given to the caller in each answer and to the audit trail: a UUID.
    pub request_id: String,
    pub address: Option<IpAddr>,
    /// Tokens of grants that are not yet known everywhere (AWS `GrantTokens`).
    pub grant_tokens: Vec<String>,
}

impl Caller {
    /// Who has not proven yet who it is: a new request, of which nothing else is known.
    #[must_use]
    pub fn nobody(dialect: Dialect, address: Option<IpAddr>) -> Self {
        Self {
            principal: String::new(),
            access_key_id: String::new(),
            dialect,
            request_id: ids::uuid(),
            address,
            grant_tokens: Vec::new(),
        }
    }

    /// The command line on the server's own machine; see [`Dialect::Local`]. `user` is the account
    /// that runs it, for the audit trail.
    #[must_use]
    pub fn local(user: &str) -> Self {
        Self {
            principal: format!("local:{user}"),
            ..Self::nobody(Dialect::Local, None)
        }
    }
}
