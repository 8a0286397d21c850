//! Mounts the volume and serves it.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::reload::reload;
use super::{MountRequest, Sharing, audit, needs, reach, seal};
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, chain};
use crate::cli::logging::Logs;
use crate::cli::options::Atime;
use crate::cli::providers::GivenKeys;
use crate::cli::volume_run::serving;
use crate::cli::{errors, providers};
use crate::crypto::MemoryPolicy;
use crate::daemon::background::{self, Readiness, Side, StartOutcome};
use crate::daemon::harden;
use crate::daemon::keeper::{self, Beside, Keeper};
use crate::daemon::mountpoint::{self, Contents};
use crate::daemon::place::{PlaceError, TakesPlace};
use crate::daemon::policy;
use crate::daemon::sandbox::{self, Needs, Sandbox};
use crate::daemon::scout;
use crate::daemon::serve::{self, ServeError, ServeRequest};
use crate::format::volume_config::KeyScope;
use crate::fs::FsOptions;
use crate::fuse::{MountConfig, Transport};
use crate::keys::Confirm;
use crate::lookups;
use crate::policy::Policy;
use crate::volume::{self, UnlockOptions, Volume, VolumeError};

/// Mounts a volume. In the background it returns in the process that the user started, when the
/// mount works; in the foreground when the mount has ended.
///
/// # Errors
/// Why the volume cannot be mounted there.
pub fn run(request: &MountRequest, logs: &Logs) -> Result<(), Failure> {
    let what = what(request);
    let contents = if request.nonempty {
        Contents::Any
    } else {
        Contents::Nothing
    };
    if let Err(error) = std::fs::metadata(&request.cipherdir) {
        return Err(Failure::new(Exit::NotAVolume, what, error).advise(format!(
            "make a volume with `envelopefs init {}`",
            request.cipherdir.display()
        )));
    }
    let mountpoint = mountpoint::check(&request.mountpoint, &request.cipherdir, contents);
    let mountpoint = mountpoint.map_err(|error| not_usable(&what, &error))?;
    if request.foreground {
        return serve(request, mountpoint, logs, Readiness::foreground());
    }
    match background::split().map_err(|error| Failure::new(Exit::Failure, &what, error))? {
        Side::Starter(started) => report(&what, started.wait()),
        Side::Mount(readiness) => serve(request, mountpoint, logs, readiness),
    }
}

fn what(request: &MountRequest) -> String {
    format!("cannot mount {}", request.cipherdir.display())
}

/// The starter's end: the child's word is the command's.
fn report(what: &str, outcome: StartOutcome) -> Result<(), Failure> {
    match outcome {
        StartOutcome::Works => Ok(()),
        StartOutcome::Failed { exit, message } => Err(Failure::reported(
            Exit::from_number(exit).unwrap_or(Exit::Failure),
            message,
        )),
        StartOutcome::Vanished { how } => Err(Failure::new(Exit::Failure, what, how)
            .advise("mount with --foreground to see what happens")),
    }
}

/// Does all the work, in the process that serves the mount; what keeps it from starting goes to the starter.
fn serve(
    request: &MountRequest,
    mountpoint: PathBuf,
    logs: &Logs,
    readiness: Readiness,
) -> Result<(), Failure> {
    let what = what(request);
    let needs = needs::of(request);
    if let Some(duty) =
        scout(request, needs).map_err(|error| Failure::new(Exit::Failure, &what, error))?
    {
        drop(readiness);
        return duty
            .answer()
            .map_err(|error| Failure::new(Exit::Failure, what, error));
    }
    let place = request.take_place_of.as_ref();
    let beside = keeper::start(place.map_or(&mountpoint, |(folder, _)| folder));
    let keeper = match beside.map_err(|error| Failure::new(Exit::Failure, &what, error))? {
        Beside::Keeper(duty) => {
            // The starter waits for the other process alone.
            drop(readiness);
            return duty
                .keep()
                .map_err(|error| Failure::new(Exit::Failure, what, error));
        }
        Beside::Server(keeper) => keeper,
    };
    let background = readiness.is_background();
    let mut readiness = Some(readiness);
    let served = prepare(request, mountpoint, logs, (keeper, needs)).and_then(|prepared| {
        let served = serve::serve(prepared, || {
            if background {
                logs.leave_terminal();
            }
            readiness.take().map_or(Ok(()), Readiness::works)
        });
        served.map_err(|error| cannot_serve(request, &error))
    });
    match (served, readiness) {
        (Err(failure), Some(readiness)) if background => {
            if !readiness.failed(failure.exit().number(), &failure.to_string()) {
                tracing::error!(%failure, "nobody waits for this");
            }
            Err(Failure::reported(failure.exit(), String::new()))
        }
        (served, _) => served,
    }
}

/// Forks the scout of a mount that will not be able to look itself; in the scout, what it has to do.
fn scout(request: &MountRequest, needs: Needs) -> std::io::Result<Option<scout::Duty>> {
    if request.sandbox == Sandbox::Off || !needs.is_bounded() {
        return Ok(None);
    }
    Ok(match scout::start()? {
        scout::Beside::Scout(duty) => Some(duty),
        scout::Beside::Server(scout) => {
            lookups::through(Box::new(scout));
            None
        }
    })
}

fn prepare(
    request: &MountRequest,
    mountpoint: PathBuf,
    logs: &Logs,
    (keeper, needs): (Keeper, Needs),
) -> Result<ServeRequest, Failure> {
    let what = what(request);
    // A sealed volume is never written. What it says of that is proven when it is opened.
    let sealed = volume::says_sealed(&request.cipherdir);
    let sealed = sealed.map_err(|error| errors::volume(&what, &error))?;
    let request = &MountRequest {
        read_only: request.read_only || sealed,
        ..request.clone()
    };
    let hardening =
        harden::harden().map_err(|error| Failure::new(Exit::Failure, &what, chain(&error)))?;
    let reduced = sandbox::reduce(request.sandbox, needs)
        .map_err(|error| Failure::new(Exit::Failure, &what, error).advise(WITHOUT_SANDBOX))?;
    let volume = open(&what, request)?;
    // Nobody changes a sealed volume while it is mounted anywhere.
    let exclusive = request.sharing == Sharing::Exclusive || sealed;
    let taken = request.take_place_of.as_ref();
    let place = taken.map_or(&mountpoint, |(folder, _)| folder).clone();
    let terms = terms(&what, request, &volume, &place);
    let terms = terms.and_then(|terms| Ok((terms, seal::check(&what, request, &volume)?)));
    // Nobody wrote: a mount that is refused leaves the next nothing to look over.
    let (terms, seal) = terms.inspect_err(|_refused| serve::mark_clean(&volume))?;
    let reach = reach::of(request, &volume.config().keys, terms.metrics.as_deref());
    Ok(ServeRequest {
        volume: Arc::new(volume),
        fs: FsOptions {
            seal,
            accept_empty: request.accept_empty,
            shared: !exclusive,
            offline_grace: request.offline_grace,
            acl: request.kernel.acl,
            export: request.kernel.export,
            noatime: request.kernel.atime == Atime::Never,
            ..FsOptions::default()
        },
        mount: mount_config(request, &terms.cipherdir.to_string_lossy(), exclusive),
        reload: reload(request, logs, terms.cipherdir.clone(), place.clone()),
        cipherdir: terms.cipherdir,
        mountpoint: place,
        takes_place: taken.map(|(_, fingerprint)| TakesPlace {
            mounted_at: mountpoint,
            fingerprint: *fingerprint,
        }),
        policy: terms.policy,
        read_only: request.read_only,
        idle: request.idle_times(),
        metrics: terms.metrics,
        hardening,
        keeper: Arc::new(keeper),
        sandbox: request.sandbox,
        needs,
        reach,
        reduced,
    })
}

/// Unlocks the volume, in memory that is locked.
fn open(what: &str, request: &MountRequest) -> Result<Volume, Failure> {
    let policy = if request.allow_unlocked_memory {
        MemoryPolicy::BestEffort
    } else {
        MemoryPolicy::Required
    };
    providers::lock_memory(what, policy)?;
    let providers = GivenKeys::only(what, &request.keys)?
        .limited_to(NonZeroU32::new(request.provider_rate))
        .providers(&request.passphrase, Confirm::No);
    let unlock = UnlockOptions {
        sharing: if request.sharing == Sharing::Exclusive {
            volume::Sharing::Exclusive
        } else {
            volume::Sharing::Shared
        },
        read_only: request.read_only,
        key_cache_entries: request.key_cache_entries as usize,
        key_cache_ttl: request.key_cache_ttl,
    };
    let volume = free_volume(request, || {
        volume::open(&request.cipherdir, &unlock, Arc::clone(&providers))
    });
    volume.map_err(|error| errors::volume(what, &error))
}

const WITHOUT_SANDBOX: &str = "without --sandbox full, the mount does with what the kernel has";

/// On what terms an open volume is mounted.
struct Terms {
    cipherdir: PathBuf,
    policy: Option<Policy>,
    metrics: Option<PathBuf>,
}

/// Sees that the volume may be mounted as it is asked for, and begins its audit.
fn terms(
    what: &str,
    request: &MountRequest,
    volume: &Volume,
    mountpoint: &Path,
) -> Result<Terms, Failure> {
    if !request.read_only {
        may_make_files(what, volume)?;
    }
    let cipherdir = std::fs::canonicalize(&request.cipherdir)
        .map_err(|error| Failure::new(Exit::NotAVolume, what, error))?;
    let policy = volume
        .policy()
        .map_err(|error| errors::volume(what, &error))?;
    if let Some(stored) = &policy {
        policy::check(stored, mountpoint).map_err(|why| {
            Failure::new(Exit::Failure, what, why)
                .advise("name the executable where it stands outside the mount")
        })?;
    }
    let metrics = request.metrics.as_deref();
    let metrics =
        metrics.map(|path| audit::outside(what, ("--metrics", path), &cipherdir, mountpoint));
    let metrics = metrics.transpose()?;
    audit::begin(volume, request, &cipherdir, mountpoint, policy.as_ref())?;
    Ok(Terms {
        cipherdir,
        policy: policy.map(|stored| stored.policy),
        metrics,
    })
}

/// A new file has a slot for each of the volume's keys, whatever opens the volume here.
fn may_make_files(what: &str, volume: &Volume) -> Result<(), Failure> {
    let config = volume.config();
    let providers = volume.providers();
    let missing = config.keys.iter().find(|uri| !providers.may_use(uri));
    match (config.key_scope, missing) {
        (KeyScope::File, Some(uri)) => {
            let why = format!("new files are wrapped under {uri} too, which was not given");
            Err(Failure::new(Exit::KeyDenied, what, why)
                .advise("give it by --key as well, or mount with --read-only"))
        }
        (KeyScope::File | KeyScope::Volume, _) => Ok(()),
    }
}

/// How long a wait for another mount goes unmentioned, and how often it is looked.
const SAID_AFTER: Duration = Duration::from_secs(2);
const LOOKS_EVERY: Duration = Duration::from_millis(50);

/// Opens the volume. One that another process holds is waited for where no mount of it is to be seen: that process is about
/// to end, and writes its last data.
fn free_volume(
    request: &MountRequest,
    open: impl Fn() -> Result<Volume, VolumeError>,
) -> Result<Volume, VolumeError> {
    let (begun, mut said) = (Instant::now(), false);
    loop {
        let held = match open() {
            Err(error @ VolumeError::InUse(_)) => error,
            opened => return opened,
        };
        if begun.elapsed() >= request.wait || serving(&request.cipherdir).is_some() {
            return Err(held);
        }
        if !said && begun.elapsed() >= SAID_AFTER {
            said = true;
            tracing::warn!(
                volume = %request.cipherdir.display(),
                "waiting for the process of another mount to write its last data and let go of the volume"
            );
        }
        thread::sleep(LOOKS_EVERY.min(request.wait));
    }
}

fn mount_config(request: &MountRequest, cipherdir: &str, exclusive: bool) -> MountConfig {
    let kernel = &request.kernel;
    let or_no = |on: bool, name: &str| {
        if on {
            name.to_owned()
        } else {
            format!("no{name}")
        }
    };
    let mut options = vec![
        format!("fsname={}", kernel.fsname.as_deref().unwrap_or(cipherdir)),
        "subtype=envelopefs".to_owned(),
        if request.read_only { "ro" } else { "rw" }.to_owned(),
        or_no(kernel.dev, "dev"),
        or_no(kernel.suid, "suid"),
        or_no(kernel.exec, "exec"),
    ];
    match kernel.atime {
        Atime::Strict => options.push("atime".to_owned()),
        Atime::Never => options.push("noatime".to_owned()),
        Atime::Relative => {}
    }
    MountConfig {
        options,
        allow_other: kernel.allow_other,
        acl: kernel.acl,
        export: kernel.export,
        exclusive,
        cache_ttl: request.effective_cache_ttl(),
        threads: request
            .threads
            .map_or_else(serve::default_threads, |threads| threads as usize),
        transport: request.transport,
    }
}

fn not_usable(what: &str, error: &mountpoint::MountpointError) -> Failure {
    use mountpoint::MountpointError as Error;
    let failure = Failure::new(Exit::Mountpoint, what, chain(error));
    match error {
        Error::AlreadyMounted(_) => failure.advise("`envelopefs umount` it first"),
        Error::HoldsVolume(_) | Error::InsideVolume(_) => {
            failure.advise("choose a mount point apart from the volume")
        }
        Error::Missing(path) => failure.advise(format!("make it: mkdir {}", path.display())),
        Error::NotEmpty(_) => {
            failure.advise("choose an empty folder, or hide what it holds with -o nonempty")
        }
        Error::NotAFolder(_) | Error::Unusable { .. } => failure,
    }
}

fn cannot_serve(request: &MountRequest, error: &ServeError) -> Failure {
    let what = what(request);
    match error {
        ServeError::Mount(source) if is_without_fuse(source) => {
            Failure::new(Exit::NoFuse, what, "there is no /dev/fuse, or this user may not open it")
                .advise("install fuse3 and load the kernel's module (modprobe fuse), or ask for access to /dev/fuse")
        }
        ServeError::Mount(source) if source.to_string().contains("user_allow_other") => {
            Failure::new(Exit::NoFuse, what, source.to_string().trim().to_owned())
                .advise("put `user_allow_other` into /etc/fuse.conf, or mount as root")
        }
        ServeError::Mount(source)
            if request.transport == Transport::IoUring && source.kind() == std::io::ErrorKind::Unsupported =>
        {
            Failure::new(Exit::NoFuse, what, source.to_string())
                .advise("`--transport auto` takes /dev/fuse then")
        }
        ServeError::Mount(source) => Failure::new(Exit::NoFuse, what, source.to_string().trim().to_owned())
            .advise("see that fusermount3 is installed (package fuse3), or mount as root"),
        ServeError::Place(PlaceError::Changed(_)) => Failure::new(Exit::Busy, what, chain(error))
            .advise("stop what writes there"),
        error => Failure::new(Exit::Failure, what, chain(error)),
    }
}

fn is_without_fuse(error: &std::io::Error) -> bool {
    let device = Path::new("/dev/fuse");
    let refused = [libc::ENODEV, libc::EACCES]
        .map(Some)
        .contains(&error.raw_os_error());
    !device.exists() || refused
}
