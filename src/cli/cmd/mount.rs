//! `envelopefs mount`: its arguments and the request they make. The request is the same whether
//! it comes from a person's command line or from mount(8).

mod audit;
mod needs;
mod reach;
mod reload;
mod run;
mod seal;
mod shown;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::audit::WhenFull;
use crate::cli::args::{KeyArgs, PassphraseArgs, PassphraseFrom};
use crate::cli::config::Settings;
use crate::cli::failure::Failure;
use crate::cli::options::{self, Atime, MountOption, UnknownOption};
use crate::cli::values::{self, ValueError};
use crate::daemon::idle::IdleTimes;
use crate::daemon::sandbox::Sandbox;
use crate::fuse::Transport;
use crate::units::KeyUri;

pub use audit::AuditTo;
pub(crate) use audit::{parse_full, show_full};
pub use run::run;
pub use seal::RequireSeal;

const AFTER: &str = "\
MOUNT OPTIONS (-o):
  ro, rw                      read-only, or not (default)
  allow_other                 as --allow-other
  default_permissions         let the kernel check permissions, by mode and owner
  dev, suid, exec             honour device files, set-uid bits, programs; each with `no` in
                              front to refuse them. Default: nodev, nosuid, exec
  atime, relatime, noatime    access times: at each read; as Linux has it by default; never.
                              Default: relatime
  fsname=TEXT                 the source that mount(8) and df show. Default: CIPHERDIR
  key=URI                     as --key; each one counts, also beside --key
  nonempty                    mount over a folder that holds something
  shared                      as --shared; so every other long option, with `_` for `-`:
                              accept_empty, acl, allow_unlocked_memory, audit=, audit_full=, cache_ttl=, export,
                              idle_lock=, idle_unmount=, key_cache_entries=, key_cache_ttl=, log_file=, log_format=, metrics=, offline_grace=,
                              passphrase_command=, passphrase_file=, provider_rate=, require_seal=, sandbox=,
                              threads=, transport=, wait=
  A backslash before a comma keeps it in a value; in a key's URI, %2C stands for one as well. Where an
  option comes twice the last one counts, key= apart; -o outranks the options outside it. Options for mount(8) and systemd (defaults, noauto, user,
  nofail, _netdev, x-…, comment=…) are passed over; an unknown option is an error.

EXAMPLES:
  envelopefs mount ~/secrets.enc ~/secrets
  envelopefs mount -f --read-only /srv/archive.enc /mnt
  envelopefs mount /srv/a.enc /srv/a -o allow_other,noatime,key_cache_ttl=1m
  /etc/fstab:  /srv/a.enc /srv/a envelopefs allow_other,passphrase_file=/etc/a.pass,nofail 0 0
  /etc/fstab:  /srv/b.enc /srv/b envelopefs key=pkcs11:token=t;object=k?pin-source=/etc/b.pin,nofail 0 0";

/// Arguments of `mount`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct MountArgs {
    /// The ciphertext folder, made by `envelopefs init`
    #[arg(value_name = "CIPHERDIR")]
    pub cipherdir: PathBuf,

    /// Where the plaintext appears: an empty folder outside CIPHERDIR
    #[arg(value_name = "MOUNTPOINT")]
    pub mountpoint: PathBuf,

    /// Stay in the foreground and log to stderr; Ctrl-C unmounts
    #[arg(short, long)]
    pub foreground: bool,

    /// Change nothing: neither through the mount nor in CIPHERDIR
    #[arg(long)]
    pub read_only: bool,

    /// Let other users in, as the files' modes and owners say
    ///
    /// Default: only the user who mounted. Needs `user_allow_other` in /etc/fuse.conf, unless root
    /// mounts.
    #[arg(long)]
    pub allow_other: bool,

    /// Enforce POSIX ACLs (setfacl, getfacl), and let them be set
    ///
    /// Default: an ACL cannot be set, and one that is there already is not looked at: the mode alone
    /// decides, in which an ACL's mask stands as the group's rights.
    #[arg(long)]
    pub acl: bool,

    /// Keep file handles good, as an NFS server and open_by_handle_at(2) need them
    ///
    /// Also after the kernel's caches were dropped; after a new mount where the ciphertext folder is
    /// on ext4 or the like. Needs CAP_DAC_READ_SEARCH. Default: good while the kernel holds the file.
    #[arg(long)]
    pub export: bool,

    /// Let other mounts of the same volume run, on this machine or another
    ///
    /// Changes show when a file is opened after it was closed elsewhere (close-to-open, as NFS has
    /// it), and the kernel caches less. Default: one mount at a time, which may cache everything.
    #[arg(long)]
    pub shared: bool,

    /// Refuse a volume that is not sealed: any, or the SHA-256 that `seal` printed
    ///
    /// Whoever can put back an older copy of the whole CIPHERDIR can put back one from before it was sealed, or from an earlier
    /// seal. This machine's own word for what it mounts is what stops him.
    #[arg(long, value_name = "any|SHA256")]
    pub require_seal: Option<RequireSeal>,

    /// How long to wait for another mount that has the volume and is about to end, 0 to 1h
    ///
    /// After an `umount` the process of the old mount still writes its last data. What is mounted on this machine is not
    /// waited for; a mount on another cannot be seen, and is waited for to the end.
    #[arg(long, value_name = "DURATION", value_parser = parse_wait, default_value = "10s")]
    pub wait: Duration,

    /// Mount options, separated by commas; see MOUNT OPTIONS
    #[arg(short, value_name = "OPTIONS")]
    pub options: Vec<String>,

    /// Drop the keys when nobody has used the mount for so long, 1s to 30d; 0, the default: never
    ///
    /// As `envelopefs lock` does it: the mount stays, and `unlock` gives it its keys again. A use is a request of the kernel;
    /// what that answers from its own cache is not seen, and a file that is only kept open is no use.
    #[arg(long, value_name = "DURATION", value_parser = parse_idle, default_value = "0", hide_default_value = true, help_heading = "Idleness")]
    pub idle_lock: Duration,

    /// Unmount when nobody has used the mount for so long and no file is open, 1s to 30d; 0, the default: never
    ///
    /// With a systemd automount it is mounted again by the next who looks.
    #[arg(long, value_name = "DURATION", value_parser = parse_idle, default_value = "0", hide_default_value = true, help_heading = "Idleness")]
    pub idle_unmount: Duration,

    /// Tell what happens, in lines that cannot be changed unnoticed: into FILE, or to journald
    ///
    /// Keys unwrapped and refused, accesses that the policy denies, damage; for whom, and by which program. FILE is
    /// made with mode 0600 and gone on from at the next mount; SIGHUP opens it anew (logrotate). docs/AUDIT.md says
    /// more. `-`, the default: nothing is told.
    #[arg(
        long,
        value_name = "FILE|journald",
        default_value = "-",
        hide_default_value = true,
        help_heading = "Audit"
    )]
    pub audit: AuditTo,

    /// When events come faster than they can be written: drop and count them, or fail what would need one
    ///
    /// With `fail` a file whose key cannot be had without an event does not open (EAGAIN), as on a full disk.
    #[arg(long, value_name = "drop|fail", value_parser = parse_full, default_value = "drop", help_heading = "Audit")]
    pub audit_full: WhenFull,

    /// Keep FILE filled with the mount's metrics, for Prometheus
    ///
    /// In the text format, written anew every 15 seconds in one step; readable for all; gone with the mount. A name that ends in
    /// .prom in the folder of node_exporter's textfile collector is all that it takes. docs/METRICS.md has the metrics.
    #[arg(long, value_name = "FILE", help_heading = "Metrics")]
    pub metrics: Option<PathBuf>,

    /// How many data keys stay unwrapped in locked memory, 1 to 1048576
    #[arg(long, value_name = "N", value_parser = parse_entries, default_value = "65536", help_heading = "Keys")]
    pub key_cache_entries: u32,

    /// How long an unwrapped data key is used before the provider is asked again, 1s to 1d
    ///
    /// The bound on how long a file stays readable after its key was revoked, while its provider
    /// answers; an open file's key is asked for again in time. A number is seconds; 90s, 5m, 1h say
    /// it plainly.
    #[arg(long, value_name = "DURATION", value_parser = parse_key_ttl, default_value = "5m", help_heading = "Keys")]
    pub key_cache_ttl: Duration,

    /// How long keys in use may be used beyond --key-cache-ttl while no provider answers, 0 to 7d
    ///
    /// Files that are open stay usable for so long in an outage. With 0 nothing is readable whose key
    /// was not confirmed within --key-cache-ttl.
    #[arg(long, value_name = "DURATION", value_parser = parse_grace, default_value = "1h", help_heading = "Keys")]
    pub offline_grace: Duration,

    /// Calls a second to one key provider, at most; 0: no bound
    ///
    /// A second's worth may come at once; more wait for up to 5 s. Does not count for `file:` keys.
    #[arg(long, value_name = "N", value_parser = parse_rate, default_value = "2000", help_heading = "Keys")]
    pub provider_rate: u32,

    /// Mount even where memory for keys cannot be locked, so that keys may reach swap
    ///
    /// Default: refuse. Raising the limit (ulimit -l, LimitMEMLOCK=) is better.
    #[arg(long, help_heading = "Keys")]
    pub allow_unlocked_memory: bool,

    /// What the serving process may do no more when the mount is there: full or off
    ///
    /// full: root's rights that serving does not need are dropped, no program is run, no files are opened but the
    /// volume's, those of its keys and those that it writes, and system calls that a mount does not make do not exist; or
    /// there is no mount. Default: the same, with a warning where the kernel lacks a part. With a passphrase command or a
    /// PKCS#11 module it may run programs and open files; with --export, open files. off: for debugging.
    #[arg(long, value_name = "full|off", value_parser = options::parse_sandbox, help_heading = "Tuning")]
    pub sandbox: Option<Sandbox>,

    /// Which keys may open the volume.
    #[command(flatten)]
    pub keys: KeyArgs,

    /// Where a passphrase comes from.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,

    /// Threads that serve requests, 1 to 256. Default: one for each processor
    #[arg(long, value_name = "N", value_parser = parse_threads, help_heading = "Tuning")]
    pub threads: Option<u32>,

    /// How requests come from the kernel: auto, dev or io_uring
    ///
    /// auto: over io_uring where the kernel offers it (Linux 6.14, with `echo 1 > /sys/module/fuse/parameters/enable_uring`),
    /// else by /dev/fuse. io_uring: so, or not at all. Over io_uring there is a thread for each processor, whatever --threads
    /// says.
    #[arg(long, value_name = "NAME", value_parser = options::parse_transport, default_value = "auto", help_heading = "Tuning")]
    pub transport: Transport,

    /// How long the kernel may keep names and attributes, 0 to 1d. Default: 1h; with --shared 1s
    #[arg(long, value_name = "DURATION", value_parser = parse_cache_ttl, help_heading = "Tuning")]
    pub cache_ttl: Option<Duration>,

    /// Read a file whose header a crash left unwritten as empty, instead of an I/O error
    #[arg(long, help_heading = "Tuning")]
    pub accept_empty: bool,

    /// Of `import`: exchange the names of MOUNTPOINT, with the mount, and this folder beside it
    #[arg(long, hide = true, value_name = "DIR", requires = "as_it_was")]
    pub take_place_of: Option<PathBuf>,

    /// Of `import`: only if the folder has this fingerprint
    #[arg(long, hide = true, value_name = "HEX", requires = "take_place_of", value_parser = parse_fingerprint)]
    pub as_it_was: Option<Fingerprint>,
}

/// By which a tree is known again; see [`crate::maint::mirror::Survey`].
pub type Fingerprint = [u8; 32];

fn parse_fingerprint(text: &str) -> Result<Fingerprint, ValueError> {
    let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).ok();
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| ValueError::OutOfRange {
        text: text.chars().take(80).collect(),
        range: "64 hex digits".to_owned(),
    })
}

fn parse_entries(text: &str) -> Result<u32, ValueError> {
    values::parse_count_in(text, options::KEY_CACHE_ENTRIES)
}

fn parse_threads(text: &str) -> Result<u32, ValueError> {
    values::parse_count_in(text, options::THREADS)
}

fn parse_key_ttl(text: &str) -> Result<Duration, ValueError> {
    values::parse_duration_in(text, options::KEY_CACHE_TTL)
}

fn parse_grace(text: &str) -> Result<Duration, ValueError> {
    values::parse_duration_in(text, options::OFFLINE_GRACE)
}

fn parse_rate(text: &str) -> Result<u32, ValueError> {
    values::parse_count_in(text, options::PROVIDER_RATE)
}

fn parse_wait(text: &str) -> Result<Duration, ValueError> {
    values::parse_duration_in(text, options::WAIT)
}

fn parse_idle(text: &str) -> Result<Duration, ValueError> {
    values::parse_duration_in(text, options::IDLE)
}

fn parse_cache_ttl(text: &str) -> Result<Duration, ValueError> {
    values::parse_duration_in(text, options::CACHE_TTL)
}

/// Whether other mounts of the volume may run meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// None: this mount is the only writer and the kernel may cache everything.
    #[default]
    Exclusive,
    /// Others may; close-to-open.
    Shared,
}

/// What the kernel is asked for, as mount(8) names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelOptions {
    /// Others than the user who mounted get in.
    pub allow_other: bool,
    /// The kernel checks permissions by POSIX ACLs too, and they can be set.
    pub acl: bool,
    /// File handles stay good after the kernel has forgotten the inode.
    pub export: bool,
    /// The kernel checks permissions by mode and owner.
    pub default_permissions: bool,
    /// Device files work.
    pub dev: bool,
    /// Set-uid and set-gid bits work.
    pub suid: bool,
    /// Programs run.
    pub exec: bool,
    /// Access times.
    pub atime: Atime,
    /// What stands as the mount's source; None: the ciphertext folder.
    pub fsname: Option<String>,
}

impl Default for KernelOptions {
    fn default() -> Self {
        Self {
            allow_other: false,
            acl: false,
            export: false,
            default_permissions: false,
            dev: false,
            suid: false,
            exec: true,
            atime: Atime::default(),
            fsname: None,
        }
    }
}

/// A mount that was asked for, every value inside its range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountRequest {
    /// The ciphertext folder as given.
    pub cipherdir: PathBuf,
    /// The mount point as given.
    pub mountpoint: PathBuf,
    /// Serve in this process, on this terminal.
    pub foreground: bool,
    /// Change nothing.
    pub read_only: bool,
    /// The mount point need not be empty.
    pub nonempty: bool,
    /// Whether other mounts may run meanwhile.
    pub sharing: Sharing,
    /// How long another mount that is about to end is waited for.
    pub wait: Duration,
    /// The seal that the volume must have.
    pub require_seal: Option<RequireSeal>,
    /// What the kernel is asked for.
    pub kernel: KernelOptions,
    /// Data keys that the keyring holds at most.
    pub key_cache_entries: u32,
    /// How long the keyring uses a data key before its provider is asked again.
    pub key_cache_ttl: Duration,
    /// How long keys in use may be used beyond that while no provider answers.
    pub offline_grace: Duration,
    /// Calls a second to one provider; 0: no bound.
    pub provider_rate: u32,
    /// Keys may lie in memory that is not locked.
    pub allow_unlocked_memory: bool,
    /// Where its metrics are kept.
    pub metrics: Option<PathBuf>,
    /// How long it may be unused before its keys go; zero: for ever.
    pub idle_lock: Duration,
    /// How long it may be unused before it is unmounted; zero: for ever.
    pub idle_unmount: Duration,
    /// Where audit lines go.
    pub audit: AuditTo,
    /// What becomes of audit events that find no room.
    pub audit_full: WhenFull,
    /// The keys that may be used; empty: any.
    pub keys: Vec<KeyUri>,
    /// Where a passphrase comes from.
    pub passphrase: PassphraseFrom,
    /// Threads that serve requests; None: one for each processor.
    pub threads: Option<u32>,
    /// What the serving process may do no more.
    pub sandbox: Sandbox,
    /// How requests come from the kernel.
    pub transport: Transport,
    /// How long the kernel may keep names and attributes; None: what `sharing` suggests.
    pub cache_ttl: Option<Duration>,
    /// A file without a header reads as empty.
    pub accept_empty: bool,
    /// The folder whose name the mount is to take, and what it must still be.
    pub take_place_of: Option<(PathBuf, Fingerprint)>,
}

/// The default of `--key-cache-entries`: 2 MiB of locked memory when full.
pub const DEFAULT_KEY_CACHE_ENTRIES: u32 = 65_536;
/// The default of `--key-cache-ttl`.
pub const DEFAULT_KEY_CACHE_TTL: Duration = Duration::from_mins(5);
/// The default of `--offline-grace`.
pub const DEFAULT_OFFLINE_GRACE: Duration = Duration::from_hours(1);
/// The default of `--provider-rate`.
pub const DEFAULT_PROVIDER_RATE: u32 = crate::keys::DEFAULT_RATE.get();
/// The default of `--wait`.
pub const DEFAULT_WAIT: Duration = Duration::from_secs(10);
/// The default of `--cache-ttl` for the only mount of a volume.
pub const DEFAULT_CACHE_TTL: Duration = Duration::from_hours(1);
/// The default of `--cache-ttl` with `--shared`.
pub const DEFAULT_SHARED_CACHE_TTL: Duration = Duration::from_secs(1);

/// Options of `-o` that concern the logs, not the mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// `log_file=`
    pub file: Option<PathBuf>,
    /// `log_format=`
    pub format: Option<crate::cli::logging::LogFormat>,
}

impl MountRequest {
    /// A mount with nothing but defaults.
    pub fn new(cipherdir: PathBuf, mountpoint: PathBuf) -> Self {
        Self {
            cipherdir,
            mountpoint,
            foreground: false,
            read_only: false,
            nonempty: false,
            sharing: Sharing::default(),
            require_seal: None,
            wait: DEFAULT_WAIT,
            kernel: KernelOptions::default(),
            key_cache_entries: DEFAULT_KEY_CACHE_ENTRIES,
            key_cache_ttl: DEFAULT_KEY_CACHE_TTL,
            offline_grace: DEFAULT_OFFLINE_GRACE,
            provider_rate: DEFAULT_PROVIDER_RATE,
            allow_unlocked_memory: false,
            metrics: None,
            idle_lock: Duration::ZERO,
            idle_unmount: Duration::ZERO,
            audit: AuditTo::default(),
            audit_full: WhenFull::default(),
            keys: Vec::new(),
            passphrase: PassphraseFrom::default(),
            threads: None,
            sandbox: Sandbox::default(),
            transport: Transport::default(),
            cache_ttl: None,
            accept_empty: false,
            take_place_of: None,
        }
    }

    /// What becomes of it while nobody uses it.
    pub fn idle_times(&self) -> IdleTimes {
        let some = |time: Duration| Some(time).filter(|time| !time.is_zero());
        IdleTimes {
            lock: some(self.idle_lock),
            unmount: some(self.idle_unmount),
        }
    }

    /// How long the kernel may keep names and attributes.
    pub fn effective_cache_ttl(&self) -> Duration {
        self.cache_ttl.unwrap_or(match self.sharing {
            Sharing::Exclusive => DEFAULT_CACHE_TTL,
            Sharing::Shared => DEFAULT_SHARED_CACHE_TTL,
        })
    }

    /// Takes what the configuration files say, but for what was given otherwise (by the names of the flags).
    pub fn follow(&mut self, settings: &Settings, given: &dyn Fn(&str) -> bool) {
        for (name, setting) in settings.iter().filter(|(name, _)| !given(name)) {
            // One place for a passphrase to come from.
            if name.starts_with("passphrase-")
                && (given("passphrase-file") || given("passphrase-command"))
            {
                continue;
            }
            for option in &setting.options {
                self.apply_one(option.clone(), &mut LogOptions::default());
            }
        }
    }

    /// Follows the texts behind each `-o`, in order; the last word counts.
    ///
    /// # Errors
    /// An option that is unknown or has a wrong value; it is named.
    pub fn apply(
        &mut self,
        texts: &[String],
        unknown: UnknownOption,
    ) -> Result<LogOptions, Failure> {
        let mut logs = LogOptions::default();
        for text in texts {
            let options = options::parse(text, unknown).map_err(|error| {
                Failure::usage("cannot follow the mount options", error)
                    .advise("`envelopefs mount --help` lists the mount options")
            })?;
            for option in options {
                self.apply_one(option, &mut logs);
            }
        }
        Ok(logs)
    }

    fn apply_one(&mut self, option: MountOption, logs: &mut LogOptions) {
        match option {
            MountOption::AcceptEmpty => self.accept_empty = true,
            MountOption::Acl => self.kernel.acl = true,
            MountOption::AllowOther => self.kernel.allow_other = true,
            MountOption::AllowUnlockedMemory => self.allow_unlocked_memory = true,
            MountOption::Audit(target) => self.audit = target,
            MountOption::AuditFull(full) => self.audit_full = full,
            MountOption::Atime(atime) => self.kernel.atime = atime,
            MountOption::CacheTtl(ttl) => self.cache_ttl = Some(ttl),
            MountOption::DefaultPermissions => self.kernel.default_permissions = true,
            MountOption::Dev(on) => self.kernel.dev = on,
            MountOption::Exec(on) => self.kernel.exec = on,
            MountOption::Export => self.kernel.export = true,
            MountOption::FsName(name) => self.kernel.fsname = Some(name),
            MountOption::IdleLock(time) => self.idle_lock = time,
            MountOption::IdleUnmount(time) => self.idle_unmount = time,
            MountOption::Key(uri) => self.keys.push(uri),
            MountOption::KeyCacheEntries(count) => self.key_cache_entries = count,
            MountOption::KeyCacheTtl(ttl) => self.key_cache_ttl = ttl,
            MountOption::LogFile(path) => logs.file = Some(path),
            MountOption::LogFormat(format) => logs.format = Some(format),
            MountOption::Metrics(path) => self.metrics = Some(path),
            MountOption::NonEmpty => self.nonempty = true,
            MountOption::OfflineGrace(grace) => self.offline_grace = grace,
            MountOption::PassphraseCommand(text) => self.passphrase = PassphraseFrom::Command(text),
            MountOption::PassphraseFile(path) => self.passphrase = PassphraseFrom::File(path),
            MountOption::ProviderRate(rate) => self.provider_rate = rate,
            MountOption::ReadOnly(on) => self.read_only = on,
            MountOption::RequireSeal(required) => self.require_seal = Some(required),
            MountOption::Sandbox(sandbox) => self.sandbox = sandbox,
            MountOption::Shared => self.sharing = Sharing::Shared,
            MountOption::Suid(on) => self.kernel.suid = on,
            MountOption::Threads(count) => self.threads = Some(count),
            MountOption::Transport(transport) => self.transport = transport,
            MountOption::Wait(limit) => self.wait = limit,
        }
    }
}

/// Keys of `-o` add up with those of flags, and take the place of those of a file.
pub fn options_have_key(texts: &[String]) -> bool {
    let parsed = texts
        .iter()
        .filter_map(|text| options::parse(text, UnknownOption::Skip).ok());
    parsed
        .flatten()
        .any(|option| matches!(option, MountOption::Key(_)))
}

impl MountArgs {
    /// The request that these arguments make, and what `-o` says of the logs.
    ///
    /// # Errors
    /// A mount option that cannot be followed.
    pub fn into_request(self) -> Result<(MountRequest, LogOptions), Failure> {
        self.into_request_over(&Settings::new(), &|_name| true)
    }

    /// The same over what the configuration files say; `given` tells whether a flag stands on the command line.
    ///
    /// # Errors
    /// As [`MountArgs::into_request`].
    pub fn into_request_over(
        self,
        settings: &Settings,
        given: &dyn Fn(&str) -> bool,
    ) -> Result<(MountRequest, LogOptions), Failure> {
        let has_key = options_have_key(&self.options);
        let mut request = MountRequest {
            foreground: self.foreground,
            read_only: self.read_only,
            sharing: if self.shared {
                Sharing::Shared
            } else {
                Sharing::Exclusive
            },
            require_seal: self.require_seal,
            wait: self.wait,
            kernel: KernelOptions {
                allow_other: self.allow_other,
                acl: self.acl,
                export: self.export,
                ..KernelOptions::default()
            },
            key_cache_entries: self.key_cache_entries,
            key_cache_ttl: self.key_cache_ttl,
            offline_grace: self.offline_grace,
            provider_rate: self.provider_rate,
            allow_unlocked_memory: self.allow_unlocked_memory,
            metrics: self.metrics,
            idle_lock: self.idle_lock,
            idle_unmount: self.idle_unmount,
            audit: self.audit,
            audit_full: self.audit_full,
            keys: self.keys.keys,
            passphrase: self.passphrase.into(),
            threads: self.threads,
            sandbox: self.sandbox.unwrap_or_default(),
            transport: self.transport,
            cache_ttl: self.cache_ttl,
            accept_empty: self.accept_empty,
            take_place_of: self.take_place_of.zip(self.as_it_was),
            ..MountRequest::new(self.cipherdir, self.mountpoint)
        };
        request.follow(settings, &|name| given(name) || (name == "key" && has_key));
        let logs = request.apply(&self.options, UnknownOption::Refuse)?;
        Ok((request, logs))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Cli, Command};
    use crate::cli::logging::LogFormat;

    fn args(line: &str) -> Result<MountArgs, clap::Error> {
        let line = format!("envelopefs mount {line}");
        match Cli::try_parse_from(line.split_whitespace())?.command {
            Command::Mount(args) => Ok(*args),
            other => panic!("{other:?}"),
        }
    }

    fn request(line: &str) -> MountRequest {
        args(line).unwrap().into_request().unwrap().0
    }

    fn defaults() -> MountRequest {
        MountRequest::new("c".into(), "m".into())
    }

    #[test]
    fn two_folders_alone_make_the_default_request() {
        assert_eq!(request("c m"), defaults());
    }

    #[test]
    fn options_and_flags_make_the_same_request() {
        let flags = "c m --read-only --allow-other --acl --export --shared --key-cache-entries 9 --key-cache-ttl 90s --threads 3 \
                     --offline-grace 0 --provider-rate 7 \
                     --accept-empty --allow-unlocked-memory --passphrase-file /p --cache-ttl 0 --audit /a --audit-full fail \
                     --wait 1m --transport dev --idle-lock 10m --idle-unmount 1h --metrics /m.prom";
        let options = "c m -o ro,allow_other,acl,export,shared,key_cache_entries=9,key_cache_ttl=90s -o \
                       offline_grace=0,provider_rate=7,threads=3,accept_empty,allow_unlocked_memory,passphrase_file=/p,cache_ttl=0 \
                       -o audit=/a,audit_full=fail,wait=1m,transport=dev,idle_lock=10m,idle_unmount=1h,metrics=/m.prom";
        assert_eq!(request(flags), request(options));
    }

    #[test]
    fn keys_add_up_wherever_they_are_given() {
        let uris: Vec<KeyUri> = [
            "passphrase:",
            "file:///a",
            "pkcs11:object=a,b?pin-source=/p",
        ]
        .map(|uri| uri.parse().unwrap())
        .to_vec();
        let line =
            r"c m --key passphrase: -o ro,key=file:///a,key=pkcs11:object=a\,b?pin-source=/p,nodev";
        let request = request(line);
        assert_eq!(request.keys, uris);
        assert!(request.read_only);
        for wrong in ["c m --key x", "c m --key", "c m --key ../a:b"] {
            assert!(args(wrong).is_err(), "{wrong}");
        }
        for wrong in [
            "c m -o key",
            "c m -o key=",
            "c m -o key=x",
            "c m -o key=pkcs11:object=a,b",
        ] {
            assert!(args(wrong).unwrap().into_request().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_last_option_counts_and_outranks_the_flags() {
        assert!(!request("c m --read-only -o ro -o rw").read_only);
        assert!(request("c m -o rw,ro").read_only);
        assert_eq!(request("c m --threads 2 -o threads=5").threads, Some(5));
    }

    #[test]
    fn kernel_options_start_careful() {
        let kernel = request("c m").kernel;
        assert!(!kernel.dev && !kernel.suid && kernel.exec && !kernel.allow_other);
        let kernel = request("c m -o dev,suid,noexec,noatime,fsname=x").kernel;
        assert!(kernel.dev && kernel.suid && !kernel.exec);
        assert_eq!(
            (kernel.atime, kernel.fsname.as_deref()),
            (Atime::Never, Some("x"))
        );
    }

    #[test]
    fn cache_time_follows_sharing_unless_given() {
        assert_eq!(request("c m").effective_cache_ttl(), DEFAULT_CACHE_TTL);
        assert_eq!(
            request("c m --shared").effective_cache_ttl(),
            DEFAULT_SHARED_CACHE_TTL
        );
        let given = request("c m --shared --cache-ttl 5m").effective_cache_ttl();
        assert_eq!(given, Duration::from_mins(5));
    }

    #[test]
    fn log_options_are_told_apart() {
        let (_, logs) = args("c m -o log_file=/l,log_format=json")
            .unwrap()
            .into_request()
            .unwrap();
        assert_eq!(
            logs,
            LogOptions {
                file: Some("/l".into()),
                format: Some(LogFormat::Json)
            }
        );
    }

    #[test]
    fn an_unknown_mount_option_is_named() {
        let failure = args("c m -o ro,frob=1")
            .unwrap()
            .into_request()
            .unwrap_err();
        assert!(failure.to_string().contains("\"frob\""), "{failure}");
        assert_eq!(failure.exit(), crate::cli::exit::Exit::Usage);
    }

    #[test]
    fn values_outside_their_range_are_refused() {
        for line in [
            "c m --threads 0",
            "c m --threads 257",
            "c m --key-cache-ttl 0",
            "c m --key-cache-ttl 25h",
            "c m --key-cache-entries 0",
            "c m --offline-grace 8d",
            "c m --provider-rate 1000001",
            "c m --provider-rate -1",
            "c m --cache-ttl x",
            "c m --wait 61m",
            "c m --wait -1",
            "c m --idle-lock 31d",
            "c m --idle-unmount -1",
            "c",
            "c m x",
            "c m --audit-full wait",
            "c m --passphrase-file a --passphrase-command b",
        ] {
            assert!(args(line).is_err(), "{line}");
        }
    }
}
