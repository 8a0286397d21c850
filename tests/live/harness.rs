//! Volumes and mounts that leave nothing behind, and commands that say why they failed.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// The user and group `nobody`: a caller without any rights.
pub(crate) const NOBODY: u32 = 65534;

/// A volume with its key, ciphertext folder and mount points, all in one temporary folder.
pub(crate) struct Volume {
    home: TempDir,
}

impl Volume {
    /// A new volume with a key file of its own, made by `envelopefs init` with these options.
    pub(crate) fn create(options: &[&str]) -> Self {
        let volume = Self::unmade();
        volume.init(options);
        volume
    }

    pub(crate) fn init(&self, options: &[&str]) {
        let mut init = self.envelopefs("init");
        run(init
            .args(["--key", &self.key()])
            .args(options)
            .arg(self.cipher_dir()));
    }

    /// The folders for a volume, before any `init`.
    pub(crate) fn unmade() -> Self {
        require_fuse();
        let home = tempfile::Builder::new()
            .prefix("v")
            .tempdir()
            .expect("a temporary folder");
        for (folder, mode) in [("", 0o755), ("run", 0o700), ("mnt", 0o755)] {
            let path = home.path().join(folder);
            fs::create_dir_all(&path).expect("a folder of the test");
            set_mode(&path, mode);
        }
        Self { home }
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn cipher_dir(&self) -> PathBuf {
        self.home().join("enc")
    }

    pub(crate) fn keyring(&self) -> PathBuf {
        self.home().join("key.json")
    }

    /// The URI of its key.
    pub(crate) fn key(&self) -> String {
        format!("file://{}", self.keyring().display())
    }

    pub(crate) fn mountpoint(&self) -> PathBuf {
        self.home().join("mnt")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.home().join("log")
    }

    /// The program with a subcommand, in an environment of this volume's own.
    pub(crate) fn envelopefs(&self, subcommand: &str) -> Command {
        let mut command = Command::new(program());
        command
            .arg(subcommand)
            .env("HOME", self.home())
            .env("XDG_CONFIG_HOME", self.home().join("config"))
            .env("XDG_RUNTIME_DIR", self.home().join("run"))
            .env_remove("ENVELOPEFS_LOG");
        command
    }

    pub(crate) fn mount_command(&self, options: &[&str]) -> Command {
        let mut command = self.envelopefs("mount");
        command.arg("--log-file").arg(self.log()).args(options);
        command.arg(self.cipher_dir()).arg(self.mountpoint());
        command
    }

    pub(crate) fn mount(&self) -> Mount<'_> {
        self.mount_with(&[])
    }

    /// Mounts in the background; the mount must work as soon as the command has returned.
    pub(crate) fn mount_with(&self, options: &[&str]) -> Mount<'_> {
        self.mount_by(&mut self.mount_command(options))
    }

    /// The same by a command that was given more than options.
    pub(crate) fn mount_by(&self, command: &mut Command) -> Mount<'_> {
        run(command);
        let mount = Mount {
            volume: self,
            point: self.mountpoint(),
        };
        assert!(
            is_mounted(&mount.point),
            "`envelopefs mount` returned and nothing is mounted"
        );
        mount
    }

    /// Unmounts what a command has mounted.
    pub(crate) fn unmount(&self) {
        run(self.envelopefs("umount").arg(self.mountpoint()));
    }

    /// A mount that must be refused with this exit code and a message that holds these words.
    pub(crate) fn refuses_mount(&self, options: &[&str], code: i32, words: &[&str]) {
        refuses(&mut self.mount_command(options), code, words);
        assert!(
            !is_mounted(&self.mountpoint()),
            "refused, and mounted all the same"
        );
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Also what a command mounted that should have refused to.
        clear_mounts_below(self.home());
        let begun = Instant::now();
        // A daemon writes its last data after the unmount, and the folder could not be removed meanwhile.
        while !processes_at(self.home()).is_empty() && begun.elapsed() < Duration::from_secs(5) {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The program's processes that have something below `folder` in their arguments: commands, and daemons.
pub(crate) fn processes_at(folder: &Path) -> Vec<u32> {
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_at = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line
            .split(|byte| *byte == 0)
            .map(|word| Path::new(OsStr::from_bytes(word)));
        let name = words.next().and_then(Path::file_name).unwrap_or_default();
        name.as_bytes().starts_with(b"envelopefs") && words.any(|word| word.starts_with(folder))
    };
    numbers.filter(is_at).collect()
}

/// Ends a process at once; it may have ended by itself.
pub(crate) fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a process id");
    let _ended = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

/// Those that the first thread of this process has started; none of one that is gone.
pub(crate) fn children_of(pid: u32) -> Vec<u32> {
    let pids = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let number = |pid: &str| pid.parse().expect("a process id");
    pids.split_whitespace().map(number).collect()
}

/// A live mount; unmounted when dropped.
pub(crate) struct Mount<'a> {
    volume: &'a Volume,
    point: PathBuf,
}

impl<'a> Mount<'a> {
    pub(crate) fn root(&self) -> &Path {
        &self.point
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.point.join(name)
    }

    pub(crate) fn status(&self) -> Status {
        let mut command = self.volume.envelopefs("status");
        let text = run(command.arg(&self.point).arg("--json"));
        let value = serde_json::from_str(&text).expect("status --json prints JSON");
        Status { value }
    }

    /// Unmounts: the command returns when the daemon has written everything and is gone.
    pub(crate) fn unmount(self) {
        let daemon = self.status().pid();
        run(self.volume.envelopefs("umount").arg(&self.point));
        assert!(
            !is_mounted(&self.point),
            "`envelopefs umount` returned and it is still mounted"
        );
        assert!(
            !is_running(daemon),
            "`envelopefs umount` returned before the daemon had ended"
        );
    }

    /// Unmounts and mounts again: nothing is left in the kernel's caches or the keyring.
    pub(crate) fn again(self) -> Self {
        self.again_with(&[])
    }

    pub(crate) fn again_with(self, options: &[&str]) -> Self {
        let volume = self.volume;
        self.unmount();
        volume.mount_with(options)
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = fs::read_to_string(self.volume.log()).unwrap_or_default();
            eprintln!("--- log of the mount ---\n{log}---");
        }
        clear_mountpoint(&self.point);
    }
}

/// Takes away whatever is mounted there, dead or alive.
pub(crate) fn clear_mountpoint(point: &Path) {
    let attempts = [["fusermount3", "-uz"], ["umount", "--lazy"]];
    for [program, option] in attempts {
        if is_mounted(point) {
            output_of(Command::new(program).arg(option).arg(point));
        }
    }
    assert!(!is_mounted(point), "stays mounted: {}", point.display());
}

/// Unmounts whatever is mounted below a folder, the innermost first.
pub(crate) fn clear_mounts_below(folder: &Path) {
    let below = |point: &&String| Path::new(point).starts_with(folder);
    for point in mountpoints().iter().rev().filter(below) {
        clear_mountpoint(Path::new(point));
    }
}

/// Unmounts when the test ends, however it ends.
pub(crate) struct Unmounts(pub(crate) PathBuf);

impl Drop for Unmounts {
    fn drop(&mut self) {
        clear_mountpoint(&self.0);
    }
}

/// What `envelopefs status --json` says.
pub(crate) struct Status {
    value: Value,
}

impl Status {
    fn at(&self, pointer: &str) -> &Value {
        let missing = || panic!("no {pointer} in the status: {:#}", self.value);
        self.value.pointer(pointer).unwrap_or_else(missing)
    }

    fn number(&self, pointer: &str) -> u64 {
        let value = self.at(pointer);
        value
            .as_u64()
            .unwrap_or_else(|| panic!("{pointer} is no number: {value}"))
    }

    pub(crate) fn text(&self, pointer: &str) -> String {
        let value = self.at(pointer);
        let text = value.as_str();
        text.unwrap_or_else(|| panic!("{pointer} is no text: {value}"))
            .to_owned()
    }

    pub(crate) fn pid(&self) -> u32 {
        u32::try_from(self.number("/pid")).expect("a process id")
    }

    /// Calls that make, wrap or unwrap a key, to every provider since the mount.
    pub(crate) fn provider_calls(&self) -> u64 {
        self.number("/provider_calls")
    }

    /// Ciphertext files opened since the mount.
    pub(crate) fn files_opened(&self) -> u64 {
        self.number("/files_opened")
    }

    /// Resident memory of the daemon, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let text = fs::read_to_string(path).expect("the daemon runs");
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line
            .and_then(|line| line.split_whitespace().next())
            .expect("VmRSS in kB");
        kib.parse().expect("a number")
    }
}

/// The program under test: what scripts/test.sh built for release, or else cargo's own build.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("ENVELOPEFS").map_or(env!("CARGO_BIN_EXE_envelopefs").into(), PathBuf::from)
}

pub(crate) fn require_fuse() {
    assert!(
        Path::new("/dev/fuse").exists(),
        "live tests need FUSE: there is no /dev/fuse (in a container: --device /dev/fuse)"
    );
}

pub(crate) fn require_root() {
    let is_root = rustix::process::geteuid().is_root();
    assert!(is_root, "this test needs root: run `scripts/test.sh live`");
}

pub(crate) fn is_mounted(point: &Path) -> bool {
    mounts_at(point) > 0
}

/// How many mounts lie there, one over the other.
pub(crate) fn mounts_at(point: &Path) -> usize {
    mountpoints()
        .iter()
        .filter(|mounted| Path::new(mounted) == point)
        .count()
}

/// Every mount point of the machine, in the order of mounting.
fn mountpoints() -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mounts").expect("the table of mounts");
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .map(str::to_owned)
        .collect()
}

pub(crate) fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    match state.chars().next() {
        None => false,
        // A zombie has ended, and nobody has asked for its exit code yet; but with threads left it holds its files.
        Some('Z') => fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|tasks| tasks.count() > 1),
        Some(_) => true,
    }
}

/// Waits until `done`, for ten seconds at most.
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "waited ten seconds for {what}"
        );
        thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a command that must succeed; returns what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = output_of(command);
    assert!(
        output.status.success(),
        "{command:?}: {}",
        describe(&output)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a command that must be refused: with this exit code, and a message that holds these words.
pub(crate) fn refuses(command: &mut Command, code: i32, words: &[&str]) {
    let output = output_of(command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{command:?}: {}",
        describe(&output)
    );
    for word in words {
        assert!(said.contains(word), "{command:?}: no {word:?} in: {said}");
    }
}

fn output_of(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("{command:?} cannot run: {error}"))
}

fn describe(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!(
        "{}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    )
}

/// Puts a program to run at `to`. Another process does it: what a test beside this one starts just then would hold a
/// descriptor of it open for writing, and "text file busy" would be all that came of running it.
pub(crate) fn install(from: &Path, to: &Path) {
    run(Command::new("install")
        .args(["-m", "755"])
        .arg(from)
        .arg(to));
}

/// Runs a bash script, whose every command must succeed, in a folder.
pub(crate) fn shell(folder: &Path, script: &str) -> String {
    run(&mut shell_command(folder, script))
}

pub(crate) fn shell_command(folder: &Path, script: &str) -> Command {
    let mut command = Command::new("bash");
    command
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(folder);
    command.env("LC_ALL", "C").env_remove("CARGO_TARGET_DIR");
    command
}

/// The same as the user `nobody`, without groups.
pub(crate) fn shell_as_nobody(folder: &Path, script: &str) -> String {
    let nobody = NOBODY.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups"]);
    command
        .args(["bash", "-euo", "pipefail", "-c", script])
        .current_dir(folder);
    run(command.env("LC_ALL", "C"))
}

/// The error number of an operation that must fail.
#[track_caller]
pub(crate) fn errno<T>(result: io::Result<T>) -> i32 {
    match result {
        Ok(_) => panic!("the operation must fail, and succeeded"),
        Err(error) => error.raw_os_error().expect("an error of the system"),
    }
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the mode can be set");
}

/// Bytes that look random and are the same for the same seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(len).collect()
}

/// Runs a script in a folder of the mount and in one of the file system beneath it: it must say the same, and say
/// something. Gives what it said.
pub(crate) fn same_as_beneath(mount: &Mount<'_>, script: &str) -> String {
    let beneath = tempfile::tempdir_in(mount.volume.home()).expect("a temporary folder");
    let inside = mount.path("compared");
    fs::create_dir(&inside).expect("a folder in the mount");
    set_mode(beneath.path(), 0o755);
    let expected = shell(beneath.path(), script);
    assert!(
        !expected.is_empty(),
        "a script that says nothing shows nothing"
    );
    assert_eq!(
        shell(&inside, script),
        expected,
        "on the left: in the mount"
    );
    fs::remove_dir_all(&inside).expect("what the script made goes");
    expected
}

/// The folder of a program that scripts/test.sh live installs from PyPI, or that the PATH has.
pub(crate) fn folder_of(program: &str, package: &str) -> PathBuf {
    let var = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = var("XDG_CACHE_HOME").or_else(|| Some(var("HOME")?.join(".cache")));
    let tools = var("ENVELOPEFS_TOOLS").or_else(|| Some(cache?.join("envelopefs/tools")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = tools
        .map(|tools| tools.join("python/bin"))
        .into_iter()
        .chain(std::env::split_paths(&path));
    let found = folders.find(|folder| folder.join(program).exists());
    found.unwrap_or_else(|| {
        panic!("this test needs {program}: pip install {package} (scripts/test.sh live does)")
    })
}
