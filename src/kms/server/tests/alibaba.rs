//! Both SDKs of Alibaba Cloud for Python are the clients, the new one with each signature that it has.

use super::Service;

/// A client is a function of an action and its parameters. `each` runs a test with every client,
/// `refused` holds a call to its error's code and status.
pub(super) const SDKS: &str = r#"
import base64, hashlib, importlib, json, re, sys, time
from aliyunsdkcore.client import AcsClient
from aliyunsdkcore.acs_exception.exceptions import ServerException
from alibabacloud_kms20160120.client import Client
from alibabacloud_kms20160120 import models
from alibabacloud_tea_openapi.exceptions import AlibabaCloudException
from alibabacloud_tea_openapi.utils_models import Config
from darabonba.exceptions import UnretryableException
from darabonba.runtime import RuntimeOptions
given = json.load(sys.stdin)
class Refused(Exception):
    def __init__(self, code, status, message, request_id):
        super().__init__(code, status, message)
        self.code, self.status, self.message, self.request_id = code, status, message, request_id
def old(key):
    acs = AcsClient(key['id'], key['secret'], 'cn-local', port=given['port'], verify=given['ca'], auto_retry=False)
    def call(action, **parameters):
        module = importlib.import_module(f'aliyunsdkkms.request.v20160120.{action}Request')
        request = getattr(module, action + 'Request')()
        request.set_endpoint('127.0.0.1')
        request.set_protocol_type('https')
        for name, value in parameters.items():
            request.add_query_param(name, json.dumps(value) if isinstance(value, dict) else value)
        try:
            return json.loads(acs.do_action_with_exception(request))
        except ServerException as error:
            raise Refused(error.get_error_code(), error.get_http_status(), error.get_error_msg(), error.get_request_id())
    return call
def new(key, **how):
    config = Config(access_key_id=key['id'], access_key_secret=key['secret'], endpoint=given['address'], protocol='HTTPS',
        region_id='cn-local', ca=given['ca'], **how)
    client = Client(config)
    def call(action, **parameters):
        request = getattr(models, action + 'Request')().from_map(parameters)
        method = re.sub('(?<!^)(?=[A-Z])', '_', action).lower()
        runtime = RuntimeOptions(autoretry=False)
        try:
            return getattr(client, method + '_with_options')(request, runtime).body.to_map()
        except (AlibabaCloudException, UnretryableException) as error:
            # The client of V4 has the service's answer one layer further in.
            data = getattr(error, 'inner_exception', error).data
            raise Refused(data['Code'], data['HttpStatus'], data['Message'], data['RequestId'])
    return call
makers = {'old': old, 'new V1': lambda key: new(key, signature_algorithm='v2'), 'new V3': new,
    'new V4': lambda key: new(key, signature_version='v4')}
def refused(code, status, call, action, **parameters):
    try:
        answer = call(action, **parameters)
    except Refused as error:
        assert (error.code, error.status) == (code, status), (action, error)
        assert error.message and len(error.request_id) == 36, error
        return error.message
    raise AssertionError(('not refused', code, action, answer))
def each(test):
    for name, maker in makers.items():
        try:
            test(maker(given['admin']))
        except BaseException:
            print('with', name, file=sys.stderr)
            raise
def key_of(call, **parameters):
    return call('CreateKey', **parameters)['KeyMetadata']
"#;

fn judge(script: &str) {
    let service = Service::start();
    service.judge(SDKS, script);
}

#[test]
fn keys_live_as_the_sdks_expect() {
    judge(
        r#"
def test(call):
    made = key_of(call, Description='first & "second" +', KeyUsage='ENCRYPT/DECRYPT')
    assert made['KeyState'] == 'Enabled' and made['KeySpec'] == 'Aliyun_AES_256', made
    assert made['Origin'] == 'Aliyun_KMS' and made['ProtectionLevel'] == 'SOFTWARE', made
    assert made['Description'] == 'first & "second" +' and made['Creator'] == 'admin', made
    assert made['Arn'] == 'acs:kms:cn-local:123456789012:key/' + made['KeyId'], made
    assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ', made['CreationDate']), made
    assert made['DeleteDate'] == '' and made['AutomaticRotation'] == 'Disabled' and len(made['PrimaryKeyVersion']) == 36, made
    key = made['KeyId']
    for name in (key, made['Arn']):
        assert call('DescribeKey', KeyId=name)['KeyMetadata']['KeyId'] == key
    call('UpdateKeyDescription', KeyId=key, Description='third')
    assert call('DescribeKey', KeyId=key)['KeyMetadata']['Description'] == 'third'
    call('DisableKey', KeyId=key)
    assert call('DescribeKey', KeyId=key)['KeyMetadata']['KeyState'] == 'Disabled'
    refused('Rejected.Disabled', 409, call, 'Encrypt', KeyId=key, Plaintext='x')
    call('EnableKey', KeyId=key)
    call('Encrypt', KeyId=key, Plaintext='x')
    refused('Rejected.StateModifiedFailed', 409, call, 'CancelKeyDeletion', KeyId=key)
    call('SetDeletionProtection', ProtectedResourceArn=made['Arn'], EnableDeletionProtection=True, DeletionProtectionDescription='why')
    described = call('DescribeKey', KeyId=key)['KeyMetadata']
    assert (described['DeletionProtection'], described['DeletionProtectionDescription']) == ('Enabled', 'why'), described
    refused('Rejected.StateModifiedFailed', 409, call, 'ScheduleKeyDeletion', KeyId=key, PendingWindowInDays=7)
    call('SetDeletionProtection', ProtectedResourceArn=made['Arn'], EnableDeletionProtection=False)
    for days in (6, 367):
        refused('InvalidParameter', 400, call, 'ScheduleKeyDeletion', KeyId=key, PendingWindowInDays=days)
    call('ScheduleKeyDeletion', KeyId=key, PendingWindowInDays=7)
    described = call('DescribeKey', KeyId=key)['KeyMetadata']
    assert described['KeyState'] == 'PendingDeletion' and described['DeleteDate'], described
    refused('Rejected.PendingDeletion', 409, call, 'Encrypt', KeyId=key, Plaintext='x')
    refused('Rejected.StateModifiedFailed', 409, call, 'EnableKey', KeyId=key)
    call('CancelKeyDeletion', KeyId=key)
    assert call('DescribeKey', KeyId=key)['KeyMetadata']['KeyState'] == 'Enabled'
    refused('Forbidden.KeyNotFound', 404, call, 'DescribeKey', KeyId='00000000-0000-4000-8000-000000000000')
    refused('MissingParameter', 400, call, 'DescribeKey')
each(test)
"#,
    );
}

#[test]
fn text_comes_back_as_it_was() {
    judge(
        r#"
def test(call):
    key = key_of(call)['KeyId']
    context = {'path': '/a b', 'n': '中', 'q': '"\\&=+'}
    for text in ('x', 'c2VjcmV0', '~*!\'() +%&=/?#中😀', '-----BEGIN PRIVATE KEY-----\nMIIB+/==\n-----END PRIVATE KEY-----\n', '\x00envelopekms/txt', 'x' * 6144, '中' * 2048):
        made = call('Encrypt', KeyId=key, Plaintext=text, EncryptionContext=context)
        assert made['KeyId'] == key and len(made['KeyVersionId']) == 36, made
        back = call('Decrypt', CiphertextBlob=made['CiphertextBlob'], EncryptionContext=dict(reversed(context.items())))
        assert back['Plaintext'] == text and back['KeyId'] == key and back['KeyVersionId'] == made['KeyVersionId'], back
    blob = made['CiphertextBlob']
    message = refused('InvalidParameter', 400, call, 'Decrypt', CiphertextBlob=blob)
    assert 'context' in message.lower(), message
    refused('InvalidParameter', 400, call, 'Decrypt', CiphertextBlob=blob, EncryptionContext={'path': '/a b'})
    refused('InvalidParameter', 400, call, 'Decrypt', CiphertextBlob='*')
    refused('InvalidParameter', 400, call, 'Decrypt', CiphertextBlob=base64.b64encode(b'nothing').decode())
    refused('InvalidParameter', 400, call, 'Encrypt', KeyId=key, Plaintext='x' * 6145)
    refused('MissingParameter', 400, call, 'Encrypt', KeyId=key)
    refused('MissingParameter', 400, call, 'Encrypt', Plaintext='x')
    refused('InvalidParameter', 400, call, 'Encrypt', KeyId=key, Plaintext='x', EncryptionContext={'a': 'x' * 8192})
    refused('DryRunOperationError', 400, call, 'Encrypt', KeyId=key, Plaintext='x', DryRun='true')
    other = key_of(call)['KeyId']
    again = call('ReEncrypt', CiphertextBlob=blob, SourceEncryptionContext=context, DestinationKeyId=other, DestinationEncryptionContext={'b': 'c'})
    assert again['KeyId'] == other
    back = call('Decrypt', CiphertextBlob=again['CiphertextBlob'], EncryptionContext={'b': 'c'})
    assert back['Plaintext'] == '中' * 2048 and back['KeyId'] == other
each(test)
"#,
    );
}

#[test]
fn data_keys_are_as_long_as_they_were_asked_for() {
    judge(
        r#"
def test(call):
    key = key_of(call)['KeyId']
    call('CreateAlias', AliasName='alias/Apollo/WorkKey', KeyId=key)
    for asked, length in (({}, 32), ({'KeySpec': 'AES_256'}, 32), ({'KeySpec': 'AES_128'}, 16), ({'NumberOfBytes': 1}, 1), ({'NumberOfBytes': 1024}, 1024), ({'KeySpec': 'AES_128', 'NumberOfBytes': 5}, 5)):
        made = call('GenerateDataKey', KeyId='alias/Apollo/WorkKey', EncryptionContext={'a': 'b'}, **asked)
        assert len(base64.b64decode(made['Plaintext'])) == length and made['KeyId'] == key, made
        back = call('Decrypt', CiphertextBlob=made['CiphertextBlob'], EncryptionContext={'a': 'b'})
        assert back['Plaintext'] == made['Plaintext']
        sealed = call('GenerateDataKeyWithoutPlaintext', KeyId=key, **asked)
        assert not sealed.get('Plaintext')
        assert len(base64.b64decode(call('Decrypt', CiphertextBlob=sealed['CiphertextBlob'])['Plaintext'])) == length
    for asked in ({'KeySpec': 'AES_192'}, {'NumberOfBytes': 1025}, {'NumberOfBytes': 0}):
        refused('InvalidParameter', 400, call, 'GenerateDataKey', KeyId=key, **asked)
    call('DeleteAlias', AliasName='alias/Apollo/WorkKey')
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    private = rsa.generate_private_key(65537, 2048)
    public = base64.b64encode(private.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)).decode()
    to = {'PublicKeyBlob': public, 'WrappingAlgorithm': 'RSAES_OAEP_SHA_256', 'WrappingKeySpec': 'RSA_2048'}
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    out = call('ExportDataKey', CiphertextBlob=made['CiphertextBlob'], EncryptionContext={'a': 'b'}, **to)
    assert private.decrypt(base64.b64decode(out['ExportedDataKey']), oaep) == base64.b64decode(made['Plaintext'])
    text = call('Encrypt', KeyId=key, Plaintext='text', EncryptionContext={'a': 'b'})['CiphertextBlob']
    refused('InvalidParameter', 400, call, 'ExportDataKey', CiphertextBlob=text, EncryptionContext={'a': 'b'}, **to)
    out = call('GenerateAndExportDataKey', KeyId=key, **to)
    theirs = private.decrypt(base64.b64decode(out['ExportedDataKey']), oaep)
    assert base64.b64decode(call('Decrypt', CiphertextBlob=out['CiphertextBlob'])['Plaintext']) == theirs and len(theirs) == 32
    refused('InvalidParameter', 400, call, 'GenerateAndExportDataKey', KeyId=key, **dict(to, WrappingAlgorithm='ROT13'))
each(test)
"#,
    );
}

#[test]
fn lists_have_pages() {
    judge(
        r#"
call = makers['old'](given['admin'])
made = {key_of(call)['KeyId'] for _ in range(12)}
def test(call):
    first = call('ListKeys')
    assert (first['PageNumber'], first['PageSize'], first['TotalCount']) == (1, 10, 12), first
    second = call('ListKeys', PageNumber=2, PageSize=10)
    seen = [key['KeyId'] for page in (first, second) for key in page['Keys']['Key']]
    assert len(seen) == 12 and set(seen) == made, seen
    assert first['Keys']['Key'][0]['KeyArn'].endswith('/' + first['Keys']['Key'][0]['KeyId'])
    assert call('ListKeys', PageNumber=9)['Keys']['Key'] == []
    for paging in ({'PageNumber': 0}, {'PageSize': 101}, {'PageSize': 0}):
        refused('InvalidParameter', 400, call, 'ListKeys', **paging)
    filters = json.dumps([{'Key': 'KeyState', 'Values': ['Disabled']}])
    call('DisableKey', KeyId=seen[0])
    assert [key['KeyId'] for key in call('ListKeys', Filters=filters)['Keys']['Key']] == [seen[0]]
    call('EnableKey', KeyId=seen[0])
    assert call('ListKeys', Filters=filters)['TotalCount'] == 0
    many = json.dumps([{'Key': 'KeyState', 'Values': ['Enabled'] * 1000}])
    for filters in ('{', '[{"Key":"Colour","Values":["x"]}]', '[{"Key":"KeyState","Values":["x"]}]', many):
        refused('InvalidParameter', 400, call, 'ListKeys', Filters=filters)
each(test)
"#,
    );
}

#[test]
fn aliases_and_tags_are_kept() {
    judge(
        r#"
def test(call):
    first, second = key_of(call)['KeyId'], key_of(call)['KeyId']
    call('CreateAlias', AliasName='alias/a', KeyId=first)
    refused('AliasAlreadyExists', 400, call, 'CreateAlias', AliasName='alias/a', KeyId=second)
    for name in ('a', 'alias/', 'alias/acs/x', 'alias/' + 'x' * 250):
        refused('InvalidParameter', 400, call, 'CreateAlias', AliasName=name, KeyId=first)
    listed = call('ListAliasesByKeyId', KeyId=first)
    assert [a['AliasName'] for a in listed['Aliases']['Alias']] == ['alias/a'] and listed['TotalCount'] == 1, listed
    assert listed['Aliases']['Alias'][0]['AliasArn'] == 'acs:kms:cn-local:123456789012:alias/a', listed
    assert call('DescribeKey', KeyId='alias/a')['KeyMetadata']['KeyId'] == first
    call('UpdateAlias', AliasName='alias/a', KeyId=second)
    assert call('ListAliases')['Aliases']['Alias'][0]['KeyId'] == second
    call('DeleteAlias', AliasName='alias/a')
    refused('Forbidden.AliasNotFound', 404, call, 'DeleteAlias', AliasName='alias/a')
    call('TagResource', KeyId=first, Tags=json.dumps([{'TagKey': 'a', 'TagValue': '1'}, {'TagKey': 'b', 'TagValue': '2'}]))
    tags = call('ListResourceTags', KeyId=first)['Tags']['Tag']
    assert sorted((t['KeyId'], t['TagKey'], t['TagValue']) for t in tags) == [(first, 'a', '1'), (first, 'b', '2')], tags
    call('UntagResource', KeyId=first, TagKeys=json.dumps(['a']))
    assert [t['TagKey'] for t in call('ListResourceTags', KeyId=first)['Tags']['Tag']] == ['b']
    for tags in ('{', '["a"]'):
        refused('InvalidParameter', 400, call, 'TagResource', KeyId=first, Tags=tags)
    refused('Rejected.UnsupportedOperation', 400, call, 'TagResource', SecretName='s', Tags='[]')
each(test)
call = makers['new V3'](given['admin'])
keys = [key_of(call)['KeyId'] for _ in range(2)]
many = {'RegionId': 'cn-local', 'ResourceType': 'key', 'ResourceId': keys}
call('TagResources', Tag=[{'Key': 'x', 'Value': '1'}, {'Key': 'y', 'Value': '2'}], **many)
found = call('ListTagResources', Tag=[{'Key': 'x', 'Value': '1'}], **many)['TagResources']['TagResource']
assert sorted((t['ResourceId'], t['TagKey']) for t in found) == sorted((key, 'x') for key in keys), found
refused('InvalidParameter', 400, call, 'UntagResources', TagKey=['x'] * 21, **many)
refused('InvalidParameter', 400, call, 'TagResources', Tag=[{'Key': 'z', 'Value': ''}], ResourceType='key', ResourceId=keys * 26)
call('UntagResources', TagKey=['x'], **many)
assert len(call('ListTagResources', **many)['TagResources']['TagResource']) == 2
call('UntagResources', All=True, **many)
assert call('ListTagResources', **many)['TagResources']['TagResource'] == []
"#,
    );
}

#[test]
fn asymmetric_keys_sign_and_encrypt() {
    judge(
        r#"
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils
digest = hashlib.sha256(b'm').digest()
b64 = lambda data: base64.b64encode(data).decode()
def test(call):
    for spec, algorithm in (('RSA_2048', 'RSA_PSS_SHA_256'), ('RSA_2048', 'RSA_PKCS1_SHA_256'), ('EC_P256', 'ECDSA_SHA_256'), ('EC_P256K', 'ECDSA_SHA_256')):
        made = key_of(call, KeySpec=spec, KeyUsage='SIGN/VERIFY')
        of = {'KeyId': made['KeyId'], 'KeyVersionId': made['PrimaryKeyVersion']}
        signed = call('AsymmetricSign', Algorithm=algorithm, Digest=b64(digest), **of)
        assert signed['KeyVersionId'] == of['KeyVersionId']
        assert call('AsymmetricVerify', Algorithm=algorithm, Digest=b64(digest), Value=signed['Value'], **of)['Value'] is True
        other = b64(hashlib.sha256(b'n').digest())
        assert call('AsymmetricVerify', Algorithm=algorithm, Digest=other, Value=signed['Value'], **of)['Value'] is False
        public = serialization.load_pem_public_key(call('GetPublicKey', **of)['PublicKey'].encode())
        if algorithm == 'ECDSA_SHA_256':
            public.verify(base64.b64decode(signed['Value']), digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
        refused('InvalidParameter', 400, call, 'AsymmetricSign', Algorithm='MD5', Digest=b64(digest), **of)
        refused('InvalidParameter', 400, call, 'AsymmetricSign', Algorithm=algorithm, Digest=b64(b'short'), **of)
        refused('Forbidden.KeyVersionNotFound', 404, call, 'AsymmetricSign', Algorithm=algorithm, Digest=b64(digest), KeyId=of['KeyId'], KeyVersionId='00000000-0000-4000-8000-000000000000')
    made = key_of(call, KeySpec='RSA_2048', KeyUsage='ENCRYPT/DECRYPT')
    of = {'KeyId': made['KeyId'], 'KeyVersionId': made['PrimaryKeyVersion'], 'Algorithm': 'RSAES_OAEP_SHA_256'}
    blob = call('AsymmetricEncrypt', Plaintext=b64(b'secret'), **of)['CiphertextBlob']
    assert call('AsymmetricDecrypt', CiphertextBlob=blob, **of)['Plaintext'] == b64(b'secret')
    refused('InvalidParameter', 400, call, 'AsymmetricDecrypt', CiphertextBlob=b64(b'x' * 256), **of)
    refused('Rejected.UnsupportedOperation', 400, call, 'AsymmetricSign', KeyId=of['KeyId'], KeyVersionId=of['KeyVersionId'], Algorithm='RSA_PSS_SHA_256', Digest=b64(digest))
    version = call('CreateKeyVersion', KeyId=of['KeyId'])['KeyVersion']
    assert version['KeyId'] == of['KeyId'] and version['KeyVersionId'] != of['KeyVersionId'], version
    assert call('DescribeKeyVersion', KeyId=of['KeyId'], KeyVersionId=version['KeyVersionId'])['KeyVersion'] == version
    listed = call('ListKeyVersions', KeyId=of['KeyId'])
    assert listed['TotalCount'] == 2 and version in listed['KeyVersions']['KeyVersion'], listed
each(test)
# The newer client sends what it knows alone.
call = makers['old'](given['admin'])
made = key_of(call, KeySpec='RSA_2048', KeyUsage='ENCRYPT/DECRYPT')
of = {'KeyId': made['KeyId'], 'KeyVersionId': made['PrimaryKeyVersion'], 'Algorithm': 'RSAES_OAEP_SHA_256'}
bound = {**of, 'EncryptionContext': {'a': 'b'}}
blob = call('AsymmetricEncrypt', Plaintext=b64(b'secret'), **of)['CiphertextBlob']
refused('InvalidParameter', 400, call, 'AsymmetricEncrypt', Plaintext=b64(b'secret'), **bound)
refused('InvalidParameter', 400, call, 'AsymmetricDecrypt', CiphertextBlob=blob, **bound)
assert call('AsymmetricDecrypt', CiphertextBlob=blob, **of)['Plaintext'] == b64(b'secret')
call = makers['new V3'](given['admin'])
key = key_of(call, KeySpec='HMAC')['KeyId']
mac = call('GenerateMac', KeyId=key, Algorithm='HMAC_SHA_256', Message=b64(b'm'))['Mac']
assert call('VerifyMac', KeyId=key, Algorithm='HMAC_SHA_256', Message=b64(b'm'), Mac=mac)['Value'] is True
assert call('VerifyMac', KeyId=key, Algorithm='HMAC_SHA_256', Message=b64(b'n'), Mac=mac)['Value'] is False
"#,
    );
}

#[test]
fn keys_rotate_and_old_ciphertexts_open() {
    judge(
        r#"
def test(call):
    made = key_of(call, EnableAutomaticRotation=True, RotationInterval='365d')
    assert made['AutomaticRotation'] == 'Enabled' and made['RotationInterval'] == '31536000s' and made['NextRotationDate'], made
    key = made['KeyId']
    call('UpdateRotationPolicy', KeyId=key, EnableAutomaticRotation=True, RotationInterval='7d')
    assert call('DescribeKey', KeyId=key)['KeyMetadata']['RotationInterval'] == '604800s'
    call('UpdateRotationPolicy', KeyId=key, EnableAutomaticRotation=False)
    assert call('DescribeKey', KeyId=key)['KeyMetadata']['AutomaticRotation'] == 'Disabled'
    refused('InvalidParameter', 400, call, 'UpdateRotationPolicy', KeyId=key, EnableAutomaticRotation=True, RotationInterval='6d')
    refused('MissingParameter', 400, call, 'UpdateRotationPolicy', KeyId=key, EnableAutomaticRotation=True)
    blob = call('Encrypt', KeyId=key, Plaintext='x')
    version = call('CreateKeyVersion', KeyId=key)['KeyVersion']['KeyVersionId']
    assert call('Encrypt', KeyId=key, Plaintext='x')['KeyVersionId'] == version != blob['KeyVersionId']
    assert call('Decrypt', CiphertextBlob=blob['CiphertextBlob'])['Plaintext'] == 'x'
each(test)
"#,
    );
}

#[test]
fn key_material_is_imported_and_forgotten() {
    judge(
        r#"
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
def test(call):
    made = key_of(call, Origin='EXTERNAL')
    key = made['KeyId']
    assert made['KeyState'] == 'PendingImport', made
    refused('Rejected.PendingImport', 409, call, 'Encrypt', KeyId=key, Plaintext='x')
    got = call('GetParametersForImport', KeyId=key, WrappingAlgorithm='RSAES_OAEP_SHA_256', WrappingKeySpec='RSA_2048')
    assert got['KeyId'] == key and got['TokenExpireTime'], got
    public = serialization.load_der_public_key(base64.b64decode(got['PublicKey']))
    wrapped = public.encrypt(b'k' * 32, padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None))
    material = {'KeyId': key, 'EncryptedKeyMaterial': base64.b64encode(wrapped).decode(), 'KeyMaterialExpireUnix': 0}
    refused('InvalidImportToken', 400, call, 'ImportKeyMaterial', ImportToken=base64.b64encode(b'x' * 64).decode(), **material)
    broken = dict(material, EncryptedKeyMaterial=base64.b64encode(b'x' * 256).decode())
    refused('InvalidKeyMaterial', 400, call, 'ImportKeyMaterial', ImportToken=got['ImportToken'], **broken)
    call('ImportKeyMaterial', ImportToken=got['ImportToken'], **material)
    blob = call('Encrypt', KeyId=key, Plaintext='x')['CiphertextBlob']
    call('DeleteKeyMaterial', KeyId=key)
    refused('Rejected.PendingImport', 409, call, 'Decrypt', CiphertextBlob=blob)
    refused('Unsupported.Origin', 400, call, 'GetParametersForImport', KeyId=key_of(call)['KeyId'], WrappingAlgorithm='RSAES_OAEP_SHA_256', WrappingKeySpec='RSA_2048')
each(test)
"#,
    );
}

#[test]
fn policies_say_who_may() {
    judge(
        r#"
for name, maker in makers.items():
    call, nobody = maker(given['admin']), maker(given['nobody'])
    key = key_of(call)['KeyId']
    refused('Forbidden.NoPermission', 403, nobody, 'Encrypt', KeyId=key, Plaintext='x')
    refused('Forbidden.NoPermission', 403, nobody, 'CreateKey')
    nobody('ListKeys')
    policy = call('GetKeyPolicy', KeyId=key, PolicyName='default')['Policy']
    json.loads(policy)
    call('SetKeyPolicy', KeyId=key, PolicyName='default', Policy=policy)
    refused('InvalidParameter', 400, call, 'SetKeyPolicy', KeyId=key, PolicyName='other', Policy=policy)
    refused('InvalidParameter', 400, call, 'SetKeyPolicy', KeyId=key, PolicyName='default', Policy='{')
"#,
    );
}

#[test]
fn who_does_not_prove_it_is_refused() {
    judge(
        r#"
for name, maker in makers.items():
    wrong = maker({'id': given['admin']['id'], 'secret': 'x' * 40})
    refused('SignatureDoesNotMatch', 400, wrong, 'ListKeys')
    refused('InvalidAccessKeyId.NotFound', 404, maker({'id': 'AKUNKNOWN', 'secret': 'x'}), 'ListKeys')
sts = new(dict(given['admin']), security_token='STS1', type='sts')
refused('InvalidSecurityToken.Malformed', 400, sts, 'ListKeys')
call = makers['new V3'](given['admin'])
for action, parameters in (('ListSecrets', {}), ('GetSecretValue', {'SecretName': 's'}), ('ListKmsInstances', {})):
    refused('Rejected.UnsupportedOperation', 400, call, action, **parameters)
assert makers['old'](given['admin'])('DescribeRegions')['Regions']['Region'] == [{'RegionId': 'cn-local'}]
"#,
    );
}

/// One ciphertext, one data key, both dialects.
#[test]
fn what_one_dialect_encrypts_the_other_decrypts() {
    judge(
        r#"
import boto3
aws = boto3.client('kms', region_name='cn-local', endpoint_url='https://' + given['address'], verify=given['ca'],
    aws_access_key_id=given['admin']['id'], aws_secret_access_key=given['admin']['secret'])
def test(call):
    key = key_of(call)['KeyId']
    made = call('GenerateDataKey', KeyId=key, EncryptionContext={'a': 'b'})
    theirs = aws.decrypt(CiphertextBlob=base64.b64decode(made['CiphertextBlob']), EncryptionContext={'a': 'b'})
    assert theirs['Plaintext'] == base64.b64decode(made['Plaintext'])
    made = aws.encrypt(KeyId=key, Plaintext=b'\xff\x00bytes')
    theirs = call('Decrypt', CiphertextBlob=base64.b64encode(made['CiphertextBlob']).decode())
    assert base64.b64decode(theirs['Plaintext']) == b'\xff\x00bytes'
    made = call('Encrypt', KeyId=key, Plaintext='text 中')
    theirs = aws.decrypt(CiphertextBlob=base64.b64decode(made['CiphertextBlob']))
    assert theirs['Plaintext'] == 'text 中'.encode()
each(test)
"#,
    );
}
