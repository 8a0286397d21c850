//! What stands around a mount while it is served: who answers `status`, who hears signals, who writes metrics, who sees
//! that nobody uses it, who tells the service manager that it lives.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::fs::FileSystem;
use crate::fuse::Transport;
use crate::volume::Volume;

use super::control::{self, ControlServer, Served};
use super::idle::{IdleWatch, Idling};
use super::keeper::Keeper;
use super::metrics::{self, MetricsFile};
use super::notify::Heartbeat;
use super::policy::PolicyHost;
use super::report::{Probe, StatusReporter};
use super::runs::RunHost;
use super::sandbox::SandboxReport;
use super::serve::{Reload, Reloaded, ServeError, ServeRequest};
use super::signals::{self, SignalWatch};
use super::unmount::Detach;

/// All of them, each with a thread of its own or none.
pub(super) struct Attendants {
    watch: SignalWatch,
    idle: Arc<IdleWatch>,
    metrics: Arc<MetricsFile>,
    heartbeat: Option<Heartbeat>,
    control: Option<ControlServer>,
    /// Answers for as long as it is there.
    reporter: Arc<StatusReporter>,
}

impl Attendants {
    /// Starts them.
    ///
    /// # Errors
    /// There is no thread to be had. Without a control socket a mount is served all the same.
    pub(super) fn start(
        request: ServeRequest,
        fs: &Arc<FileSystem>,
        runs: &Arc<RunHost>,
        transport: Transport,
        sandbox: SandboxReport,
    ) -> Result<Self, ServeError> {
        let reporter = Arc::new(reporter(&request, fs, runs, transport, sandbox));
        let served: Arc<dyn Served> = Arc::clone(&reporter) as Arc<dyn Served>;
        let control = start_control(&request.mountpoint, &served);
        let told = Arc::clone(&reporter);
        let metrics = MetricsFile::start(request.metrics, move || {
            metrics::render(&[told.report(Probe::No)])
        });
        let metrics = Arc::new(metrics.map_err(ServeError::other("writing metrics"))?);
        let mount = IdleMount {
            fs: Arc::clone(fs),
            runs: Arc::clone(runs),
            mountpoint: request.mountpoint.clone(),
            keeper: Arc::clone(&request.keeper),
        };
        let idle = IdleWatch::start(request.idle, mount);
        let idle = Arc::new(idle.map_err(ServeError::other("watching for idleness"))?);
        let changed = HangUp {
            volume: request.volume,
            reload: request.reload,
            idle: Arc::clone(&idle),
            metrics: Arc::clone(&metrics),
        };
        let (keeper, mountpoint) = (request.keeper, request.mountpoint);
        let watch = signals::on_termination(
            move |termination| unmount_by_signal(&keeper, &mountpoint, termination.times),
            changed.at_each(),
        );
        Ok(Self {
            watch: watch.map_err(ServeError::other("watching for signals"))?,
            idle,
            metrics,
            heartbeat: heartbeat(fs).map_err(ServeError::other("the watchdog"))?,
            control,
            reporter,
        })
    }

    /// Ends them but for who answers `status`: dropped when all is committed, it tells who waits for that.
    pub(super) fn leave(self) -> Option<ControlServer> {
        drop((self.watch, self.idle, self.metrics, self.heartbeat));
        drop(self.reporter);
        self.control
    }
}

fn reporter(
    request: &ServeRequest,
    fs: &Arc<FileSystem>,
    runs: &Arc<RunHost>,
    transport: Transport,
    sandbox: SandboxReport,
) -> StatusReporter {
    let (mountpoint, read_only) = (request.mountpoint.clone(), request.read_only);
    StatusReporter {
        fs: Arc::clone(fs),
        runs: Arc::clone(runs),
        policy: PolicyHost::new(Arc::clone(fs), mountpoint.clone(), read_only),
        cipherdir: request.cipherdir.clone(),
        mountpoint,
        read_only,
        shared: !request.mount.exclusive,
        transport,
        hardening: request.hardening.clone(),
        sandbox,
        since: Instant::now(),
    }
}

fn heartbeat(fs: &Arc<FileSystem>) -> std::io::Result<Option<Heartbeat>> {
    let alive = Arc::clone(fs);
    Heartbeat::start(move || {
        // A lock that nobody lets go of any more would hold these up.
        let _stats = (alive.stats(), alive.volume().keyring_stats());
    })
}

fn start_control(mountpoint: &Path, mount: &Arc<dyn Served>) -> Option<ControlServer> {
    control::serve(mountpoint, mount)
        .inspect_err(|error| tracing::warn!(%error, "no control socket: `envelopefs status` will have no answer"))
        .ok()
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
