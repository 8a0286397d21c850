//! The port itself: TLS, connections, limits, health, metrics, an end without loss.

use std::io::Read;
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::hostile::RAW;
use super::{Service, identity};
use crate::kms::server::Limits;

#[test]
fn health_is_told_to_everybody_and_metrics_on_this_machine() {
    let service = Service::start();
    let metrics = service.server().metrics_address().unwrap();
    service.judge(
        RAW,
        &format!(
            r#"
for path in ('/healthz', '/readyz'):
    for method in ('GET', 'HEAD'):
        assert send(method, path)[0] == 200, path
    assert send('POST', path)[0] == 405
ok(*sigv4('ListKeys'))
ok(*acs3('ListKeys'))
aws('UnknownOperationException', *sigv4('x"}}'))
import urllib.request
text = urllib.request.urlopen('http://{metrics}/metrics').read().decode()
for line in ('envelopekms_requests_total{{dialect="aws",operation="ListKeys",error=""}} 1',
        'envelopekms_requests_total{{dialect="alibaba",operation="ListKeys",error=""}} 1',
        'envelopekms_requests_total{{dialect="aws",operation="unknown",error="UnknownOperationException"}} 1'):
    assert line in text.splitlines(), text
assert urllib.request.urlopen('http://{metrics}/readyz').status == 200
try:
    urllib.request.urlopen('http://{metrics}/?Action=ListKeys')
    raise AssertionError('the dialects are served without TLS')
except urllib.error.HTTPError as error:
    assert error.code == 404
"#
        ),
    );
}

#[test]
fn tls_is_1_2_or_newer_and_vouched_for() {
    let service = Service::start();
    service.judge(
        RAW,
        r#"
def hello(context, name='127.0.0.1'):
    with context.wrap_socket(socket.create_connection(('127.0.0.1', given['port'])), server_hostname=name) as raw:
        return raw.version()
def of(low, high):
    context = ssl.create_default_context(cafile=given['ca'])
    context.set_ciphers('ALL:@SECLEVEL=0')
    context.minimum_version, context.maximum_version = low, high
    return context
V = ssl.TLSVersion
assert hello(of(V.TLSv1_2, V.TLSv1_2)) == 'TLSv1.2'
assert hello(of(V.TLSv1_3, V.TLSv1_3)) == 'TLSv1.3'
for refused in (lambda: hello(of(V.TLSv1, V.TLSv1_1)), lambda: hello(ssl.create_default_context()), lambda: hello(context, 'elsewhere.example')):
    try:
        refused()
    except ssl.SSLError:
        continue
    raise AssertionError('not refused')
plain = socket.create_connection(('127.0.0.1', given['port']))
plain.sendall(b'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n')
assert b'200' not in plain.recv(4096)
"#,
    );
}

#[test]
fn one_connection_serves_many_requests() {
    let service = Service::start();
    service.judge(
        RAW,
        r#"
connection = connect()
for _ in range(50):
    method, target, headers, body = sigv4('ListKeys')
    status, text, _ = send(method, target, headers, body, connection)
    assert status == 200, text
    socket_then = connection.sock
    status, text, _ = send('POST', '/', {'X-Amz-Target': 'TrentService.ListKeys'}, b'{}', connection)
    assert status == 400 and connection.sock is socket_then
"#,
    );
}

#[test]
fn connections_beyond_the_bound_are_closed() {
    let service = Service::start_with(Limits {
        connections_per_source: 4,
        ..Limits::default()
    });
    service.judge(
        RAW,
        r#"
import time
held = [context.wrap_socket(socket.create_connection(('127.0.0.1', given['port'])), server_hostname='127.0.0.1') for _ in range(4)]
try:
    send('GET', '/healthz')
    raise AssertionError('a fifth connection')
except (OSError, http.client.HTTPException):
    pass
held.pop().close()
until = time.monotonic() + 60
while True:
    try:
        assert send('GET', '/healthz')[0] == 200
        break
    except (OSError, http.client.HTTPException):
        assert time.monotonic() < until
        time.sleep(0.05)
"#,
    );
}

#[test]
fn an_access_key_sends_so_many_in_a_second() {
    let service = Service::start_with(Limits {
        requests_per_second: Some(3),
        ..Limits::default()
    });
    service.judge(
        RAW,
        r#"
connection = connect()
statuses = []
for _ in range(40):
    method, target = v1('ListKeys')
    status, text, _ = send(method, target, connection=connection)
    statuses.append(status)
    if status == 429:
        assert json.loads(text)['Code'] == 'Rejected.Throttling', text
        break
assert statuses[:3] == [200, 200, 200] and statuses[-1] == 429, statuses
connection = connect()
for _ in range(40):
    method, target, headers, body = sigv4('ListKeys')
    status, text, _ = send(method, target, headers, body, connection)
    if status != 200:
        assert json.loads(text)['__type'] == 'ThrottlingException', text
        break
else:
    raise AssertionError('not throttled')
ok(*v1('ListKeys', key=given['nobody']))
"#,
    );
}

#[test]
fn slow_clients_are_let_go() {
    let service = Service::start_with(Limits {
        handshake: Duration::from_millis(500),
        idle: Duration::from_millis(500),
        request: Duration::from_millis(500),
        ..Limits::default()
    });
    service.judge(
        RAW,
        r#"
silent = socket.create_connection(('127.0.0.1', given['port']), timeout=60)
assert silent.recv(1) == b''
for start in (b'', b'POST / HTTP/1.1\r\nHost: x\r\n'):
    with context.wrap_socket(socket.create_connection(('127.0.0.1', given['port']), timeout=60), server_hostname='127.0.0.1') as raw:
        raw.sendall(start)
        told = raw.recv(4096)
        assert told == b'' or b' 408 ' in told, told
with context.wrap_socket(socket.create_connection(('127.0.0.1', given['port']), timeout=60), server_hostname='127.0.0.1') as raw:
    raw.sendall(b'POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: t\r\nContent-Length: 10\r\n\r\nx')
    told = raw.recv(4096)
    assert b' 408 ' in told, told
"#,
    );
}

#[test]
fn a_new_certificate_is_used_without_a_restart() {
    let service = Service::start();
    let asked = "assert send('GET', '/healthz')[0] == 200";
    service.judge(RAW, asked);
    identity(&service.folder);
    let other = "
try:
    send('GET', '/healthz')
    raise AssertionError('the old certificate')
except ssl.SSLError:
    pass
";
    // The file that clients trust is the new one already.
    service.server().reload_certificate().unwrap();
    service.judge(RAW, asked);
    let trusted = std::fs::read(service.folder.path().join("ca.pem")).unwrap();
    identity(&service.folder);
    service.server().reload_certificate().unwrap();
    std::fs::write(service.folder.path().join("ca.pem"), trusted).unwrap();
    service.judge(RAW, other);
}

/// A body whose second half comes when it is told to.
struct Halves {
    rest: std::vec::IntoIter<u8>,
    half_sent: mpsc::Sender<()>,
    go_on: mpsc::Receiver<()>,
}

impl Read for Halves {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.rest.len() == 1 {
            self.half_sent.send(()).unwrap();
            self.go_on.recv().unwrap();
        }
        match self.rest.next() {
            None => Ok(0),
            Some(byte) => {
                buffer[0] = byte;
                Ok(1)
            }
        }
    }
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < until, "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn client(service: &Service) -> reqwest::blocking::Client {
    let pem = std::fs::read(service.folder.path().join("ca.pem")).unwrap();
    reqwest::blocking::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&pem).unwrap()])
        .no_proxy()
        .build()
        .unwrap()
}

#[test]
fn a_server_that_ends_answers_what_it_was_asked_and_closes_the_rest() {
    let mut service = Service::start();
    let client = client(&service);
    let server = service.server.take().unwrap();
    let address = server.address();
    let mut idle = TcpStream::connect(address).unwrap();
    let (half_sent, half) = mpsc::channel();
    let (go_on, told) = mpsc::channel();
    let body = Halves {
        rest: b"{}".to_vec().into_iter(),
        half_sent,
        go_on: told,
    };
    let asking = std::thread::spawn(move || {
        let request = client
            .post(format!("https://{address}/"))
            .header("x-amz-target", "TrentService.ListKeys")
            .body(reqwest::blocking::Body::sized(body, 2));
        request.send().unwrap().status().as_u16()
    });
    half.recv().unwrap();
    let metrics = server.metrics_address().unwrap();
    until("the request is there", || {
        let told = reqwest::blocking::get(format!("http://{metrics}/metrics")).unwrap();
        let text = told.text().unwrap();
        text.lines()
            .any(|line| line == "envelopekms_requests_in_flight 1")
    });
    let ending = service.runtime.spawn(server.shutdown());
    until("no connection is taken", || {
        TcpStream::connect(address).is_err()
    });
    go_on.send(()).unwrap();
    assert_eq!(asking.join().unwrap(), 400, "asked without a signature");
    assert_eq!(idle.read(&mut [0]).unwrap_or(0), 0);
    service.runtime.block_on(ending).unwrap();
}

#[test]
fn metrics_are_not_served_to_the_network() {
    use crate::kms::server::{Server, ServerConfig, ServerError};

    let service = Service::start();
    let config = ServerConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        identity: identity(&service.folder),
        metrics: Some("0.0.0.0:0".parse().unwrap()),
        limits: Limits::default(),
    };
    let engine = std::sync::Arc::clone(&service.engine);
    let refused = service.runtime.block_on(Server::start(config, engine));
    assert!(matches!(refused, Err(ServerError::NotLoopback(_))));
}
