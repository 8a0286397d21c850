//! A mount: its options, its threads, its end.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fuser::{Config, MountOption, Session, SessionACL};

use crate::fs::FileSystem;

use super::adapter::Adapter;
use super::cache::Caches;
use super::capabilities::Features;

/// How requests come from the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// Over io_uring where the kernel offers it and this process may use it, else by /dev/fuse.
    #[default]
    Auto,
    /// By reads and writes of /dev/fuse.
    Dev,
    /// Over io_uring (Linux 6.14, `fuse.enable_uring`), or there is no mount.
    IoUring,
}

impl Transport {
    /// As the command line has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Dev => "dev",
            Self::IoUring => "io_uring",
        }
    }

    /// Of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::Auto, Self::Dev, Self::IoUring]
            .into_iter()
            .find(|transport| transport.name() == name)
    }
}

/// What the kernel is told at the mount.
#[derive(Debug, Clone)]
pub struct MountConfig {
    /// Options as mount(8) spells them, for example `ro` or `fsname=…`.
    pub options: Vec<String>,
    /// Whether users other than the one who mounts may use the mount.
    pub allow_other: bool,
    /// Whether no other mount can change the volume: then the kernel caches for hours.
    pub exclusive: bool,
    /// Whether the kernel checks and keeps POSIX ACLs.
    pub acl: bool,
    /// Whether inodes are found by number after the kernel has forgotten them.
    pub export: bool,
    /// How long the kernel may keep names and attributes.
    pub cache_ttl: Duration,
    /// Threads that serve requests which come by /dev/fuse. Over io_uring there is one for each processor.
    pub threads: usize,
    /// How requests come.
    pub transport: Transport,
}

impl MountConfig {
    pub(super) fn features(&self) -> Features {
        Features {
            exclusive: self.exclusive,
            acl: self.acl,
            export: self.export,
            // fuser lets in only whose id it sees, and with idmapped mounts most requests carry none.
            idmap: self.allow_other,
        }
    }
}

/// A mount whose requests are not served yet.
#[derive(Debug)]
pub struct Mounted {
    session: Session<Adapter>,
    fs: Arc<FileSystem>,
}

/// Mounts `fs` at `mountpoint`. Requests wait until [`Mounted::serve`].
///
/// # Errors
/// What `mount(2)` or fusermount3 answers.
pub fn mount(fs: Arc<FileSystem>, mountpoint: &Path, config: &MountConfig) -> io::Result<Mounted> {
    let mut options = Config::default();
    options.mount_options = config
        .options
        .iter()
        .map(|option| mount_option(option))
        .collect();
    // The kernel judges permissions by owner and mode, for each caller.
    options.mount_options.push(MountOption::DefaultPermissions);
    options.acl = if config.allow_other {
        SessionACL::All
    } else {
        SessionACL::Owner
    };
    options.n_threads = Some(config.threads);
    options.clone_fd = true;
    options.io_uring = config.transport != Transport::Dev;
    let notifier = Arc::new(OnceLock::new());
    let adapter = Adapter::new(Arc::clone(&fs), config, Arc::clone(&notifier))?;
    let session = Session::new(adapter, mountpoint, &options)?;
    if config.transport == Transport::IoUring && !session.is_over_io_uring() {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the kernel does not offer FUSE over io_uring (Linux 6.14 or later, with `echo 1 > /sys/module/fuse/parameters/enable_uring`), or this process may not use it",
        ));
    }
    notifier.get_or_init(|| session.notifier());
    fs.set_kernel_cache(Arc::new(Caches(session.notifier())));
    Ok(Mounted { session, fs })
}

fn mount_option(option: &str) -> MountOption {
    match option {
        "ro" => MountOption::RO,
        "rw" => MountOption::RW,
        "dev" => MountOption::Dev,
        "nodev" => MountOption::NoDev,
        "suid" => MountOption::Suid,
        "nosuid" => MountOption::NoSuid,
        "exec" => MountOption::Exec,
        "noexec" => MountOption::NoExec,
        "atime" => MountOption::Atime,
        "noatime" => MountOption::NoAtime,
        "dirsync" => MountOption::DirSync,
        "sync" => MountOption::Sync,
        "async" => MountOption::Async,
        other => match other.split_once('=') {
            Some(("fsname", name)) => MountOption::FSName(name.to_owned()),
            // `subtype=` among them: fuser knows it, but does not tell the kernel.
            _ => MountOption::CUSTOM(other.to_owned()),
        },
    }
}

impl Mounted {
    /// How requests come: never [`Transport::Auto`].
    #[must_use]
    pub fn transport(&self) -> Transport {
        match self.session.is_over_io_uring() {
            true => Transport::IoUring,
            false => Transport::Dev,
        }
    }

    /// Serves requests until the mount ends, and then commits all that was written; says whether every commit
    /// succeeded.
    ///
    /// # Errors
    /// What reading from /dev/fuse answers, but for the mount's end.
    pub fn serve(self) -> io::Result<bool> {
        let served = run(self.session);
        let committed = self.fs.shut_down();
        served.map(|()| committed)
    }
}

/// Serves until the mount ends.
///
/// fuser 0.18 unmounts by path once more when a session is dropped, also one whose mount is gone: what somebody
/// else has mounted there meanwhile would go. So that part of it is dropped only after an error, when the mount may
/// still be there.
fn run(session: Session<Adapter>) -> io::Result<()> {
    let mut background = session.spawn()?;
    let nothing = std::thread::spawn(|| Ok(()));
    let serving = std::mem::replace(&mut background.guard, nothing);
    let served = serving
        .join()
        .unwrap_or_else(|_panic| Err(io::Error::other("a thread that served requests panicked")));
    if served.is_ok() {
        Box::leak(Box::new(background));
    }
    served
}
