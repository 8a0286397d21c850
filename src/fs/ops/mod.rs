//! The operations by family; each file bears the names of its system calls.

pub(super) mod acl;
pub(super) mod attr;
pub(super) mod create;
pub(super) mod export;
pub(super) mod folder;
pub(super) mod io;
pub(super) mod link;
pub(super) mod nameless;
pub(super) mod open;
pub(super) mod reencrypt;
pub(super) mod remove;
pub(super) mod rename;
pub(super) mod settle;
pub(super) mod slots;
pub(super) mod xattr;
