//! Who asks.

use std::net::IpAddr;

/// The wire format in which a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    Alibaba,
    Aws,
    Rest,
    Console,
    /// The command line on the server's own machine.
    Local,
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
