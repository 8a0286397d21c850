//! A key server that is far away: what 50 ms more for each of its answers cost.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::bao::{Bao, Kept};
use crate::harness::{Mount, Volume, noise, require_root, run, shell};

/// What is added to each answer.
const DELAY: Duration = Duration::from_millis(50);
const FILES: usize = 5000;
/// What each file holds, and `grep` looks for.
const WORD: &str = "needle";
/// Calls at a time that readers can count on.
const AT_A_TIME: u32 = 16;
/// One for each file, and for those that are ready or being made when all are there.
const CALLS_OF_UNTAR: RangeInclusive<u64> = 5000..=5000 + 1024 + 256;
/// How often an untar is measured where the machine does not keep still.
const TURNS: usize = 5;

/// Stands between the mount and the server: it holds answers back, and counts the calls for a key.
struct Proxy {
    port: u16,
    way: Arc<Way>,
}

#[derive(Default)]
struct Way {
    server: u16,
    delay_ms: AtomicU64,
    calls: AtomicU64,
    closed: AtomicBool,
}

impl Proxy {
    fn before(bao: &Bao) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let way = Arc::new(Way {
            server: bao.port(),
            ..Way::default()
        });
        let shared = Arc::clone(&way);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if shared.closed.load(Ordering::SeqCst) {
                    return;
                }
                let way = Arc::clone(&shared);
                thread::spawn(move || way.serve(&client));
            }
        });
        Self { port, way }
    }

    fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn set_delay(&self, delay: Duration) {
        let delay = u64::try_from(delay.as_millis()).unwrap();
        self.way.delay_ms.store(delay, Ordering::SeqCst);
    }

    /// Calls that make, wrap or unwrap a key, up to now.
    fn calls(&self) -> u64 {
        self.way.calls.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.way.closed.store(true, Ordering::SeqCst);
        // Wakes who accepts.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
    }
}

impl Way {
    /// One connection, until one side ends it. A client sends nothing before the answer to its last request is there.
    fn serve(&self, client: &TcpStream) {
        let server = TcpStream::connect((Ipv4Addr::LOCALHOST, self.server)).unwrap();
        for stream in [client, &server] {
            stream.set_nodelay(true).unwrap();
        }
        let asked = parking_lot::Mutex::new(Instant::now());
        thread::scope(|scope| {
            scope.spawn(|| {
                relay(client, &server, |request| {
                    if request.starts_with(b"GET ") || request.starts_with(b"POST ") {
                        *asked.lock() = Instant::now();
                    }
                    if request.starts_with(b"POST /v1/transit/") {
                        self.calls.fetch_add(1, Ordering::SeqCst);
                    }
                });
            });
            relay(&server, client, |_answer| {
                let delay = Duration::from_millis(self.delay_ms.load(Ordering::SeqCst));
                let due = *asked.lock() + delay;
                thread::sleep(due.saturating_duration_since(Instant::now()));
            });
        });
    }
}

/// Passes on what comes, once `before` is done with it.
fn relay(mut from: &TcpStream, mut to: &TcpStream, before: impl Fn(&[u8])) {
    let mut part = [0; 8192];
    while let Ok(len @ 1..) = from.read(&mut part) {
        before(&part[..len]);
        if to.write_all(&part[..len]).is_err() {
            break;
        }
    }
    // The other direction ends with this one; it may have ended already.
    for stream in [from, to] {
        let _ended = stream.shutdown(Shutdown::Both);
    }
}

/// A volume whose key is behind the proxy.
struct Far {
    kept: Kept,
    proxy: Proxy,
}

impl Far {
    fn new(scope: &str) -> Self {
        let bao = Bao::start();
        let proxy = Proxy::before(&bao);
        let volume = Volume::unmade();
        in_memory(&volume.cipher_dir());
        in_memory(&source(&volume));
        let options = ["--key", "hashivault://files", "--key-scope", scope];
        let server = (bao, proxy.address());
        let kept = Kept::of(volume, server, &["files"], &options);
        Self { kept, proxy }
    }

    /// A new mount: nothing is in the kernel's cache, and no key was made ahead.
    fn mount(&self) -> Mount<'_> {
        self.kept.mount_with(&[])
    }

    /// An archive of small files in a few folders.
    fn archive(&self) -> PathBuf {
        let source = source(&self.kept.volume);
        for number in 0..FILES {
            let folder = source.join(format!("d{}", number / 250));
            fs::create_dir_all(&folder).unwrap();
            let text = format!("{WORD} {number}\n{:?}\n", noise(number as u64, 40));
            fs::write(folder.join(format!("f{number}")), text).unwrap();
        }
        let archive = self.kept.volume.home().join("archive.tar");
        run(Command::new("tar")
            .arg("-cf")
            .arg(&archive)
            .arg("-C")
            .arg(&source)
            .arg("."));
        archive
    }

    /// How long `work` takes in a new mount while each answer of the server takes so much longer, and how many calls for
    /// a key that makes.
    fn measured(&self, delay: Duration, work: impl FnOnce(&Mount<'_>)) -> Cost {
        self.proxy.set_delay(Duration::ZERO);
        let mount = self.mount();
        self.proxy.set_delay(delay);
        let (before, begun) = (self.proxy.calls(), Instant::now());
        work(&mount);
        let (time, calls) = (begun.elapsed(), self.proxy.calls() - before);
        self.proxy.set_delay(Duration::ZERO);
        mount.unmount();
        Cost { time, calls }
    }

    fn untar(&self, archive: &Path, folder: &str, delay: Duration) -> Cost {
        self.measured(delay, |mount| unpack(archive, &mount.path(folder)))
    }

    fn grep(&self, folder: &str, delay: Duration) -> Cost {
        self.measured(delay, |mount| {
            assert_eq!(found_in(&mount.path(folder)), FILES);
        })
    }
}

/// What is packed into the archive.
fn source(volume: &Volume) -> PathBuf {
    volume.home().join("source")
}

/// Makes a folder that no disk is behind, so that none is measured; it goes with the volume.
fn in_memory(folder: &Path) {
    require_root();
    fs::create_dir(folder).unwrap();
    run(Command::new("mount")
        .args(["-t", "tmpfs", "none"])
        .arg(folder));
}

struct Cost {
    time: Duration,
    calls: u64,
}

fn unpack(archive: &Path, folder: &Path) {
    fs::create_dir(folder).unwrap();
    let mut tar = Command::new("tar");
    run(tar.arg("-xf").arg(archive).arg("-C").arg(folder));
}

/// How many files in a folder hold the word.
fn found_in(folder: &Path) -> usize {
    let count = shell(folder, &format!("grep -r {WORD} . | wc -l"));
    count.trim().parse().unwrap()
}

/// The machine may be at other work, which makes a run slower and never faster. So runs with and without the delay take
/// turns, the fastest of each kind are compared, and the first turns that show the bound are enough. The processes' work
/// is the same in both: the answers without delay come by the same way.
#[test]
fn a_server_far_away_costs_an_untar_a_fifth_at_most_and_a_grep_a_sixteenth_of_its_calls_delays() {
    let far = Far::new("file");
    let archive = far.archive();
    let (mut without, mut with) = (Duration::MAX, Duration::MAX);
    for turn in 0..TURNS {
        let cost = far.untar(&archive, &format!("near{turn}"), Duration::ZERO);
        without = without.min(cost.time);
        let cost = far.untar(&archive, &format!("far{turn}"), DELAY);
        with = with.min(cost.time);
        assert!(CALLS_OF_UNTAR.contains(&cost.calls), "{} calls", cost.calls);
        if with <= without.mul_f64(1.2) {
            break;
        }
    }
    eprintln!("untar of {FILES} files: {without:?}, with the delay {with:?}");
    assert!(with <= without.mul_f64(1.2), "untar: {without:?}, {with:?}");

    let without = far.grep("near0", Duration::ZERO);
    let with = far.grep("far0", DELAY);
    eprintln!("grep: {:?}, with the delay {:?}", without.time, with.time);
    assert_eq!((without.calls, with.calls), (FILES as u64, FILES as u64));
    let calls = u32::try_from(with.calls).unwrap();
    let bound = without.time + DELAY * calls / AT_A_TIME;
    assert!(with.time <= bound, "grep: {:?} of {bound:?}", with.time);
}

#[test]
fn in_scope_volume_a_server_far_away_is_asked_once() {
    let far = Far::new("volume");
    let archive = far.archive();
    far.proxy.set_delay(DELAY);
    let (before, begun) = (far.proxy.calls(), Instant::now());
    let mount = far.mount();
    assert!(begun.elapsed() >= DELAY, "answers are not held back");
    unpack(&archive, &mount.path("files"));
    assert_eq!(found_in(&mount.path("files")), FILES);
    mount.unmount();
    assert_eq!(far.proxy.calls() - before, 1);
    let before = far.proxy.calls();
    let mount = far.mount();
    assert_eq!(found_in(&mount.path("files")), FILES);
    assert_eq!(far.proxy.calls() - before, 1);
    mount.unmount();
}
