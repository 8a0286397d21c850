//! SIGHUP: the configuration files are read again, and what can change in a running mount does.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::PathBuf;

use super::{MountRequest, audit};
use crate::cli::config;
use crate::cli::logging::Logs;
use crate::cli::{Invocation, NoInvocation, Request};
use crate::daemon::serve::{Reload, Reloaded};

/// Reads the command line anew, over files that may have changed; paths are those of the running mount.
pub(super) fn reload(
    request: &MountRequest,
    logs: &Logs,
    cipherdir: PathBuf,
    mountpoint: PathBuf,
) -> Reload {
    let argv: Vec<OsString> = std::env::args_os().collect();
    let (mut now, mut logs) = (request.clone(), logs.clone());
    Reload::new(move || {
        let (asked, level) = match Invocation::parse(&argv) {
            Ok(Invocation {
                request: Request::Mount(asked),
                logs,
            }) => (*asked, logs),
            Err(NoInvocation::Failure(failure)) => {
                tracing::error!(%failure, "the configuration is left as it was");
                return None;
            }
            // The same command line was a mount.
            Ok(_) | Err(NoInvocation::Clap(_)) => return None,
        };
        if logs.follow_level(&level) {
            tracing::info!(
                level = level.level.as_deref().unwrap_or("default"),
                "another log level"
            );
        }
        for name in now.fixed_differences(&asked) {
            tracing::warn!(
                name,
                "has another value now, which holds from the next mount on"
            );
        }
        let metrics = asked.metrics.as_ref().map(|path| {
            let path = config::from_start(path);
            audit::outside("metrics", ("--metrics", &path), &cipherdir, &mountpoint)
        });
        let metrics = metrics.transpose().unwrap_or_else(|failure| {
            tracing::error!(%failure, "no metrics are written");
            None
        });
        now.idle_lock = asked.idle_lock;
        now.idle_unmount = asked.idle_unmount;
        tracing::info!(
            idle_lock = ?asked.idle_lock,
            idle_unmount = ?asked.idle_unmount,
            provider_rate = asked.provider_rate,
            metrics = metrics.as_ref().map(|path| tracing::field::display(path.display())),
            "the configuration was read again"
        );
        Some(Reloaded {
            idle: asked.idle_times(),
            metrics,
            provider_rate: NonZeroU32::new(asked.provider_rate),
        })
    })
}
