//! Requests that prove nothing: what they write, and what they are told.

use serde_json::{Map, Value};

use super::Service;
use super::hostile::RAW;
use crate::audit::WhenFull;
use crate::kms::api::failures::OF_ONE_SOURCE;
use crate::kms::engine::Caller;
use crate::kms::engine::ops::admin::SetCredentialEnabled;
use crate::kms::server::Limits;

/// The lines of the trail of a service that a script asked and that ended then.
fn lines_of(service: Service, script: &str) -> Vec<Map<String, Value>> {
    service.judge(RAW, script);
    let file = service.folder.path().join("audit.log");
    let text = service.end_and(|| std::fs::read_to_string(file).unwrap());
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

fn unproven(lines: &[Map<String, Value>]) -> impl Iterator<Item = &Map<String, Value>> {
    lines.iter().filter(|line| {
        let is = |name: &str, value: &str| line.get(name).is_some_and(|own| own == value);
        is("event", "kms-call") && is("action", "Authenticate")
    })
}

/// Of all sums of the trail.
fn counted(lines: &[Map<String, Value>]) -> u64 {
    let sums = lines.iter().filter(|line| line["event"] == "kms-unproven");
    let counts = sums.map(|line| {
        assert_eq!(line["address"], "127.0.0.1");
        line["count"].as_u64().unwrap()
    });
    counts.sum()
}

#[test]
fn wrong_signatures_write_some_lines_and_the_rest_in_sum() {
    for when_full in [WhenFull::Drop, WhenFull::Fail] {
        let service = Service::start_with_trail(Limits::default(), when_full);
        let lines = lines_of(
            service,
            r#"
connection = connect()
wrong, unknown = {'id': admin['id'], 'secret': 'x'}, {'id': 'EKMSNOSUCHKEY', 'secret': 'x'}
def failing(answer, request):
    method, target, headers, body = (request + ({}, b''))[:4]
    status, text, _ = send(method, target, headers, body, connection)
    assert answer in text, text
for _ in range(60):
    failing(b'SignatureDoesNotMatch', v1('ListKeys', key=wrong))
    failing(b'InvalidSignatureException', sigv4('ListKeys', key=wrong))
    failing(b'InvalidAccessKeyId.NotFound', v1('ListKeys', key=unknown))
method, target = v1('ListKeys')
failing(b'Keys', (method, target))
for _ in range(20):
    failing(b'SignatureNonceUsed', (method, target))
# Who has the secret comes in, whatever others send from the same address.
ok(*acs3('ListKeys'))
"#,
        );
        let own = unproven(&lines).count();
        // At once, and some more if it took a while.
        let at_once = usize::try_from(OF_ONE_SOURCE.at_once).unwrap();
        assert!((at_once..100).contains(&own), "{own} lines");
        assert_eq!(u64::try_from(own).unwrap() + counted(&lines), 200);
        let of = |id: &str| unproven(&lines).any(|line| line["access_key"] == id);
        assert!(of("EKMSNOSUCHKEY"));
    }
}

#[test]
fn keys_that_are_given_wrong_write_some_lines_and_are_told_in_sum() {
    let service = Service::start_with_trail(Limits::default(), WhenFull::Drop);
    let lines = lines_of(
        service,
        r#"
basic = 'Basic ' + base64.b64encode((admin['id'] + ':x').encode()).decode()
connection = connect()
for _ in range(50):
    status, text, _ = send('GET', '/keys/public?key=k', {'Authorization': basic}, connection=connection)
    assert status in (401, 429), (status, text)
assert status == 429
"#,
    );
    let own = unproven(&lines).count();
    assert!((10..50).contains(&own), "{own} lines");
    assert_eq!(u64::try_from(own).unwrap() + counted(&lines), 50);
}

/// Its holder is known, and noted; and throttled as with any other.
#[test]
fn the_use_of_a_disabled_access_key_is_noted_and_throttled() {
    let limits = Limits {
        requests_per_second: Some(3),
        ..Limits::default()
    };
    let service = Service::start_with_trail(limits, WhenFull::Drop);
    let (id, caller) = (service.nobody.id.clone(), Caller::local("tests"));
    let disable = SetCredentialEnabled {
        id: id.clone(),
        enabled: false,
    };
    let done = service.engine.perform(&caller, disable);
    service.runtime.block_on(done).unwrap();
    let lines = lines_of(
        service,
        r#"
nobody, connection, told = given['nobody'], connect(), []
for _ in range(60):
    method, target = v1('ListKeys', key=nobody)
    status, text, _ = send(method, target, connection=connection)
    told.append(json.loads(text)['Code'])
    if told[-1] == 'Rejected.Throttling':
        break
assert told[:3] == ['Forbidden.AccessKey'] * 3 and told[-1] == 'Rejected.Throttling', told
basic = 'Basic ' + base64.b64encode((nobody['id'] + ':' + nobody['secret']).encode()).decode()
codes = [json.loads(send('GET', '/keys/public?key=k', {'Authorization': basic}, connection=connection)[1])['code'] for _ in range(30)]
assert codes[:10] == ['AccessKeyDisabled'] * 10 and 'TooManyFailures' in codes, codes
"#,
    );
    let noted: Vec<_> = unproven(&lines)
        .filter(|line| line["access_key"] == id.as_str())
        .collect();
    assert!(noted.len() >= 13, "{noted:?}");
    for line in noted {
        assert_eq!(line["principal"], "nobody");
        assert_eq!(line["message"], "The access key is disabled.");
    }
}

#[test]
fn long_bodies_have_so_much_memory_together() {
    let service = Service::start_with(Limits {
        bodies: 256 * 1024,
        bodies_per_source: 64 * 1024,
        ..Limits::default()
    });
    service.judge(
        RAW,
        r#"
for path in ('/', '/encrypt'):
    headers = {'X-Amz-Target': 'TrentService.Encrypt', 'Content-Type': 'application/json'}
    status, text, answer = send('POST', path, headers, b'x' * 100000)
    assert status == 503 and answer.headers['Retry-After'] == '1' and answer.headers['connection'] == 'close', (status, text)
    assert send('POST', path, headers, b'x' * 60000)[0] < 500
def begin(announced):
    raw = context.wrap_socket(socket.create_connection(('127.0.0.1', given['port'])), server_hostname='127.0.0.1')
    raw.sendall(b'POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: t\r\nContent-Length: %d\r\n\r\n' % announced)
    return raw
# Who only announces takes nothing of it.
held = [begin(1000000) for _ in range(20)]
for raw in held:
    raw.sendall(b'x' * 1000)
ok(*sigv4('ListKeys', body=b'{"Limit": 1}' + b' ' * 50000))
"#,
    );
}

/// The store breaks while the service runs: nobody is told how.
#[test]
fn what_breaks_inside_is_not_told_outside() {
    let service = Service::start();
    let database = service.folder.path().join("kms.db");
    let folder = service.folder.path().display().to_string();
    let script = format!(
        r#"
import sqlite3, time
basic = {{'Authorization': 'Basic ' + base64.b64encode((admin['id'] + ':' + admin['secret']).encode()).decode()}}
ok(*sigv4('ListKeys'))
def page(name, members):
    signed = send('POST', '/console/api/SignIn', {{'Content-Type': 'application/json'}}, json.dumps({{'id': admin['id'], 'secret': admin['secret']}}).encode())
    cookie, token = signed[2].headers['Set-Cookie'].split(';')[0], json.loads(signed[1])['token']
    headers = {{'Content-Type': 'application/json', 'Cookie': cookie, 'x-console-token': token}}
    return lambda: send('POST', '/console/api/' + name, headers, json.dumps(members).encode())
console = page('ListKeys', {{'offset': 0, 'filter': {{}}}})
with sqlite3.connect({database:?}, timeout=30) as broken:
    broken.execute('ALTER TABLE kms_key RENAME TO gone_away')
key = '0f0e0d0c-0b0a-4900-8000-070605040302'
for asked in (lambda: send(*sigv4('ListKeys')), lambda: send(*sigv4('DescribeKey', body=json.dumps({{'KeyId': key}}).encode())),
        lambda: send(*sigv4('CreateKey')), lambda: send(*v1('ListKeys')), lambda: send(*acs3('DescribeKey', KeyId=key)), lambda: send(*v1('CreateKey')),
        lambda: send('GET', '/keys/public?key=' + key, basic), console):
    status, text, answer = asked()
    assert status >= 400, (status, text)
    told = text.decode().lower() + str(answer.headers).lower()
    for inside in ('sql', 'gone_away', 'kms_key', 'table', 'column', 'database', '.db', {folder:?}.lower(), '/tmp', 'unwrap', 'error returned', 'rust', 'pkcs'):
        assert inside not in told, (inside, told)
assert send('GET', '/healthz')[0] == 200
"#
    );
    service.judge(RAW, &script);
}
