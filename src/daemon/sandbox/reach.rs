//! Which files and ports a mount reaches, as Landlock rules.
//!
//! A rule stands for a folder as it is when the rule is made, and for all that will ever be below it. So what may be
//! replaced by a rename is reached through its folder.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort,
    PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _,
    RulesetError, Scope, make_bitflags,
};

use crate::daemon::harden::threads;

/// The least that is of use: before it no file could be renamed into another folder (Linux 5.19).
const LEAST: ABI = ABI::V2;
/// All that is asked for where the kernel has it.
const MOST: ABI = ABI::V6;
/// From it on threads that were restricted one by one may still send each other signals.
const THREADS_SIGNAL: ABI = ABI::V7;

/// What this machine has for every program that asks a server: authorities of TLS, and how the C library and Rust's
/// look at the machine. Names are the scout's.
const OF_THE_MACHINE: &[&str] = &[
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    "/etc/localtime",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/proc",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
    "/usr/lib/ssl",
    "/usr/local/share/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/share/pki",
    "/usr/share/zoneinfo",
    "/var/lib/ca-certificates",
];

/// The kernel's end of a mount, and what every program may have.
const DEVICES: &[&str] = &[
    "/dev/fuse",
    "/dev/null",
    "/dev/random",
    "/dev/urandom",
    "/dev/zero",
];

/// What a mount reaches of this machine besides its ciphertext folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Folders in which it reads, writes and replaces files.
    pub kept: BTreeSet<PathBuf>,
    /// Files and folders that it reads.
    pub read: BTreeSet<PathBuf>,
    /// TCP ports that it connects to; None: any.
    pub ports: Option<BTreeSet<u16>>,
}

impl Reach {
    /// Adds a file that is read again later, and may be another by then.
    pub fn read_file(&mut self, path: &Path) {
        self.read.extend(places(path));
    }

    /// Adds a file that is written, or replaced.
    pub fn keep_file(&mut self, path: &Path) {
        self.kept.extend(places(path));
    }

    /// The rules, with all of `cipherdir`.
    ///
    /// # Errors
    /// The kernel has no Landlock, or too little of it.
    pub(super) fn rules(&self, cipherdir: &Path) -> io::Result<OwnedFd> {
        let abi = available()?;
        let rules = self.handled(abi).map_err(io::Error::other)?;
        let own = AccessFs::from_all(MOST) & !AccessFs::Execute;
        let rules = allow(rules, [cipherdir], own)?;
        let rules = allow(rules, self.kept.iter().map(PathBuf::as_path), kept())?;
        let read = self.read.iter().map(PathBuf::as_path);
        let rules = allow(rules, read.chain(paths(OF_THE_MACHINE)), read_only())?;
        let devices = make_bitflags!(AccessFs::{ReadFile | WriteFile | IoctlDev});
        let rules = allow(rules, paths(DEVICES), devices)?;
        let ports = self.ports.iter().flatten();
        let rules = ports
            .map(|port| NetPort::new(*port, AccessNet::ConnectTcp))
            .try_fold(rules, RulesetCreated::add_rule)
            .map_err(io::Error::other)?;
        Option::from(rules).ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// What is refused unless a rule allows it.
    fn handled(&self, abi: ABI) -> Result<RulesetCreated, RulesetError> {
        let tcp = match self.ports {
            Some(_) => AccessNet::BindTcp | AccessNet::ConnectTcp,
            None => AccessNet::BindTcp.into(),
        };
        let rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(MOST))?
            .handle_access(tcp)?;
        let rules = match scopes(abi, std::env::var_os("NOTIFY_SOCKET").is_some()) {
            scopes if scopes.is_empty() => rules,
            scopes => rules.scope(scopes)?,
        };
        rules.create()
    }
}

/// The kernel's Landlock.
fn available() -> io::Result<ABI> {
    let abi = ABI::from(threads::landlock_version());
    if abi < LEAST {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the kernel has no Landlock (Linux 5.19 or later, and `landlock` among its lsm=)",
        ));
    }
    Ok(abi)
}

/// Other processes: no signals to them, and none of their sockets without a path. A service manager's may be one.
fn scopes(abi: ABI, notifies: bool) -> BitFlags<Scope> {
    let mut scopes = BitFlags::empty();
    if !notifies {
        scopes |= Scope::AbstractUnixSocket;
    }
    if abi >= THREADS_SIGNAL {
        scopes |= Scope::Signal;
    }
    scopes
}

fn read_only() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir
}

fn kept() -> BitFlags<AccessFs> {
    let write = make_bitflags!(AccessFs::{WriteFile | Truncate | MakeReg | MakeSock | RemoveFile});
    read_only() | write
}

fn paths<'a>(all: &'a [&'a str]) -> impl Iterator<Item = &'a Path> {
    all.iter().map(Path::new)
}

/// What is not there needs no rule: nothing that comes to be there later is reached.
fn allow<'a>(
    rules: RulesetCreated,
    paths: impl IntoIterator<Item = &'a Path>,
    access: BitFlags<AccessFs>,
) -> io::Result<RulesetCreated> {
    let opened = paths.into_iter().filter_map(|path| PathFd::new(path).ok());
    opened
        .map(|path| PathBeneath::new(path, access))
        .try_fold(rules, RulesetCreated::add_rule)
        .map_err(io::Error::other)
}

/// Where a file is reached: the folder of its name, and that of what the name leads to. In the root folder, which would
/// be everything, and in one that is many programs' own, the file alone as it is now.
fn places(path: &Path) -> Vec<PathBuf> {
    let real = std::fs::canonicalize(path).ok();
    let place = |path: &Path| match path.parent() {
        Some(folder) if !is_shared(folder) => folder.to_owned(),
        _ => path.to_owned(),
    };
    let named = path.is_absolute().then(|| place(path));
    named
        .into_iter()
        .chain(real.as_deref().map(place))
        .collect()
}

/// Folders that hold what is other programs' and other users'. A home folder is not one: people have their keys there.
fn is_shared(folder: &Path) -> bool {
    const SHARED: &[&str] = &[
        "/", "/etc", "/home", "/run", "/srv", "/tmp", "/usr", "/var", "/var/tmp",
    ];
    paths(SHARED).any(|shared| folder == shared)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_is_reached_through_its_folder_and_that_of_what_it_leads_to() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().canonicalize().unwrap();
        for name in ["a", "b"] {
            std::fs::create_dir(root.join(name)).unwrap();
        }
        std::fs::write(root.join("b/token"), "").unwrap();
        symlink("../b/token", root.join("a/token")).unwrap();
        let mut reach = Reach::default();
        reach.read_file(&root.join("a/token"));
        assert_eq!(reach.read, BTreeSet::from([root.join("a"), root.join("b")]));
        reach.keep_file(&root.join("a/not there yet"));
        assert_eq!(reach.kept, BTreeSet::from([root.join("a")]));
    }

    #[test]
    fn a_folder_of_everybody_is_not_opened_for_one_file() {
        assert_eq!(
            places(Path::new("/no-such-token")),
            [Path::new("/no-such-token")]
        );
        assert_eq!(
            places(Path::new("/tmp/no-such-token")),
            [Path::new("/tmp/no-such-token")]
        );
        assert!(places(Path::new("relative/no-such-token")).is_empty());
    }

    #[test]
    fn signals_and_hidden_sockets_are_bounded_where_that_does_no_harm() {
        assert!(scopes(ABI::V6, true).is_empty());
        assert_eq!(
            scopes(ABI::V6, false),
            BitFlags::from(Scope::AbstractUnixSocket)
        );
        assert_eq!(scopes(ABI::V7, true), BitFlags::from(Scope::Signal));
    }

    #[test]
    fn rules_can_be_made_of_what_is_there_and_of_what_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let reach = Reach {
            read: ["/etc/hostname", "/nonexistent"].map(PathBuf::from).into(),
            kept: [folder.path().to_owned()].into(),
            ports: Some([443].into()),
        };
        assert!(reach.rules(folder.path()).is_ok());
    }
}
