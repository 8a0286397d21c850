//! What the console's pages ask, and what others may not; the pages themselves are for `scripts/console.sh`.

use super::Service;
use crate::audit::WhenFull;
use crate::kms::server::Limits;

/// `ask` asks as the pages do, `refused` holds code and status.
pub(super) const CONSOLE: &str = r#"
import http.client, json, ssl, sys
given = json.load(sys.stdin)
admin, nobody = given['admin'], given['nobody']
context = ssl.create_default_context(cafile=given['ca'])
origin = 'https://' + given['address']
class Page:
    def __init__(self):
        self.cookie, self.token = '', ''
    def send(self, method, path, body=b'', **headers):
        connection = http.client.HTTPSConnection('127.0.0.1', given['port'], context=context, timeout=60)
        own = {'Content-Type': 'application/json', 'Origin': origin, 'Sec-Fetch-Site': 'same-origin', 'Cookie': self.cookie, 'X-Console-Token': self.token}
        own.update({name.replace('_', '-'): value for name, value in headers.items()})
        connection.request(method, path, body, {name: value for name, value in own.items() if value})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    def call(self, name, members={}, **headers):
        status, text, answered = self.send('POST', '/console/api/' + name, json.dumps(members).encode(), **headers)
        if answered['Set-Cookie']:
            self.cookie = answered['Set-Cookie'].split(';')[0]
        return status, json.loads(text), answered
    def ask(self, name, members={}):
        status, body, _ = self.call(name, members)
        assert status == 200, (name, status, body)
        return body
    def refused(self, status, code, name, members={}, **headers):
        told, body, _ = self.call(name, members, **headers)
        assert (told, body['code']) == (status, code), (name, told, body, code)
    def sign_in(self, key):
        self.token = self.ask('SignIn', key)['token']
        return self
page = Page().sign_in(admin)
"#;

fn judge(script: &str) {
    let service = Service::start();
    service.judge(CONSOLE, script);
}

#[test]
fn a_session_is_a_cookie_and_a_token() {
    judge(
        r#"
status, body, headers = Page().call('SignIn', admin)
cookie = headers['Set-Cookie']
for part in ('__Host-envelopekms=', '; Path=/', '; Secure', '; HttpOnly', '; SameSite=Strict', '; Max-Age=1800'):
    assert part in cookie, cookie
assert 'Domain' not in cookie and body['token'] not in cookie and admin['secret'] not in json.dumps(body)
assert body['principal'] == 'admin' and body['access_key_id'] == admin['id']
page.ask('ListKeys')
for token in ('', 'x', body['token']):
    page.refused(403, 'TokenWrong', 'ListKeys', X_Console_Token=token)
for cookie in ('', 'x=y', '__Host-envelopekms=', '__Host-envelopekms=x', page.cookie + '; ' + page.cookie):
    page.refused(401, 'SessionEnded', 'ListKeys', Cookie=cookie)
back = Page()
back.cookie = page.cookie
back.token = back.ask('Session')['token']
back.ask('ListKeys')
page.ask('SignOut')
for gone in (page, back):
    gone.refused(401, 'SessionEnded', 'ListKeys')
"#,
    );
}

#[test]
fn pages_of_other_sites_and_forms_get_nothing() {
    judge(
        r#"
for headers in ({'Origin': 'https://evil.example'}, {'Origin': 'null'}, {'Origin': origin.replace('https', 'http')}, {'Sec_Fetch_Site': 'cross-site'}, {'Sec_Fetch_Site': 'same-site'}):
    for name, members in (('SignIn', admin), ('ListKeys', {}), ('SignOut', {})):
        page.refused(403, 'OtherOrigin', name, members, **headers)
for kind in ('text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data'):
    page.refused(415, 'NotJson', 'ListKeys', Content_Type=kind)
for method in ('GET', 'PUT', 'OPTIONS'):
    status, _, headers = page.send(method, '/console/api/ListKeys')
    assert status == 405 and 'Access-Control-Allow-Origin' not in headers, (method, status)
page.refused(404, 'NotFound', 'Encrypt')
page.refused(404, 'NotFound', 'ListKeys/x')
page.refused(400, 'InvalidBody', 'GetKey', {})
page.ask('ListKeys')
"#,
    );
}

#[test]
fn who_may_not_is_refused_as_everywhere() {
    judge(
        r#"
Page().refused(401, 'AccessKeyWrong', 'SignIn', {'id': admin['id'], 'secret': nobody['secret']})
Page().refused(401, 'AccessKeyWrong', 'SignIn', {'id': 'x', 'secret': ''})
Page().refused(400, 'InvalidBody', 'SignIn', {'id': 'x'})
key = page.ask('CreateKey', {'description': 'd', 'spec': 'AES_256', 'usage': 'ENCRYPT_DECRYPT', 'alias': 'alias/a', 'rotation_days': 90})['id']
other = Page().sign_in(nobody)
assert len(other.ask('ListKeys')['keys']) == 1
of_key = {'key': key}
for name, members in {'GetKey': of_key, 'DisableKey': of_key, 'RotateKey': of_key, 'CreateAlias': of_key | {'name': 'alias/b'},
        'ScheduleKeyDeletion': of_key | {'days': 7, 'confirm': key}, 'PutKeyPolicy': of_key | {'policy': '{}'},
        'CreateKey': {'description': '', 'spec': 'AES_256', 'usage': 'ENCRYPT_DECRYPT', 'alias': ''},
        'ListCalls': {'key': None}, 'ListPrincipals': {}, 'CreateAccessKey': {'name': 'admin'}, 'CreatePrincipal': {'name': 'x', 'policy': '{}'}}.items():
    other.refused(403, 'AccessDenied', name, members)
calls = page.ask('ListCalls', {'key': None})['calls']
denied = [call['action'] for call in calls if call['principal'] == 'nobody' and call['refusal']]
assert 'DisableKey' in denied and 'ListCalls' in denied, denied
assert any(call['action'] == 'Authenticate' and call['refusal'] for call in calls), calls
# A session ends with its access key.
access = page.ask('ListPrincipals')['principals']
assert {person['name'] for person in access} == {'admin', 'nobody'}
page.ask('SetAccessKeyEnabled', {'id': nobody['id'], 'enabled': False})
other.refused(401, 'SessionEnded', 'ListKeys')
Page().refused(401, 'AccessKeyDisabled', 'SignIn', nobody)
page.ask('SetAccessKeyEnabled', {'id': nobody['id'], 'enabled': True})
other.refused(401, 'SessionEnded', 'ListKeys')
Page().sign_in(nobody)
"#,
    );
}

#[test]
fn a_key_lives_through_the_console() {
    judge(
        r#"
made = page.ask('CreateKey', {'description': 'orders', 'spec': 'AES_256', 'usage': 'ENCRYPT_DECRYPT', 'alias': 'alias/orders', 'rotation_days': 90})
key = {'key': made['id']}
def whole():
    return page.ask('GetKey', key)
again = page.ask('CreateKey', {'description': '', 'spec': 'RSA_2048', 'usage': 'SIGN_VERIFY', 'alias': 'alias/orders'})
assert again['alias']['refused']['code'] == 'AliasExists' and again['id'] != made['id'], again
now = whole()
assert (now['key']['state'], now['key']['rotation']['days'], now['aliases'], now['grants']) == ('Enabled', 90, {'is': ['alias/orders']}, {'is': []}), now
page.ask('RotateKey', key)
versions = whole()['versions']['is']
assert [version['number'] for version in versions] == [2, 1] and versions[0]['id'] == whole()['key']['primary']
page.ask('SetKeyVersionEnabled', key | {'version': versions[1]['id'], 'enabled': False})
page.refused(400, 'UnsupportedOperation', 'SetKeyVersionEnabled', key | {'version': versions[0]['id'], 'enabled': False})
page.ask('UpdateRotation', key | {'days': None})
page.refused(400, 'InvalidParameter', 'UpdateRotation', key | {'days': 1})
page.ask('UpdateKeyDescription', key | {'description': 'more'})
page.ask('TagKey', key | {'tag': 'team', 'value': 'orders'})
page.ask('CreateGrant', key | {'name': '', 'grantee': 'nobody', 'operations': ['Encrypt']})
page.refused(400, 'InvalidParameter', 'CreateGrant', key | {'name': '', 'grantee': 'nobody', 'operations': ['CreateKey']})
now = whole()
assert now['tags'] == {'is': [{'key': 'team', 'value': 'orders'}]} and now['key']['description'] == 'more'
page.ask('RevokeGrant', key | {'id': now['grants']['is'][0]['id']})
page.ask('UntagKey', key | {'tag': 'team'})
page.ask('PutKeyPolicy', key | {'policy': now['policy']['is']})
page.refused(400, 'PolicyMalformed', 'PutKeyPolicy', key | {'policy': '{}'})
page.ask('DisableKey', key)
page.refused(409, 'KeyDisabled', 'RotateKey', key)
page.ask('EnableKey', key)
for confirm in ('', 'orders', 'alias/other', again['id'], made['id'].upper()):
    page.refused(400, 'NotConfirmed', 'ScheduleKeyDeletion', key | {'days': 7, 'confirm': confirm})
page.refused(400, 'InvalidParameter', 'ScheduleKeyDeletion', key | {'days': 6, 'confirm': made['id']})
page.ask('ScheduleKeyDeletion', key | {'days': 7, 'confirm': 'alias/orders'})
assert whole()['key']['state'] == 'PendingDeletion'
page.refused(409, 'InvalidState', 'EnableKey', key)
page.ask('CancelKeyDeletion', key)
assert whole()['key']['state'] == 'Enabled'
page.ask('DeleteAlias', {'name': 'alias/orders'})
of_key = page.ask('ListCalls', key)
assert of_key['minutes'] == [] and {call['key'] for call in of_key['calls']} == {made['id']}
minutes = page.ask('ListCalls', {'key': None})['minutes']
assert len(minutes) == 60 and sum(minute['refused'] for minute in minutes) == 8, minutes
"#,
    );
}

#[test]
fn people_and_their_access_keys_are_made_and_taken_away() {
    judge(
        r#"
policy = json.dumps({'Version': '2012-10-17', 'Statement': [{'Effect': 'Allow', 'Action': ['kms:List*'], 'Resource': '*'}]})
page.ask('CreatePrincipal', {'name': 'app', 'policy': policy})
page.refused(409, 'PrincipalExists', 'CreatePrincipal', {'name': 'app', 'policy': policy})
page.refused(400, 'PolicyMalformed', 'CreatePrincipal', {'name': 'app2', 'policy': '['})
made = page.ask('CreateAccessKey', {'name': 'app'})
app = Page().sign_in(made)
app.ask('ListCalls', {'key': None})
page.ask('PutPrincipalPolicy', {'name': 'app', 'policy': policy.replace('kms:List*', 'kms:ListKeys')})
app.refused(403, 'AccessDenied', 'ListCalls', {'key': None})
assert made['secret'] not in json.dumps(page.ask('ListPrincipals'))
page.ask('DeleteAccessKey', {'id': made['id']})
app.refused(401, 'SessionEnded', 'ListKeys')
page.ask('DeletePrincipal', {'name': 'app'})
page.refused(404, 'PrincipalNotFound', 'CreateAccessKey', {'name': 'app'})
"#,
    );
}

#[test]
fn wrong_access_keys_are_held_off_and_pages_are_for_everybody() {
    judge(
        r#"
for _ in range(10):
    Page().refused(401, 'AccessKeyWrong', 'SignIn', {'id': admin['id'], 'secret': 'x'})
Page().refused(429, 'TooManyFailures', 'SignIn', admin)
page.ask('ListKeys')
for path in ('/console', '/console/', '/console/app.js', '/console/style.css'):
    status, _, headers = Page().send('GET', path)
    assert status == 200 and headers['Content-Security-Policy'].startswith("default-src 'none'; script-src 'self';"), path
    assert headers['X-Content-Type-Options'] == 'nosniff' and headers['Cache-Control'] == 'no-store'
assert Page().send('HEAD', '/console')[0] == 200
for path in ('/console/none.js', '/console/../Cargo.toml', '/console/api'):
    assert Page().send('GET', path)[0] == 404, path
assert page.send('POST', '/console/api/ListKeys', b' ' * (129 * 1024))[0] == 413
"#,
    );
}

/// Whoever has an access key and signs in again and again is held to the rate that others are held to.
#[test]
fn who_signs_in_and_out_is_in_the_trail_and_held_to_the_rate() {
    let limits = Limits {
        requests_per_second: Some(5),
        ..Limits::default()
    };
    Service::start_with_trail(limits, WhenFull::Drop).judge(
        CONSOLE,
        r#"
for _ in range(60):
    status, body, _ = Page().call('SignIn', nobody)
    if status != 200:
        break
assert (status, body['code']) == (429, 'Throttled'), body
page.ask('SignOut')
calls = Page().sign_in(admin).ask('ListCalls', {'key': None})['calls']
told = [(call['action'], call['principal'], call['refusal']) for call in calls]
for line in (('SignIn', 'admin', None), ('SignIn', 'nobody', None), ('SignOut', 'admin', None)):
    assert line in told, (line, told)
"#,
    );
}
