//! Requests that no SDK sends.

use super::Service;

/// `send` sends a request as it stands, `v1`, `acs3` and `sigv4` sign one.
pub(super) const RAW: &str = r#"
import base64, botocore.auth, botocore.awsrequest, botocore.credentials, datetime, hashlib, hmac, http.client, json, secrets, socket, ssl, sys
from urllib.parse import quote, urlencode
given = json.load(sys.stdin)
admin = given['admin']
context = ssl.create_default_context(cafile=given['ca'])
def connect():
    return http.client.HTTPSConnection('127.0.0.1', given['port'], context=context, timeout=60)
def send(method, target, headers=(), body=b'', connection=None):
    connection = connection or connect()
    connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    headers = list(dict(headers).items()) if isinstance(headers, dict) else list(headers)
    if not any(name.lower() == 'host' for name, _ in headers):
        headers.append(('Host', given['address']))
    for name, value in headers:
        connection.putheader(name, value)
    if body and not any(name.lower() == 'content-length' for name, _ in headers):
        connection.putheader('Content-Length', str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    text = answer.read()
    assert b'src/' not in text and b'panick' not in text and b'.rs' not in text, text
    return answer.status, text, answer
def now(minutes=0):
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
def enc(text):
    return quote(text, safe='-_.~')
def v1(action, method='POST', key=admin, at=0, drop=(), **parameters):
    query = {'Action': action, 'Version': '2016-01-20', 'Format': 'JSON', 'Timestamp': now(at).strftime('%Y-%m-%dT%H:%M:%SZ'),
        'SignatureNonce': secrets.token_hex(16), 'SignatureMethod': 'HMAC-SHA1', 'SignatureVersion': '1.0', 'AccessKeyId': key['id']}
    query.update(parameters)
    for name in drop:
        del query[name]
    canonical = '&'.join(enc(k) + '=' + enc(query[k]) for k in sorted(query))
    to_sign = method + '&%2F&' + enc(canonical)
    hash = {'HMAC-SHA1': 'sha1', 'HMAC-SHA256': 'sha256'}.get(query.get('SignatureMethod'), 'sha1')
    query['Signature'] = base64.b64encode(hmac.new((key['secret'] + '&').encode(), to_sign.encode(), hash).digest()).decode()
    return method, '/?' + urlencode(query)
def acs3(action, key=admin, at=0, signed=None, body=b'', more=(), **parameters):
    headers = {'host': given['address'], 'x-acs-action': action, 'x-acs-version': '2016-01-20', 'x-acs-date': now(at).strftime('%Y-%m-%dT%H:%M:%SZ'),
        'x-acs-signature-nonce': secrets.token_hex(16), 'x-acs-content-sha256': hashlib.sha256(body).hexdigest()}
    headers.update(more)
    names = signed or sorted(headers)
    query = '&'.join(enc(k) + '=' + enc(parameters[k]) for k in sorted(parameters))
    canonical = '\n'.join(['POST', '/', query] + [f'{name}:{headers[name]}' for name in names] + ['', ';'.join(names), headers['x-acs-content-sha256']])
    to_sign = 'ACS3-HMAC-SHA256\n' + hashlib.sha256(canonical.encode()).hexdigest()
    signature = hmac.new(key['secret'].encode(), to_sign.encode(), 'sha256').hexdigest()
    headers['Authorization'] = f"ACS3-HMAC-SHA256 Credential={key['id']},SignedHeaders={';'.join(names)},Signature={signature}"
    return 'POST', '/?' + query, headers, body
def sigv4(operation, body=b'{}', key=admin, more=()):
    url = 'https://' + given['address'] + '/'
    headers = {'X-Amz-Target': 'TrentService.' + operation, 'Content-Type': 'application/x-amz-json-1.1'}
    headers.update(more)
    request = botocore.awsrequest.AWSRequest('POST', url, data=body, headers=headers)
    botocore.auth.SigV4Auth(botocore.credentials.Credentials(key['id'], key['secret']), 'kms', 'cn-local').add_auth(request)
    return 'POST', '/', {name: value for name, value in request.headers.items()}, body
def alibaba(code, status, *request):
    told, text, answer = send(*request)
    body = json.loads(text)
    assert (told, body['Code'], body['HttpStatus']) == (status, code, status), (code, told, text)
    assert set(body) == {'HttpStatus', 'Code', 'Message', 'RequestId'}, body
    assert answer.headers['x-acs-request-id'] == body['RequestId'], answer.headers
def aws(code, *request):
    told, text, answer = send(*request)
    body = json.loads(text)
    assert (told, body['__type']) == (400, code), (code, told, text)
    assert set(body) == {'__type', 'message'} and len(answer.headers['x-amzn-requestid']) == 36, body
def ok(*request):
    told, text, _ = send(*request)
    assert told == 200, (told, text)
    return json.loads(text)
"#;

fn judge(script: &str) {
    let service = Service::start();
    service.judge(RAW, script);
}

#[test]
fn a_request_comes_once() {
    judge(
        r#"
for request in (v1('ListKeys'), v1('ListKeys', method='GET'), v1('ListKeys', SignatureMethod='HMAC-SHA256'), acs3('ListKeys')):
    ok(*request)
    for _ in range(2):
        alibaba('SignatureNonceUsed', 400, *request)
nonce = secrets.token_hex(16)
ok(*v1('ListKeys', SignatureNonce=nonce))
alibaba('SignatureNonceUsed', 400, *v1('DescribeRegions', SignatureNonce=nonce))
ok(*v1('ListKeys', key=given['nobody'], SignatureNonce=nonce))
request = sigv4('ListKeys')
ok(*request)
ok(*request) # AWS's clients send the same twice within a second
"#,
    );
}

/// A wrong signature must not use the nonce up for who has the secret.
#[test]
fn who_has_not_the_secret_cannot_use_up_a_nonce() {
    judge(
        r#"
nonce = secrets.token_hex(16)
alibaba('SignatureDoesNotMatch', 400, *v1('ListKeys', key={'id': admin['id'], 'secret': 'x'}, SignatureNonce=nonce))
ok(*v1('ListKeys', SignatureNonce=nonce))
"#,
    );
}

#[test]
fn stale_requests_are_refused() {
    judge(
        r#"
for minutes in (16, -16, 60 * 24):
    alibaba('InvalidTimeStamp.Expired', 400, *v1('ListKeys', at=minutes))
    alibaba('InvalidTimeStamp.Expired', 400, *acs3('ListKeys', at=minutes))
for minutes in (14, -14):
    ok(*v1('ListKeys', at=minutes))
    ok(*acs3('ListKeys', at=minutes))
alibaba('IllegalTimestamp', 400, *v1('ListKeys', Timestamp='soon'))
"#,
    );
}

#[test]
fn parts_of_a_signature_that_are_missing_are_told() {
    judge(
        r#"
for name in ('SignatureNonce', 'SignatureMethod', 'SignatureVersion', 'AccessKeyId', 'Timestamp', 'Version'):
    alibaba('IncompleteSignature', 400, *v1('ListKeys', drop=[name]))
alibaba('IncompleteSignature', 400, *v1('ListKeys', SignatureMethod='SHA256withRSA'))
alibaba('MissingParameter', 400, 'POST', '/?Action=ListKeys&AccessKeyId=' + admin['id'])
signed = ['host', 'x-acs-action', 'x-acs-content-sha256', 'x-acs-date', 'x-acs-signature-nonce', 'x-acs-version']
ok(*acs3('ListKeys', signed=signed))
for name in signed:
    alibaba('IncompleteSignature', 400, *acs3('ListKeys', signed=[other for other in signed if other != name]))
alibaba('IncompleteSignature', 400, *acs3('ListKeys', signed=signed, more={'x-acs-extra': '1'}))
ok(*acs3('ListKeys', more={'x-acs-extra': '1'}))
aws('MissingAuthenticationTokenException', 'POST', '/', {'X-Amz-Target': 'TrentService.ListKeys'}, b'{}')
aws('IncompleteSignatureException', 'POST', '/', {'X-Amz-Target': 'TrentService.ListKeys', 'Authorization': 'Basic QTpC'}, b'{}')
"#,
    );
}

#[test]
fn changed_requests_are_refused() {
    judge(
        r#"
method, target, headers, body = acs3('ListKeys')
alibaba('SignatureDoesNotMatch', 400, method, target + '&PageSize=100', headers, body)
alibaba('SignatureDoesNotMatch', 400, method, target, dict(headers, host='kms.example'), body)
alibaba('SignatureDoesNotMatch', 400, method, target, dict(headers, **{'x-acs-action': 'CreateKey'}), body)
alibaba('SignatureDoesNotMatch', 400, method, target, headers, b'PageSize=100')
method, target = v1('ListKeys')
alibaba('SignatureDoesNotMatch', 400, method, target + '&PageSize=100')
alibaba('SignatureDoesNotMatch', 400, 'GET', target)
alibaba('ParseRequestParameterException', 400, method, target + '&Action=CreateKey')
alibaba('ParseRequestParameterException', 400, method, target + '&a=%zz')
ok(method, target)
method, target, headers, body = sigv4('ListKeys')
aws('InvalidSignatureException', method, target, headers, b'{"Limit": 1}')
aws('InvalidSignatureException', method, target, dict(headers, **{'X-Amz-Target': 'TrentService.CreateKey'}), body)
aws('InvalidSignatureException', method, target, dict(headers, Host='kms.example'), body)
aws('InvalidSignatureException', *sigv4('ListKeys', more={'X-Amz-Content-SHA256': 'UNSIGNED-PAYLOAD'}))
aws('InvalidSignatureException', *sigv4('ListKeys', more={'X-Amz-Content-SHA256': 'STREAMING-UNSIGNED-PAYLOAD-TRAILER'}))
"#,
    );
}

#[test]
fn one_cloud_s_signature_is_not_the_other_s() {
    judge(
        r#"
method, target, headers, body = acs3('ListKeys', more={'x-amz-target': 'TrentService.CreateKey'})
aws('IncompleteSignatureException', method, target, headers, body)
"#,
    );
}

#[test]
fn formats_and_versions_that_are_not_served_are_told() {
    judge(
        r#"
alibaba('InvalidParameter', 400, *v1('ListKeys', Format='XML'))
alibaba('InvalidParameter', 400, *v1('ListKeys', drop=['Format']))
ok(*v1('ListKeys', Format='json'))
alibaba('InvalidParameter', 400, *v1('ListKeys', Version='2014-05-26'))
alibaba('Rejected.UnsupportedOperation', 400, *v1('RunInstances'))
aws('UnknownOperationException', *sigv4('RunInstances'))
aws('SerializationException', *sigv4('ListKeys', body=b'{'))
aws('SerializationException', *sigv4('ListKeys', body=b'[' * 100000))
aws('SerializationException', *sigv4('ListKeys', body=b'{"Limit": "x"}'))
aws('SerializationException', *sigv4('Encrypt', body=b'{"KeyId": "k", "Plaintext": "*"}'))
ok(*sigv4('ListKeys', body=b''))
"#,
    );
}

#[test]
fn nothing_is_served_to_who_does_not_sign() {
    judge(
        r#"
for method in ('GET', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE'):
    for target in ('/', '/metrics', '/keys', '/encrypts', '//metrics', '/%6detrics', '/v1', '/healthz/', '/?a=b'):
        status, text, answer = send(method, target)
        assert status == 404, (method, target, status, text)
for method, wanted in (('GET', 404), ('POST', 405), ('DELETE', 405), ('TRACE', 405)):
    status, text, answer = send(method, '/console/../metrics')
    assert status == wanted, (method, status, text)
for method in ('PUT', 'DELETE', 'PATCH'):
    alibaba('UnsupportedHTTPMethod', 403, *v1('ListKeys', method=method))
method, target = v1('ListKeys')
status, text, _ = send(method, 'https://elsewhere.example' + target)
assert status == 400, (status, text)
"#,
    );
}

#[test]
fn what_is_too_large_is_refused() {
    judge(
        r#"
status, text, answer = send('POST', '/', {'X-Amz-Target': 'TrentService.Encrypt'}, b'x' * (1024 * 1024 + 1))
assert status == 413 and answer.headers['connection'] == 'close', (status, text)
aws('MissingAuthenticationTokenException', 'POST', '/', {'X-Amz-Target': 'TrentService.Encrypt'}, b'x' * (1024 * 1024))
status, text, _ = send('POST', '/', [('X-Amz-Target', 'TrentService.Encrypt'), ('Content-Length', str(1 << 40))])
assert status == 413, (status, text)
def cut_off(statuses, *request):
    try:
        status, text, _ = send(*request)
    except (OSError, http.client.HTTPException):
        return # cut off while it was sent
    assert status in statuses, (status, text)
cut_off((414, 431), 'GET', '/?' + 'x' * 70000)
cut_off((431,), 'GET', '/healthz', {'x': 'x' * 200000})
cut_off((431,), 'GET', '/healthz', [(f'x{n}', 'x') for n in range(200)])
with context.wrap_socket(socket.create_connection(('127.0.0.1', given['port'])), server_hostname='127.0.0.1') as raw:
    raw.sendall(b'POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: t\r\nTransfer-Encoding: chunked\r\n\r\n')
    try:
        for _ in range(40):
            raw.sendall(b'10000\r\n' + b'x' * 0x10000 + b'\r\n')
    except OSError:
        pass
    told = raw.recv(64)
    assert told == b'' or b' 413 ' in told, told
"#,
    );
}

/// Values that are not UTF-8 or hold control characters.
#[test]
fn headers_that_are_no_text_are_refused() {
    judge(
        r#"
with context.wrap_socket(socket.create_connection(('127.0.0.1', given['port'])), server_hostname='127.0.0.1') as raw:
    raw.sendall(b'POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: t\r\nX: \xff\xfe\r\n\r\n')
    told = raw.recv(65536)
    assert told.startswith(b'HTTP/1.1 400 ') and b'IncompleteSignatureException' in told, told
for broken in (b'\x16\x03\x01\xff\xff' * 100, b'GET / HTTP/9.9\r\n\r\n', b'\x00' * 100, b'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n',
        b'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n', b'POST / HTTP/1.1\r\nHost : x\r\n\r\n'):
    with context.wrap_socket(socket.create_connection(('127.0.0.1', given['port'])), server_hostname='127.0.0.1') as raw:
        raw.sendall(broken)
        told = raw.recv(65536)
        assert told == b'' or told.startswith(b'HTTP/1.1 400 ') or told.startswith(b'HTTP/1.1 505 '), (broken, told)
assert send('GET', '/healthz')[0] == 200
"#,
    );
}

#[test]
fn a_disabled_access_key_is_refused_to_who_has_its_secret() {
    use crate::kms::engine::Caller;
    use crate::kms::engine::ops::admin::SetCredentialEnabled;

    let service = Service::start();
    let disable = SetCredentialEnabled {
        id: service.nobody.id.clone(),
        enabled: false,
    };
    let caller = Caller::local("tests");
    let done = service.engine.perform(&caller, disable);
    service.runtime.block_on(done).unwrap();
    service.judge(
        RAW,
        r#"
nobody = given['nobody']
alibaba('Forbidden.AccessKey', 403, *v1('ListKeys', key=nobody))
alibaba('SignatureDoesNotMatch', 400, *v1('ListKeys', key={'id': nobody['id'], 'secret': 'x'}))
aws('UnrecognizedClientException', *sigv4('ListKeys', key=nobody))
ok(*v1('ListKeys'))
"#,
    );
}
