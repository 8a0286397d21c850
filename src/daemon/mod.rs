//! The running mount: background start, hardening, signals, mount point, control socket.
//!
//! Start in this order: [`background::split`], [`scout::start`] and [`keeper::start`] before any thread, [`harden::harden`] and
//! [`sandbox::reduce`] before any key, then unlock and mount, [`sandbox::close`], [`control::serve`],
//! [`signals::on_termination`], and at last [`background::Readiness::works`].

mod attendants;
pub mod background;
mod callers;
pub mod control;
pub mod harden;
pub mod idle;
pub mod keeper;
pub mod metrics;
pub mod mountpoint;
pub mod mounts;
pub mod notify;
mod periodic;
pub mod place;
pub mod policy;
mod report;
pub mod runs;
pub mod runtime;
pub mod sandbox;
pub mod scout;
pub mod serve;
pub mod signals;
pub mod status;
pub mod unmount;
