//! Serving a mount, from its volume to its end.

use std::fmt;
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::fs::{FileSystem, FsOptions};
use crate::fuse::{self, MountConfig, Mounted, Transport};
use crate::maint::{self, MaintError, Recovery};
use crate::policy::Policy;
use crate::volume::Volume;

use super::attendants::Attendants;
use super::harden::HardeningReport;
use super::idle::IdleTimes;
use super::keeper::Keeper;
use super::place::{PlaceError, TakesPlace};
use super::runs::RunHost;
use super::sandbox::{self, Bounds, Needs, Reach, Sandbox, SandboxReport};
use super::unmount::{Detach, UnmountError};
use super::{control, mounts, notify};

/// A volume to be served, and where.
#[derive(Debug)]
pub struct ServeRequest {
    /// The unlocked volume.
    pub volume: Arc<Volume>,
    /// How its files are served.
    pub fs: FsOptions,
    /// What the kernel is told.
    pub mount: MountConfig,
    /// The ciphertext folder's canonical path.
    pub cipherdir: PathBuf,
    /// The mount point's canonical path: where the mount is when it works.
    pub mountpoint: PathBuf,
    /// It is mounted elsewhere, and then takes the place of a folder that is there.
    pub takes_place: Option<TakesPlace>,
    /// Who may do what.
    pub policy: Option<Policy>,
    /// Nothing is written.
    pub read_only: bool,
    /// What becomes of it while nobody uses it.
    pub idle: IdleTimes,
    /// A file that is to hold its metrics.
    pub metrics: Option<PathBuf>,
    /// What SIGHUP changes.
    pub reload: Reload,
    /// What hardening achieved.
    pub hardening: HardeningReport,
    /// Who takes the mount away when this process no longer can.
    pub keeper: Arc<Keeper>,
    /// What the user asked for.
    pub sandbox: Sandbox,
    /// What the mount still does when it is there.
    pub needs: Needs,
    /// What of this machine the mount reaches besides.
    pub reach: Reach,
    /// How far the sandbox is already.
    pub reduced: SandboxReport,
}

/// What can change while a mount runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// What becomes of it while nobody uses it.
    pub idle: IdleTimes,
    /// A file that is to hold its metrics.
    pub metrics: Option<PathBuf>,
    /// Calls a second to one key provider; None: no bound.
    pub provider_rate: Option<NonZeroU32>,
}

/// Reads the configuration again.
pub struct Reload(pub(super) Box<dyn FnMut() -> Option<Reloaded> + Send>);

impl Reload {
    /// `read` gives what is to hold from now on; None: all stays as it is.
    pub fn new(read: impl FnMut() -> Option<Reloaded> + Send + 'static) -> Self {
        Self(Box::new(read))
    }
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reload(..)")
    }
}

/// Why a volume is not served, or not to the end.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The mount itself failed.
    #[error("{0}")]
    Mount(#[source] io::Error),
    /// What a crash left could not be looked over.
    #[error("looking over what a crash left: {0}")]
    Recovery(#[from] MaintError),
    /// The mount cannot take a folder's place.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// Something around the mount failed.
    #[error("{what}: {source}")]
    Other {
        /// What it was.
        what: &'static str,
        /// What the system answered.
        source: io::Error,
    },
}

impl ServeError {
    pub(super) fn other(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Other { what, source }
    }
}

/// Threads that serve requests where nobody chose a number: one for each processor, two at least, so that one
/// slow disk read does not hold up everything.
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(2, |count| count.get().clamp(2, 16))
}

/// Mounts and serves until the mount ends; then everything is committed. Calls `works` when requests are served.
///
/// # Errors
/// Before `works` was called: why there is no mount. After it: why it ended badly.
pub fn serve(
    request: ServeRequest,
    works: impl FnOnce() -> io::Result<()>,
) -> Result<(), ServeError> {
    let audit = request.volume.audit().cloned();
    let served = serve_volume(request, works);
    if let Some(audit) = audit
        && !audit.finish(matches!(served, Ok(true)))
    {
        tracing::error!("the last audit lines could not be written");
    }
    served.map(drop)
}

/// Says whether everything was committed.
fn serve_volume(
    mut request: ServeRequest,
    works: impl FnOnce() -> io::Result<()>,
) -> Result<bool, ServeError> {
    let volume = Arc::clone(&request.volume);
    // Nobody wrote: the next mount has nothing to look over on this one's account.
    let bounds = bound(&mut request).inspect_err(|_error| mark_clean(&volume))?;
    let (fs, mounted) = mount(&mut request).inspect_err(|_error| mark_clean(&volume))?;
    let runs = Arc::new(RunHost::new(Arc::clone(&fs), request.read_only));
    let (keeper, transport) = (Arc::clone(&request.keeper), mounted.transport());
    let (cipherdir, mountpoint) = (request.cipherdir.clone(), request.mountpoint.clone());
    let reduced = std::mem::take(&mut request.reduced);
    let needs = Needs {
        ring: transport == Transport::IoUring,
        ..request.needs
    };
    let attended = sandbox::close(request.sandbox, needs, bounds, reduced)
        .map_err(ServeError::other("the sandbox"))
        .and_then(|closed| {
            let attendants = Attendants::start(request, &fs, &runs, transport, closed.clone())?;
            Ok((attendants, closed))
        });
    let (served, control) = match attended {
        Err(error) => {
            mark_clean(&volume);
            drop(mounted);
            (Err(error), None)
        }
        Ok((attendants, sandbox)) => {
            let transport = transport.name();
            let served = run(mounted, || {
                works()?;
                tracing::info!(transport, %sandbox, cipherdir = %cipherdir.display(), mountpoint = %mountpoint.display(), "mounted");
                Ok(())
            });
            (served, attendants.leave())
        }
    };
    if served.is_err() {
        take_away(&keeper);
    }
    runs.stop();
    if let Ok(true) = served {
        mark_clean(&volume);
    }
    tracing::info!(mountpoint = %mountpoint.display(), "unmounted");
    drop((fs, volume, runs));
    drop(control);
    served
}

/// Says what the process will reach when the mount is there.
fn bound(request: &mut ServeRequest) -> Result<Option<Bounds>, ServeError> {
    let mut reach = std::mem::take(&mut request.reach);
    reach.kept.extend(control::prepare_folder());
    sandbox::bound(request.sandbox, request.needs, &request.cipherdir, reach)
        .map_err(ServeError::other("the sandbox"))
}

/// Looks over what a crash left, and mounts; requests wait until they are served.
fn mount(request: &mut ServeRequest) -> Result<(Arc<FileSystem>, Mounted), ServeError> {
    look_over(&request.volume, request.read_only)?;
    let (options, policy) = (std::mem::take(&mut request.fs), request.policy.take());
    let fs = begin(&request.volume, options, policy)?;
    let place = request.takes_place.as_ref();
    let at = place.map_or(&request.mountpoint, |place| &place.mounted_at);
    let mounted = fuse::mount(Arc::clone(&fs), at, &request.mount);
    let mounted = mounted.map_err(ServeError::Mount)?;
    // Nothing can be written before requests are served: it is durable by then which folder is which.
    place.map_or(Ok(()), |place| place.take(&request.mountpoint))?;
    raise_readahead(&request.mountpoint);
    Ok((fs, mounted))
}

fn begin(
    volume: &Arc<Volume>,
    options: FsOptions,
    policy: Option<Policy>,
) -> Result<Arc<FileSystem>, ServeError> {
    let fs = FileSystem::new(Arc::clone(volume), options);
    let fs = fs.map_err(ServeError::other("opening the volume"))?;
    fs.follow_policy(policy);
    Ok(fs)
}

/// A mount that nobody serves does not stay. Mostly it is gone already.
fn take_away(keeper: &Keeper) {
    match keeper.unmount(Detach::Lazily) {
        Ok(()) | Err(UnmountError::NotMounted) => {}
        Err(error) => tracing::warn!(%error, "a mount that nobody serves could not be taken away"),
    }
}

/// Requests are served from here on; who waits for the mount is told.
fn run(mounted: Mounted, works: impl FnOnce() -> io::Result<()>) -> Result<bool, ServeError> {
    works().map_err(ServeError::other("going to the background"))?;
    if let Err(error) = notify::ready() {
        tracing::warn!(%error, "the service manager could not be told");
    }
    let served = mounted.serve();
    if let Err(error) = notify::stopping() {
        tracing::debug!(%error, "the service manager could not be told");
    }
    served.map_err(ServeError::other("serving requests"))
}

/// Nothing is left to be committed: the next mount has nothing to look over but what this one could not.
pub fn mark_clean(volume: &Volume) {
    if let Err(error) = volume.mark_clean() {
        tracing::warn!(%error, "the next mount will look over the volume");
    }
}

/// After a mount that ended without an unmount, lengths are set right before anybody reads them.
pub(super) fn look_over(volume: &Volume, read_only: bool) -> Result<(), ServeError> {
    let Some(since) = volume.unclean_since().filter(|_| !read_only) else {
        return Ok(());
    };
    tracing::warn!(
        "the last mount ended without an unmount: looking over what changed since it began"
    );
    let recovery = maint::recover(volume, since)?;
    let Recovery {
        examined,
        mended,
        empty,
        failed,
        postponed,
    } = recovery;
    tracing::warn!(
        examined,
        mended,
        empty,
        failed,
        "looked over what the last mount left"
    );
    match postponed {
        0 => volume.set_looked_over(),
        _ => tracing::warn!(postponed, "the next mount looks over the volume once more"),
    }
    Ok(())
}

/// What one readahead may bring in KiB: two requests of the largest size, so that two threads have one each while who reads
/// has a third. The kernel's own default of 128 halves a stream's speed.
const READAHEAD_KIB: &str = "2048";

/// Only root may tell the kernel; for others the default stays.
fn raise_readahead(mountpoint: &Path) {
    let Some(device) = mounts::read()
        .ok()
        .and_then(|all| mounts::at(&all, mountpoint).map(|mount| mount.device.clone()))
    else {
        return;
    };
    let written = std::fs::write(
        format!("/sys/class/bdi/{device}/read_ahead_kb"),
        READAHEAD_KIB,
    );
    if let Err(error) = written {
        tracing::debug!(%error, "readahead stays at the kernel's default");
    }
}
