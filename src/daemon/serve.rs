//! Serving a mount, from its volume to its end.

use std::fmt;
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use thiserror::Error;

use crate::fs::{FileSystem, FsOptions};
use crate::fuse::{self, MountConfig, Mounted};
use crate::maint::{self, MaintError, Recovery};
use crate::policy::Policy;
use crate::volume::Volume;

use super::control::{self, ControlServer, Served};
use super::harden::HardeningReport;
use super::idle::{IdleTimes, IdleWatch, Idling};
use super::keeper::Keeper;
use super::metrics::{self, MetricsFile};
use super::place::{PlaceError, TakesPlace};
use super::policy::PolicyHost;
use super::report::{Probe, StatusReporter};
use super::runs::RunHost;
use super::sandbox::{self, Needs, Sandbox, SandboxReport};
use super::unmount::{Detach, UnmountError};
use super::{mounts, notify, signals};

/// A volume to be served, and where.
#[derive(Debug)]
pub struct ServeRequest {
    /// The unlocked volume.
    pub volume: Volume,
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
    pub keeper: Keeper,
    /// What the user asked for.
    pub sandbox: Sandbox,
    /// What the mount still does when it is there.
    pub needs: Needs,
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
pub struct Reload(Box<dyn FnMut() -> Option<Reloaded> + Send>);

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
    fn other(what: &'static str) -> impl FnOnce(io::Error) -> Self {
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
    request: ServeRequest,
    works: impl FnOnce() -> io::Result<()>,
) -> Result<bool, ServeError> {
    let volume = Arc::new(request.volume);
    let begun = look_over(&volume, request.read_only)
        .and_then(|()| begin(&volume, request.fs, request.policy))
        .and_then(|fs| {
            let place = request.takes_place.as_ref();
            let at = place.map_or(&request.mountpoint, |place| &place.mounted_at);
            let mounted = fuse::mount(Arc::clone(&fs), at, &request.mount);
            let mounted = mounted.map_err(ServeError::Mount)?;
            // Nothing can be written before requests are served: it is durable by then which folder is which.
            place.map_or(Ok(()), |place| place.take(&request.mountpoint))?;
            Ok((fs, mounted))
        });
    // Nobody wrote: the next mount has nothing to look over on this one's account.
    let (fs, mounted) = begun.inspect_err(|_error| mark_clean(&volume))?;
    raise_readahead(&request.mountpoint);
    let keeper = Arc::new(request.keeper);
    let sandbox = sandbox::close(request.sandbox, request.needs, request.reduced);
    let sandbox = match sandbox {
        Ok(report) => report,
        Err(error) => {
            drop(mounted);
            take_away(&keeper);
            mark_clean(&volume);
            return Err(ServeError::other("the sandbox")(error));
        }
    };
    let runs = Arc::new(RunHost::new(Arc::clone(&fs), request.read_only));
    let reporter = Arc::new(StatusReporter {
        fs: Arc::clone(&fs),
        runs: Arc::clone(&runs),
        policy: PolicyHost::new(
            Arc::clone(&fs),
            request.mountpoint.clone(),
            request.read_only,
        ),
        cipherdir: request.cipherdir.clone(),
        mountpoint: request.mountpoint.clone(),
        read_only: request.read_only,
        shared: !request.mount.exclusive,
        transport: mounted.transport(),
        hardening: request.hardening,
        sandbox,
        since: Instant::now(),
    });
    let served: Arc<dyn Served> = Arc::clone(&reporter) as Arc<dyn Served>;
    let control = start_control(&request.mountpoint, &served);
    drop(served);
    let told = Arc::clone(&reporter);
    let metrics = MetricsFile::start(request.metrics, move || {
        metrics::render(&[told.report(Probe::No)])
    });
    let metrics = Arc::new(metrics.map_err(ServeError::other("writing metrics"))?);
    let idle = IdleWatch::start(
        request.idle,
        IdleMount {
            fs: Arc::clone(&fs),
            runs: Arc::clone(&runs),
            mountpoint: request.mountpoint.clone(),
            keeper: Arc::clone(&keeper),
        },
    );
    let idle = Arc::new(idle.map_err(ServeError::other("watching for idleness"))?);
    let (place, unmounter) = (request.mountpoint.clone(), Arc::clone(&keeper));
    let changed = HangUp {
        volume: Arc::clone(&volume),
        reload: request.reload,
        idle: Arc::clone(&idle),
        metrics: Arc::clone(&metrics),
    };
    let watch = signals::on_termination(
        move |termination| unmount_by_signal(&unmounter, &place, termination.times),
        changed.at_each(),
    );
    let watch = watch.map_err(ServeError::other("watching for signals"))?;
    let alive = Arc::clone(&fs);
    let heartbeat = notify::Heartbeat::start(move || {
        // A lock that nobody lets go of any more would hold these up.
        let _stats = (alive.stats(), alive.volume().keyring_stats());
    });
    let heartbeat = heartbeat.map_err(ServeError::other("the watchdog"))?;
    let transport = mounted.transport().name();
    let served = run(mounted, || {
        works()?;
        tracing::info!(transport, %sandbox, cipherdir = %request.cipherdir.display(), mountpoint = %request.mountpoint.display(), "mounted");
        Ok(())
    });
    drop((watch, idle, metrics, heartbeat));
    if served.is_err() {
        take_away(&keeper);
    }
    runs.stop();
    if let Ok(true) = served {
        mark_clean(&volume);
    }
    tracing::info!(mountpoint = %request.mountpoint.display(), "unmounted");
    drop((fs, volume, reporter, runs));
    drop(control);
    served
}

/// What SIGHUP concerns.
struct HangUp {
    volume: Arc<Volume>,
    reload: Reload,
    idle: Arc<IdleWatch>,
    metrics: Arc<MetricsFile>,
}

impl HangUp {
    fn at_each(mut self) -> impl FnMut() + Send + 'static {
        move || {
            if let Some(audit) = self.volume.audit() {
                audit.reopen();
            }
            if let Some(Reloaded {
                idle,
                metrics,
                provider_rate,
            }) = (self.reload.0)()
            {
                self.idle.set(idle);
                self.metrics.set(metrics);
                self.volume.providers().set_rate(provider_rate);
            }
        }
    }
}

/// A mount, to those who see whether anybody uses it.
struct IdleMount {
    fs: Arc<FileSystem>,
    runs: Arc<RunHost>,
    mountpoint: PathBuf,
    keeper: Arc<Keeper>,
}

impl Idling for IdleMount {
    fn uses(&self) -> u64 {
        self.fs.uses()
    }

    fn is_busy(&self) -> bool {
        self.fs.stats().open_files > 0 || self.runs.is_running()
    }

    fn is_locked(&self) -> bool {
        self.fs.locked_by().is_some()
    }

    fn lock(&self) {
        if !self.is_locked() && !self.runs.is_running() {
            tracing::info!(mountpoint = %self.mountpoint.display(), "nobody uses the mount");
            self.fs.lock_unused();
        }
    }

    fn unmount(&self) {
        match self.keeper.unmount(Detach::Now) {
            Ok(()) => {
                tracing::info!(mountpoint = %self.mountpoint.display(), "unmounted: nobody used it");
            }
            Err(error) => tracing::debug!(%error, "nobody uses the mount, and it stays"),
        }
    }
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

/// Who asks once gets an unmount if nobody uses the mount; who asks again gets it detached, to end with its last user.
fn unmount_by_signal(keeper: &Keeper, mountpoint: &Path, times: u32) {
    let detach = if times == 1 {
        Detach::Now
    } else {
        Detach::Lazily
    };
    if let Err(error) = keeper.unmount(detach) {
        let mountpoint = mountpoint.display();
        tracing::error!(%error, %mountpoint, "could not unmount; a second signal detaches the mount");
    }
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

fn start_control(mountpoint: &Path, mount: &Arc<dyn Served>) -> Option<ControlServer> {
    control::serve(mountpoint, mount)
        .inspect_err(|error| tracing::warn!(%error, "no control socket: `envelopefs status` will have no answer"))
        .ok()
}

/// What one readahead may bring in KiB: the kernel's own default of 128 halves a stream's speed.
const READAHEAD_KIB: &str = "1024";

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
