//! A key server that is far away: what 50 ms more for each of its answers cost.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::bao::{Bao, Kept};
use crate::harness::{Mount, noise, run, shell};

/// What is added to each answer.
const DELAY: Duration = Duration::from_millis(50);
const FILES: usize = 5000;
/// What each file holds, and `grep` looks for.
const WORD: &str = "needle";
/// Calls at a time that readers can count on.
const AT_A_TIME: u32 = 16;

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
        let options = ["--key", "hashivault://files", "--key-scope", scope];
        let kept = Kept::reached_at(bao, proxy.address(), &["files"], &options);
        Self { kept, proxy }
    }

    /// A new mount: nothing is in the kernel's cache, and no key was made ahead.
    fn mount(&self) -> Mount<'_> {
        self.kept.mount_with(&[])
    }

    /// An archive of small files in a few folders.
    fn archive(&self) -> PathBuf {
        let source = self.kept.volume.home().join("source");
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

    /// How long it takes a new mount to unpack the archive, and how many calls that makes.
    fn untar(&self, archive: &Path, folder: &str, delay: Duration) -> (Duration, u64) {
        self.proxy.set_delay(Duration::ZERO);
        let mount = self.mount();
        fs::create_dir(mount.path(folder)).unwrap();
        self.proxy.set_delay(delay);
        let (before, begun) = (self.proxy.calls(), Instant::now());
        run(Command::new("tar")
            .arg("-xf")
            .arg(archive)
            .arg("-C")
            .arg(mount.path(folder)));
        let done = (begun.elapsed(), self.proxy.calls() - before);
        self.proxy.set_delay(Duration::ZERO);
        mount.unmount();
        done
    }

    /// How long it takes a new mount to find the word in each file, and how many calls that makes.
    fn grep(&self, folder: &str, delay: Duration) -> (Duration, u64) {
        self.proxy.set_delay(Duration::ZERO);
        let mount = self.mount();
        self.proxy.set_delay(delay);
        let (before, begun) = (self.proxy.calls(), Instant::now());
        let found = shell(&mount.path(folder), &format!("grep -r {WORD} . | wc -l"));
        let done = (begun.elapsed(), self.proxy.calls() - before);
        assert_eq!(found.trim(), FILES.to_string());
        self.proxy.set_delay(Duration::ZERO);
        mount.unmount();
        done
    }
}

#[test]
fn measure() {
    let far = Far::new("file");
    let archive = far.archive();
    for round in 0..3 {
        let near = far.untar(&archive, &format!("near{round}"), Duration::ZERO);
        let slow = far.untar(&archive, &format!("far{round}"), DELAY);
        eprintln!("untar near {near:?} far {slow:?}");
    }
    for _ in 0..2 {
        let near = far.grep("near0", Duration::ZERO);
        let slow = far.grep("far0", DELAY);
        eprintln!("grep near {near:?} far {slow:?}");
    }
}
