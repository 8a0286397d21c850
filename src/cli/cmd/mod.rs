//! The subcommands, one file each: arguments, the typed request they make, and the run.

pub mod audit;
pub mod census;
pub mod check;
pub mod config;
pub mod decrypt;
pub mod doctor;
pub mod encrypt;
pub mod export;
mod folders;
pub mod import;
pub mod init;
pub mod inspect;
pub mod lock;
pub mod mount;
mod pass;
pub mod policy;
pub mod reencrypt;
pub mod remount;
pub mod rewrap;
pub mod seal;
pub mod slots;
pub mod speed;
mod staging;
pub mod status;
pub mod top;
pub mod umount;
pub mod unlock;
