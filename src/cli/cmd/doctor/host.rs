//! What the kernel, its FUSE and the processor offer.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use super::within::within;
use super::{Area, Check, Finding};
use crate::cli::exit::Exit;

const HOST: Area = Area("host");
const DEVICE: Check = HOST.check("fuse-device", Exit::NoFuse);
const FUSERMOUNT: Check = HOST.check("fusermount3", Exit::NoFuse);
const ALLOW_OTHER: Check = HOST.check("allow-other", Exit::NoFuse);
const KERNEL: Check = HOST.check("kernel", Exit::Failure);
const IO_URING: Check = HOST.check("io-uring", Exit::NoFuse);
const CLOCK: Check = HOST.check("clock", Exit::Failure);
const AES: Check = HOST.check("aes", Exit::Failure);

pub(super) fn look(limit: Duration) -> Vec<Finding> {
    let root = rustix::process::geteuid().is_root();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let release = rustix::system::uname();
    vec![
        device(Path::new("/dev/fuse")),
        fusermount(&folders, root),
        allow_other(Path::new("/etc/fuse.conf"), root),
        kernel(&release.release().to_string_lossy()),
        io_uring(Path::new("/")),
        clock(SystemTime::now(), is_synchronized(limit)),
        aes(),
    ]
}

fn device(path: &Path) -> Finding {
    let shown = path.display();
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(_device) => DEVICE.ok(format!("{shown} opens")),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => DEVICE.fail(
            format!("this user may not open {shown}"),
            "have its mode be 0666, as udev makes it; in a container: give it the device (--device /dev/fuse)",
        ),
        Err(error) => DEVICE.fail(
            format!("{shown} cannot be opened: {error}"),
            "load the kernel's module: modprobe fuse; in a container: give it the device (--device /dev/fuse)",
        ),
    }
}

const SET_UID: u32 = 0o4000;

fn fusermount(folders: &[PathBuf], root: bool) -> Finding {
    let found = folders
        .iter()
        .map(|folder| folder.join("fusermount3"))
        .find(|path| path.is_file());
    let mend = "install the package fuse3";
    match found {
        None if root => FUSERMOUNT.warn(
            "there is no fusermount3: only root can mount and unmount on this machine",
            mend,
        ),
        None => FUSERMOUNT.fail(
            "there is no fusermount3, through which a user who is not root mounts",
            mend,
        ),
        Some(path) => {
            let set_uid = path
                .metadata()
                .is_ok_and(|found| found.mode() & SET_UID != 0);
            let shown = path.display();
            match set_uid || root {
                true => FUSERMOUNT.ok(format!("{shown} is there")),
                false => FUSERMOUNT.fail(
                    format!("{shown} is not set-uid root, so that it cannot mount"),
                    format!("as root: chown root {shown} && chmod 4755 {shown}; or install the package fuse3 anew"),
                ),
            }
        }
    }
}

fn allow_other(conf: &Path, root: bool) -> Finding {
    let allowed = std::fs::read_to_string(conf)
        .is_ok_and(|text| text.lines().any(|line| line.trim() == "user_allow_other"));
    match (allowed, root) {
        (true, _) => ALLOW_OTHER.ok("users may let others into their mounts (user_allow_other)"),
        (false, true) => ALLOW_OTHER.ok("root may let others into its mounts"),
        (false, false) => ALLOW_OTHER.warn(
            "--allow-other will be refused to this user",
            format!(
                "put the line `user_allow_other` into {}, or mount as root",
                conf.display()
            ),
        ),
    }
}

/// openat2(2), without which the ciphertext folder cannot be kept to.
const LEAST: (u32, u32) = (5, 6);
/// memfd_secret(2), and fchmodat2 and the like that follow it.
const SECRET_MEMORY: (u32, u32) = (5, 14);
/// FUSE over io_uring.
const RING: (u32, u32) = (6, 14);

fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|letter: char| !letter.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn kernel(release: &str) -> Finding {
    let mend = "boot a newer kernel";
    match version(release) {
        None => KERNEL.warn(
            format!("the kernel calls itself {release:?}: its version is not known"),
            "see that it is Linux 5.6 or later",
        ),
        Some(known) if known < LEAST => KERNEL.fail(
            format!("Linux {release} has no openat2(2), which this program needs"),
            format!("{mend}: 5.6 or later"),
        ),
        Some(known) if known < SECRET_MEMORY => KERNEL.warn(
            format!("Linux {release} has no memfd_secret(2): keys are in locked memory that root can read"),
            format!("{mend}: 5.14 or later"),
        ),
        Some(_) => KERNEL.ok(format!("Linux {release}")),
    }
}

/// `root`: the root folder, another one in tests.
fn io_uring(root: &Path) -> Finding {
    let read = |path: &str| {
        let text = std::fs::read_to_string(root.join(path)).ok()?;
        Some(text.trim().to_owned())
    };
    let switch = read("sys/module/fuse/parameters/enable_uring");
    let disabled = read("proc/sys/kernel/io_uring_disabled");
    match (switch.as_deref(), disabled.as_deref()) {
        (None, _) => IO_URING.ok(format!(
            "this kernel offers no FUSE over io_uring (Linux {}.{}): requests go by /dev/fuse",
            RING.0, RING.1
        )),
        (Some("Y" | "1"), Some("2")) => IO_URING.warn(
            "FUSE over io_uring is on, and io_uring itself is off: requests go by /dev/fuse",
            "sysctl kernel.io_uring_disabled=0, if this machine may have io_uring",
        ),
        (Some("Y" | "1"), _) => IO_URING.ok("requests go over io_uring"),
        (Some(_), _) => IO_URING.warn(
            "FUSE over io_uring is off: requests go by /dev/fuse, which is somewhat slower",
            "as root, before the mount: echo 1 > /sys/module/fuse/parameters/enable_uring",
        ),
    }
}

/// 2026-01-01: before this program was made, in seconds.
const BEFORE_THIS: Duration = Duration::from_secs(1_767_225_600);

fn clock(now: SystemTime, synchronized: Option<bool>) -> Finding {
    let mend = "set the time, and run a time service: timedatectl set-ntp true";
    match (now < SystemTime::UNIX_EPOCH + BEFORE_THIS, synchronized) {
        (true, _) => CLOCK.fail(
            "the clock is years behind: key services and certificates will be refused",
            mend,
        ),
        (false, Some(false)) => CLOCK.warn(
            "the clock is not synchronized: a key service refuses requests whose time is minutes off",
            mend,
        ),
        (false, Some(true)) => CLOCK.ok("the clock is synchronized"),
        (false, None) => CLOCK.ok("the clock is not obviously wrong"),
    }
}

/// What systemd knows; None where it knows nothing.
fn is_synchronized(limit: Duration) -> Option<bool> {
    let answer = within(limit, || {
        Command::new("timedatectl")
            .args(["show", "--property=NTPSynchronized", "--value"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
    })?;
    match answer.ok()?.stdout.trim_ascii() {
        b"yes" => Some(true),
        b"no" => Some(false),
        _ => None,
    }
}

fn aes() -> Finding {
    match has_aes() {
        Some(true) => AES.ok("the processor has AES and carry-less multiplication"),
        Some(false) => AES.warn(
            "the processor has no AES instructions: reading and writing are many times slower",
            "in a virtual machine, let it have the host's processor (host-passthrough)",
        ),
        None => AES.ok("nothing is known of AES instructions of this kind of processor"),
    }
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn has_aes() -> Option<bool> {
    Some(is_x86_feature_detected!("aes") && is_x86_feature_detected!("pclmulqdq"))
}

#[cfg(target_arch = "aarch64")]
fn has_aes() -> Option<bool> {
    use std::arch::is_aarch64_feature_detected as detected;
    Some(detected!("aes") && detected!("pmull"))
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
fn has_aes() -> Option<bool> {
    None
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::cli::cmd::doctor::Level;

    #[test]
    fn a_missing_device_is_a_failure_that_says_modprobe() {
        let finding = device(Path::new("/nonexistent/fuse"));
        assert_eq!((finding.level, finding.exit), (Level::Fail, Exit::NoFuse));
        assert!(finding.mend.contains("modprobe"), "{finding:?}");
        assert_eq!(device(Path::new("/dev/null")).level, Level::Ok);
    }

    #[test]
    fn users_need_a_set_uid_fusermount_and_root_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let folders = [folder.path().to_owned()];
        assert_eq!(fusermount(&folders, false).level, Level::Fail);
        assert_eq!(fusermount(&folders, true).level, Level::Warn);
        let program = folder.path().join("fusermount3");
        fs::write(&program, "").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let finding = fusermount(&folders, false);
        assert!(finding.level == Level::Fail && finding.said.contains("set-uid"));
        assert_eq!(fusermount(&folders, true).level, Level::Ok);
        fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
        assert_eq!(fusermount(&folders, false).level, Level::Ok);
    }

    #[test]
    fn allow_other_needs_a_line_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let conf = folder.path().join("fuse.conf");
        assert_eq!(allow_other(&conf, false).level, Level::Warn);
        for (text, level) in [
            ("#user_allow_other\n", Level::Warn),
            ("user_allow_other = 1\n", Level::Warn),
            ("mount_max = 9\n user_allow_other \n", Level::Ok),
        ] {
            fs::write(&conf, text).unwrap();
            assert_eq!(allow_other(&conf, false).level, level, "{text:?}");
        }
        fs::write(&conf, "").unwrap();
        assert_eq!(allow_other(&conf, true).level, Level::Ok);
    }

    #[test]
    fn old_kernels_are_told() {
        for (release, level) in [
            ("5.5.19", Level::Fail),
            ("4.19.0-27-amd64", Level::Fail),
            ("5.6.0", Level::Warn),
            ("5.14.0-1", Level::Ok),
            ("6.18.44-fc", Level::Ok),
            ("10.0", Level::Ok),
            ("", Level::Warn),
            ("x.y", Level::Warn),
        ] {
            assert_eq!(kernel(release).level, level, "{release}");
        }
    }

    #[test]
    fn what_the_kernel_says_of_io_uring() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert_eq!(io_uring(root.path()).level, Level::Ok);
        put("sys/module/fuse/parameters/enable_uring", "N\n");
        let off = io_uring(root.path());
        assert!(off.level == Level::Warn && off.mend.contains("enable_uring"));
        put("sys/module/fuse/parameters/enable_uring", "Y\n");
        assert_eq!(io_uring(root.path()).level, Level::Ok);
        put("proc/sys/kernel/io_uring_disabled", "2\n");
        assert_eq!(io_uring(root.path()).level, Level::Warn);
    }

    #[test]
    fn a_clock_of_another_year_fails() {
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400);
        assert_eq!(clock(then, Some(true)).level, Level::Fail);
        let now = SystemTime::UNIX_EPOCH + BEFORE_THIS;
        assert_eq!(clock(now, Some(false)).level, Level::Warn);
        assert_eq!(clock(now, None).level, Level::Ok);
    }
}
