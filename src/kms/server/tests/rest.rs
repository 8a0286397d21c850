//! The REST interface, asked by Python's own HTTP and the `cryptography` package.

use super::Service;

/// `call` asks by Basic, `made` makes what every request has, `refused` holds code and status.
const REST: &str = r#"
import base64, hashlib, http.client, json, os, secrets, ssl, sys, time
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
given = json.load(sys.stdin)
admin, nobody = given['admin'], given['nobody']
context = ssl.create_default_context(cafile=given['ca'])
b64 = lambda data: base64.b64encode(data).decode()
unb64 = base64.b64decode
sha = lambda data: hashlib.sha256(data).hexdigest()
def basic(key):
    return {'Authorization': 'Basic ' + b64((key['id'] + ':' + key['secret']).encode())}
def call(method, path, body=None, headers=None, key=admin):
    connection = http.client.HTTPSConnection('127.0.0.1', given['port'], context=context, timeout=60)
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    connection.request(method, path, data, basic(key) if headers is None else headers)
    answer = connection.getresponse()
    text = answer.read()
    assert answer.headers['Cache-Control'] == 'no-store'
    return answer.status, json.loads(text), answer.headers
def ok(*request, **more):
    status, body, headers = call(*request, **more)
    assert status == 200, (status, body)
    assert headers['x-request-id'] == body.get('request_id', headers['x-request-id'])
    return body
def refused(status, code, *request, **more):
    told, body, headers = call(*request, **more)
    assert (told, body['code']) == (status, code), (told, body, code)
    assert set(body) == {'code', 'message', 'request_id'}, body
    assert headers['x-request-id'] == body['request_id']
    return body, headers
def made(data, **members):
    return {'timestamp': time.time(), 'nonce': secrets.token_urlsafe(16), 'sha256': sha(data)} | members
def to_encrypt(data, key='alias/app', **members):
    return made(data) | {'key': key, 'plaintext': b64(data)} | members
def to_decrypt(sealed, **members):
    members = {name: sealed[name] for name in ('key', 'version', 'ciphertext', 'wrapped_key')} | members
    return made(unb64(members['ciphertext'])) | members
import botocore.session
aws = botocore.session.get_session().create_client('kms', 'cn-local', endpoint_url='https://127.0.0.1:%d' % given['port'],
    verify=given['ca'], aws_access_key_id=admin['id'], aws_secret_access_key=admin['secret'])
def new_key(alias, **members):
    key = aws.create_key(**members)['KeyMetadata']['KeyId']
    aws.create_alias(AliasName=alias, TargetKeyId=key)
    return key
app = new_key('alias/app', KeySpec='RSA_2048', KeyUsage='ENCRYPT_DECRYPT')
"#;

fn judge(script: &str) {
    let service = Service::start();
    service.judge(REST, script);
}

#[test]
fn what_is_encrypted_is_decrypted_whatever_its_length() {
    judge(
        r#"
for plaintext in (b'', b'x', b'\0' * 6145, secrets.token_bytes(768 * 1024)):
    sealed = ok('POST', '/encrypt', to_encrypt(plaintext))
    assert set(sealed) == {'key', 'version', 'ciphertext', 'wrapped_key', 'sha256', 'request_id'}
    assert sealed['key'] == app and sealed['sha256'] == sha(unb64(sealed['ciphertext']))
    assert len(unb64(sealed['ciphertext'])) == 12 + len(plaintext) + 16
    for key in (app, 'alias/app', 'arn:aws:kms:cn-local:123456789012:key/' + app, 'acs:kms:cn-local:123456789012:alias/app'):
        opened = ok('POST', '/decrypt', to_decrypt(sealed, key=key))
        assert set(opened) == {'plaintext', 'sha256', 'request_id'}
        assert unb64(opened['plaintext']) == plaintext and opened['sha256'] == sha(plaintext)
again = [ok('POST', '/encrypt', to_encrypt(b'same')) for _ in range(2)]
assert again[0]['ciphertext'] != again[1]['ciphertext'] and again[0]['wrapped_key'] != again[1]['wrapped_key']
"#,
    );
}

/// The format is public: a client needs the service for decryption only.
#[test]
fn a_client_with_the_public_key_makes_the_same() {
    judge(
        r#"
public = ok('GET', '/keys/public?key=alias%2Fapp')
assert set(public) == {'key', 'version', 'spec', 'public_key', 'algorithms'}, public
assert (public['key'], public['spec'], public['algorithms'][0]) == (app, 'RSA_2048', 'RSAES_OAEP_SHA_256')
rsa = serialization.load_pem_public_key(public['public_key'].encode())
oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
data_key, nonce = os.urandom(32), os.urandom(12)
aad = '\0'.join(['envelopekms-rest-v1', public['key'], public['version']]).encode()
own = {'key': public['key'], 'version': public['version'], 'wrapped_key': b64(rsa.encrypt(data_key, oaep)),
    'ciphertext': b64(nonce + AESGCM(data_key).encrypt(nonce, b'made by the client', aad))}
assert unb64(ok('POST', '/decrypt', to_decrypt(own))['plaintext']) == b'made by the client'
for wrong in (b'', aad + b'x', aad.replace(b'-v1', b'-v2')):
    own['ciphertext'] = b64(nonce + AESGCM(data_key).encrypt(nonce, b'x', wrong))
    refused(400, 'CiphertextInvalid', 'POST', '/decrypt', to_decrypt(own))
for length in (16, 24, 31):
    key = os.urandom(length)
    own['wrapped_key'] = b64(rsa.encrypt(key, oaep))
    own['ciphertext'] = b64(nonce + AESGCM(key if length != 31 else data_key).encrypt(nonce, b'x', aad))
    refused(400, 'CiphertextInvalid', 'POST', '/decrypt', to_decrypt(own))
"#,
    );
}

#[test]
fn a_request_counts_once_now_and_whole() {
    judge(
        r#"
sealed = ok('POST', '/encrypt', to_encrypt(b'secret'))
for path, make in (('/encrypt', lambda **more: to_encrypt(b'secret', **more)), ('/decrypt', lambda **more: to_decrypt(sealed, **more))):
    for off in (-310, 310, -86400 * 365):
        refused(412, 'TimestampOutsideWindow', 'POST', path, make(timestamp=time.time() + off))
    ok('POST', path, make(timestamp=time.time() - 280))
    ok('POST', path, make(timestamp=time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())))
    refused(422, 'HashMismatch', 'POST', path, make(sha256=sha(b'other')))
    body = make()
    ok('POST', path, body)
    for again in (body, body | {'timestamp': time.time()}):
        refused(409, 'NonceSeen', 'POST', path, again)
    for nonce in ('', 'short', 'n' * 15, 'n' * 129, 'with space 0123456789', 'ä' * 20):
        refused(400, 'InvalidParameter', 'POST', path, make(nonce=nonce))
    for timestamp in ('', 'now', '2026-01-31'):
        refused(400, 'InvalidParameter', 'POST', path, make(timestamp=timestamp))
    for name in make():
        body = make()
        del body[name]
        refused(400, 'InvalidBody', 'POST', path, body)
    for body in (b'', b'[]', b'null', b'{', b'\xff', b'{"key":1}'):
        refused(400, 'InvalidBody', 'POST', path, body)
nonce = secrets.token_hex(16)
refused(422, 'HashMismatch', 'POST', '/encrypt', to_encrypt(b'a', nonce=nonce, sha256=sha(b'b')))
ok('POST', '/encrypt', to_encrypt(b'a', nonce=nonce))
"#,
    );
}

#[test]
fn what_was_changed_is_refused() {
    judge(
        r#"
sealed, other = (ok('POST', '/encrypt', to_encrypt(b'secret')) for _ in range(2))
data = unb64(sealed['ciphertext'])
for nth in (0, 11, 12, len(data) - 17, len(data) - 1):
    changed = bytearray(data)
    changed[nth] ^= 1
    refused(400, 'CiphertextInvalid', 'POST', '/decrypt', to_decrypt(sealed, ciphertext=b64(changed)))
for part in (b'', data[:11], data[:27], data[:-1], data + b'x'):
    refused(400, 'CiphertextInvalid', 'POST', '/decrypt', to_decrypt(sealed, ciphertext=b64(part)))
refused(400, 'CiphertextInvalid', 'POST', '/decrypt', to_decrypt(sealed, wrapped_key=other['wrapped_key']))
refused(400, 'CiphertextInvalid', 'POST', '/decrypt', to_decrypt(sealed, wrapped_key=b64(b'x' * 256)))
refused(404, 'KeyVersionNotFound', 'POST', '/decrypt', to_decrypt(sealed, version='5b6f1f9e-0000-4000-8000-000000000000'))
second = new_key('alias/second', KeySpec='RSA_2048', KeyUsage='ENCRYPT_DECRYPT')
refused(404, 'KeyVersionNotFound', 'POST', '/decrypt', to_decrypt(sealed, key='alias/second'))
for name in ('ciphertext', 'wrapped_key'):
    body = to_decrypt(sealed)
    refused(400, 'InvalidParameter', 'POST', '/decrypt', body | {name: 'no base64!'})
refused(400, 'InvalidParameter', 'POST', '/encrypt', to_encrypt(b'x', plaintext='no base64!'))
refused(400, 'InvalidBody', 'POST', '/encrypt', to_encrypt(b'x', encryption_context={'a': 'b'}))
"#,
    );
}

#[test]
fn keys_that_cannot_or_may_not_be_used_are_refused() {
    judge(
        r#"
sealed = ok('POST', '/encrypt', to_encrypt(b'secret'))
for path, body in (('/encrypt', lambda: to_encrypt(b'x')), ('/decrypt', lambda: to_decrypt(sealed))):
    refused(403, 'AccessDenied', 'POST', path, body(), key=nobody)
refused(403, 'AccessDenied', 'GET', '/keys/public?key=alias/app', key=nobody)
new_key('alias/symmetric')
new_key('alias/signs', KeySpec='RSA_2048', KeyUsage='SIGN_VERIFY')
for alias in ('alias/symmetric', 'alias/signs'):
    refused(400, 'KeyUsage', 'POST', '/encrypt', to_encrypt(b'x', key=alias))
refused(400, 'KeyUsage', 'GET', '/keys/public?key=alias/symmetric')
assert ok('GET', '/keys/public?key=alias/signs')['algorithms'][0] == 'RSASSA_PSS_SHA_256'
for key in ('alias/none', 'none', 'arn:aws:kms:elsewhere:123456789012:key/' + app):
    _, body, _ = call('POST', '/encrypt', to_encrypt(b'x', key=key))
    assert body['code'] in ('KeyNotFound', 'AliasNotFound'), body
refused(400, 'InvalidParameter', 'POST', '/encrypt', to_encrypt(b'x', key=''))
for query in ('', '?', '?key=', '?key=a&key=b', '?key=%zz'):
    refused(400, 'InvalidParameter', 'GET', '/keys/public' + query)
aws.disable_key(KeyId=app)
refused(409, 'KeyDisabled', 'POST', '/encrypt', to_encrypt(b'x'))
refused(409, 'KeyDisabled', 'POST', '/decrypt', to_decrypt(sealed))
refused(409, 'KeyDisabled', 'GET', '/keys/public?key=alias/app')
aws.enable_key(KeyId=app)
assert unb64(ok('POST', '/decrypt', to_decrypt(sealed))['plaintext']) == b'secret'
"#,
    );
}

#[test]
fn only_an_access_key_comes_in_and_failures_are_held_off() {
    judge(
        r#"
for headers in ({}, {'Authorization': 'Bearer x'}, {'Authorization': 'Basic'}, {'Authorization': 'Basic !'}, {'Authorization': 'Basic ' + b64(b'no colon')}):
    _, answered = refused(401, 'AccessKeyMissing', 'POST', '/encrypt', to_encrypt(b'x'), headers=headers)
    assert answered['WWW-Authenticate'].startswith('Basic realm='), answered
wrong = [{'id': admin['id'], 'secret': 'x'}, {'id': admin['id'], 'secret': ''}, {'id': 'EKMSNONE', 'secret': admin['secret']},
    {'id': '', 'secret': ''}, {'id': admin['id'], 'secret': admin['secret'] + ' '}, {'id': 'i' * 200, 'secret': 'x'}]
told = {refused(401, 'AccessKeyWrong', 'GET', '/keys/public?key=alias/app', key=key)[0]['message'] for key in wrong}
assert len(told) == 1, 'an unknown id is told like a wrong secret'
for _ in range(10):
    status, body, headers = call('GET', '/keys/public?key=alias/app', key=wrong[0])
    if status == 429:
        break
assert body['code'] == 'TooManyFailures' and 1 <= int(headers['Retry-After']) <= 60, (body, headers)
refused(429, 'TooManyFailures', 'GET', '/keys/public?key=alias/app')
"#,
    );
}

#[test]
fn other_methods_and_longer_bodies_are_refused() {
    judge(
        r#"
for method, path, allow in (('GET', '/encrypt', 'POST'), ('PUT', '/decrypt', 'POST'), ('POST', '/keys/public', 'GET')):
    _, headers = refused(405, 'MethodNotAllowed', method, path, b'' if method != 'GET' else None)
    assert headers['Allow'] == allow
refused(413, 'TooLong', 'POST', '/encrypt', to_encrypt(b'x' * (768 * 1024 + 1)))
refused(413, 'TooLong', 'POST', '/encrypt', b' ' * (1200 * 1024))
"#,
    );
}
