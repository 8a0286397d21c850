//! A volume whose key is at a KMIP server: PyKMIP's.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::documents::{Unmounts, home, printed_by};
use crate::harness::{folder_of, is_running, program, refuses, wait_until};

const KEY_UNAVAILABLE: i32 = 13;

/// Stops the server of the page when the test ends, however it ends.
struct Stops(PathBuf);

impl Stops {
    fn pid(&self) -> Option<u32> {
        fs::read_to_string(&self.0).ok()?.trim().parse().ok()
    }
}

impl Drop for Stops {
    fn drop(&mut self) {
        let pid = self.pid().filter(|pid| is_running(*pid));
        let pid = pid.and_then(|pid| rustix::process::Pid::from_raw(pid.try_into().unwrap()));
        if let Some(pid) = pid {
            // It may have ended by itself.
            let _ended = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn mount(home: &Path) -> Command {
    let mut mount = Command::new(program());
    mount
        .args(["mount", "kmip.enc", "kmip-files"])
        .current_dir(home)
        .env("XDG_RUNTIME_DIR", home.join("run"));
    for (name, file) in [
        ("CA", "ca.pem"),
        ("CERT", "client.pem"),
        ("KEY", "client.key"),
    ] {
        mount.env(
            format!("ENVELOPEFS_KMIP_{name}_FILE"),
            home.join("kmip").join(file),
        );
    }
    mount
}

#[test]
fn the_page_about_kmip_does_what_it_says() {
    let home = home();
    let _unmounts = Unmounts(home.path().join("kmip-files"));
    let server = Stops(home.path().join("kmip/pid"));
    let page = include_str!("../../docs/keys/kmip.md");
    let path = format!(
        "\n```sh\nexport PATH={}:$PATH\n",
        folder_of("pykmip-server", "PyKMIP==0.11.0").display()
    );
    let port = free_port().to_string();
    let page = page.replace("\n```sh\n", &path).replace("5696", &port);
    let printed = printed_by(&page, 3, home.path());
    assert!(printed[2].contains("key version 1, AES-GCM"), "{printed:?}");

    let pid = server.pid().expect("the server's process");
    drop(server);
    wait_until("the server to end", || !is_running(pid));
    let words = [port.as_str(), "refuses connections"];
    refuses(&mut mount(home.path()), KEY_UNAVAILABLE, &words);
}
