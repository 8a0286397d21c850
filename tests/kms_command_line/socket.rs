//! Sockets that systemd opened (sd_listen_fds(3)), handed over as it does.

use std::fs;
use std::process::Command;

use super::{Service, program, serve, stderr};

const LISTEN: i32 = 35;

/// Opens COUNT sockets of a FAMILY from descriptor 3 on, writes the first one's port to a file, and becomes the program.
const HAND_OVER: &str = "
import os, socket, sys
family, count, port, pid = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
sockets = []
for number in range(count):
    if family == 'unix':
        opened = socket.socket(socket.AF_UNIX)
        opened.bind(port + '.socket')
    else:
        opened = socket.socket()
        opened.bind(('127.0.0.1', 0))
    opened.listen()
    sockets.append(opened)
if family == 'tcp':
    open(port, 'w').write(str(sockets[0].getsockname()[1]))
held = [os.dup2(opened.fileno(), 100 + number) for number, opened in enumerate(sockets)]
for number, descriptor in enumerate(held):
    os.dup2(descriptor, 3 + number)
    os.close(descriptor)
os.environ.update(LISTEN_PID=pid or str(os.getpid()), LISTEN_FDS=str(count))
os.execv(sys.argv[5], sys.argv[5:])
";

/// The program with sockets handed over to `pid`, or, where that is empty, to itself.
fn handed(service: &Service, family: &str, count: u32, pid: &str) -> Command {
    let own = program(&service.home);
    let mut python = Command::new("python3");
    python.args(["-c", HAND_OVER, family, &count.to_string()]);
    python
        .arg(service.path("port"))
        .arg(pid)
        .arg(own.get_program());
    for (name, value) in own.get_envs() {
        match value {
            Some(value) => python.env(name, value),
            None => python.env_remove(name),
        };
    }
    python
}

fn port_handed(service: &Service) -> String {
    fs::read_to_string(service.path("port")).unwrap()
}

fn port_of(address: &str) -> &str {
    address.rsplit(':').next().unwrap()
}

#[test]
fn the_socket_that_is_handed_over_is_served() {
    let service = Service::new();
    let served = serve(&mut handed(&service, "tcp", 1, ""), &service.path("log"));
    let address = served.told["address"].as_str().unwrap();
    assert_eq!(port_of(address), port_handed(&service));
    assert_eq!(served.status("/healthz"), 200);
    assert_eq!(served.end(), Some(0));
}

#[test]
fn sockets_for_another_process_are_left_alone() {
    let service = Service::new();
    let served = serve(&mut handed(&service, "tcp", 1, "1"), &service.path("log"));
    let address = served.told["address"].as_str().unwrap();
    assert_ne!(port_of(address), port_handed(&service));
    assert_eq!(served.status("/healthz"), 200);
    assert_eq!(served.end(), Some(0));
}

#[test]
fn what_cannot_be_served_ends_it_with_the_code_of_addresses() {
    let service = Service::new();
    for (family, count) in [("tcp", 2), ("unix", 1)] {
        let output = handed(&service, family, count, "")
            .arg("serve")
            .output()
            .unwrap();
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(LISTEN), "{family}: {told}");
        assert!(told.contains("ListenStream="), "{family}: {told}");
    }
}
