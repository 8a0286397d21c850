//! boto3 is the client.

use super::Service;

/// `kms` is the administrator's client; `refused` holds a call to its error's name and status.
pub(super) const BOTO3: &str = r#"
import base64, boto3, botocore.auth, botocore.config, botocore.exceptions, datetime, hashlib, json, sys
given = json.load(sys.stdin)
def client(key, **more):
    config = botocore.config.Config(retries={'max_attempts': 0}, parameter_validation=False)
    return boto3.client('kms', region_name='cn-local', endpoint_url='https://' + given['address'], verify=given['ca'],
        aws_access_key_id=key['id'], aws_secret_access_key=key['secret'], config=config, **more)
kms, nobody = client(given['admin']), client(given['nobody'])
def refused(code, call, *args, status=400, **kwargs):
    try:
        answer = call(*args, **kwargs)
    except botocore.exceptions.ClientError as error:
        told = error.response
        assert told['Error']['Code'] == code, (code, told)
        assert told['ResponseMetadata']['HTTPStatusCode'] == status, told
        assert told['Error']['Message'], told
        assert len(told['ResponseMetadata']['RequestId']) == 36, told
        return told['Error']['Message']
    raise AssertionError(('not refused', code, answer))
def new(**kwargs):
    return kms.create_key(**kwargs)['KeyMetadata']
"#;

fn judge(script: &str) {
    let service = Service::start();
    service.judge(BOTO3, script);
}

#[test]
fn keys_live_as_boto3_expects() {
    judge(
        r#"
made = new(Description='first', Tags=[{'TagKey': 'a', 'TagValue': 'b'}])
assert made['KeyState'] == 'Enabled' and made['Enabled'] is True, made
assert made['KeySpec'] == 'SYMMETRIC_DEFAULT' == made['CustomerMasterKeySpec'], made
assert made['EncryptionAlgorithms'] == ['SYMMETRIC_DEFAULT'], made
assert made['KeyUsage'] == 'ENCRYPT_DECRYPT' and made['Origin'] == 'AWS_KMS', made
assert made['AWSAccountId'] == '123456789012' and made['KeyManager'] == 'CUSTOMER', made
assert made['Arn'] == 'arn:aws:kms:cn-local:123456789012:key/' + made['KeyId'], made
assert abs((made['CreationDate'] - datetime.datetime.now(datetime.timezone.utc)).total_seconds()) < 300
key = made['KeyId']
for name in (key, made['Arn']):
    assert kms.describe_key(KeyId=name)['KeyMetadata'] == made
kms.update_key_description(KeyId=key, Description='second')
assert kms.describe_key(KeyId=key)['KeyMetadata']['Description'] == 'second'
kms.disable_key(KeyId=key)
described = kms.describe_key(KeyId=key)['KeyMetadata']
assert described['KeyState'] == 'Disabled' and described['Enabled'] is False
refused('DisabledException', kms.encrypt, KeyId=key, Plaintext=b'x')
kms.enable_key(KeyId=key)
kms.encrypt(KeyId=key, Plaintext=b'x')
scheduled = kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
assert scheduled['KeyId'] == made['Arn'] and scheduled['KeyState'] == 'PendingDeletion', scheduled
assert scheduled['PendingWindowInDays'] == 7
left = (scheduled['DeletionDate'] - datetime.datetime.now(datetime.timezone.utc)).total_seconds()
assert 6.9 * 86400 < left < 7.1 * 86400, left
refused('KMSInvalidStateException', kms.encrypt, KeyId=key, Plaintext=b'x')
refused('KMSInvalidStateException', kms.enable_key, KeyId=key)
assert kms.describe_key(KeyId=key)['KeyMetadata']['DeletionDate'] == scheduled['DeletionDate']
assert kms.cancel_key_deletion(KeyId=key)['KeyId'] == made['Arn']
assert kms.describe_key(KeyId=key)['KeyMetadata']['KeyState'] == 'Disabled'
refused('KMSInvalidStateException', kms.cancel_key_deletion, KeyId=key)
for days in (6, 31):
    refused('ValidationException', kms.schedule_key_deletion, KeyId=key, PendingWindowInDays=days)
"#,
    );
}

#[test]
fn lists_go_on_where_they_stopped() {
    judge(
        r#"
made = {new()['KeyId'] for _ in range(7)}
seen = []
for page in kms.get_paginator('list_keys').paginate(PaginationConfig={'PageSize': 3}):
    assert len(page['Keys']) <= 3
    seen += [key['KeyId'] for key in page['Keys']]
    for key in page['Keys']:
        assert key['KeyArn'].endswith('/' + key['KeyId'])
assert len(seen) == 7 and set(seen) == made, seen
refused('InvalidMarkerException', kms.list_keys, Marker='nonsense')
refused('InvalidMarkerException', kms.list_keys, Marker='')
for limit in (0, 1001):
    refused('ValidationException', kms.list_keys, Limit=limit)
"#,
    );
}

#[test]
fn data_is_encrypted_under_its_context() {
    judge(
        r#"
key = new()
context = {'file': 'a/b c', 'n': '中'}
for plain in (b'x', bytes(range(256)), b'\0' * 4096, b'\0envelopekms/txt', b'\0envelopekms/bin!'):
    made = kms.encrypt(KeyId=key['KeyId'], Plaintext=plain, EncryptionContext=context)
    assert made['KeyId'] == key['Arn'] and made['EncryptionAlgorithm'] == 'SYMMETRIC_DEFAULT', made
    blob = made['CiphertextBlob']
    back = kms.decrypt(CiphertextBlob=blob, EncryptionContext=dict(reversed(context.items())))
    assert back['Plaintext'] == plain and back['KeyId'] == key['Arn'], back
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=context, KeyId=key['Arn'])['Plaintext'] == plain
refused('InvalidCiphertextException', kms.decrypt, CiphertextBlob=blob)
refused('InvalidCiphertextException', kms.decrypt, CiphertextBlob=blob, EncryptionContext={'file': 'a/b c'})
refused('InvalidCiphertextException', kms.decrypt, CiphertextBlob=b'nothing', EncryptionContext=context)
for at in (0, len(blob) // 2, len(blob) - 1):
    changed = bytearray(blob); changed[at] ^= 1
    refused('InvalidCiphertextException', kms.decrypt, CiphertextBlob=bytes(changed), EncryptionContext=context)
other = new()
refused('IncorrectKeyException', kms.decrypt, CiphertextBlob=blob, EncryptionContext=context, KeyId=other['KeyId'])
refused('ValidationException', kms.encrypt, KeyId=key['KeyId'], Plaintext=b'x' * 4097)
refused('ValidationException', kms.encrypt, KeyId=key['KeyId'], Plaintext=b'')
refused('ValidationException', kms.encrypt, KeyId=key['KeyId'])
refused('ValidationException', kms.encrypt, Plaintext=b'x')
refused('ValidationException', kms.encrypt, KeyId=key['KeyId'], Plaintext=b'x', EncryptionContext={'a': 'x' * 8192})
refused('ValidationException', kms.encrypt, KeyId=key['KeyId'], Plaintext=b'x', EncryptionAlgorithm='ROT13')
refused('NotFoundException', kms.encrypt, KeyId='alias/none', Plaintext=b'x')
refused('NotFoundException', kms.encrypt, KeyId='00000000-0000-4000-8000-000000000000', Plaintext=b'x')
refused('NotFoundException', kms.encrypt, KeyId=key['Arn'].replace('cn-local', 'eu-west-1'), Plaintext=b'x')
refused('InvalidArnException', kms.encrypt, KeyId='arn:aws:s3:::bucket', Plaintext=b'x')
refused('DryRunOperationException', kms.encrypt, KeyId=key['KeyId'], Plaintext=b'x', DryRun=True)
again = kms.re_encrypt(CiphertextBlob=blob, SourceEncryptionContext=context, DestinationKeyId=other['KeyId'])
assert again['SourceKeyId'] == key['Arn'] and again['KeyId'] == other['Arn'], again
assert kms.decrypt(CiphertextBlob=again['CiphertextBlob'])['Plaintext'] == plain
refused('InvalidCiphertextException', kms.re_encrypt, CiphertextBlob=blob, DestinationKeyId=other['KeyId'])
pair = new(KeySpec='RSA_2048', KeyUsage='ENCRYPT_DECRYPT')['KeyId']
oaep, bound = {'KeyId': pair, 'EncryptionAlgorithm': 'RSAES_OAEP_SHA_256'}, {'EncryptionContext': {'a': 'b'}}
# An asymmetric key binds nothing: a context that is not bound is not taken.
refused('ValidationException', kms.encrypt, Plaintext=b'x', **oaep, **bound)
sealed = kms.encrypt(Plaintext=b'x', EncryptionContext={}, **oaep)['CiphertextBlob']
refused('ValidationException', kms.decrypt, CiphertextBlob=sealed, **oaep, **bound)
assert kms.decrypt(CiphertextBlob=sealed, **oaep)['Plaintext'] == b'x'
moved = {'CiphertextBlob': sealed, 'SourceKeyId': pair, 'SourceEncryptionAlgorithm': 'RSAES_OAEP_SHA_256', 'DestinationKeyId': other['KeyId']}
refused('ValidationException', kms.re_encrypt, SourceEncryptionContext={'a': 'b'}, **moved)
kms.re_encrypt(DestinationEncryptionContext={'a': 'b'}, **moved)
kms.disable_key(KeyId=key['KeyId'])
refused('DisabledException', kms.decrypt, CiphertextBlob=blob, EncryptionContext=context)
"#,
    );
}

#[test]
fn data_keys_are_as_long_as_they_were_asked_for() {
    judge(
        r#"
key = new()['KeyId']
for asked, length in (({'KeySpec': 'AES_256'}, 32), ({'KeySpec': 'AES_128'}, 16), ({'NumberOfBytes': 1}, 1), ({'NumberOfBytes': 1024}, 1024)):
    made = kms.generate_data_key(KeyId=key, EncryptionContext={'a': 'b'}, **asked)
    assert len(made['Plaintext']) == length, made
    assert kms.decrypt(CiphertextBlob=made['CiphertextBlob'], EncryptionContext={'a': 'b'})['Plaintext'] == made['Plaintext']
    sealed = kms.generate_data_key_without_plaintext(KeyId=key, **asked)
    assert 'Plaintext' not in sealed
    assert len(kms.decrypt(CiphertextBlob=sealed['CiphertextBlob'])['Plaintext']) == length
    assert len(kms.generate_random(NumberOfBytes=length)['Plaintext']) == length
for asked in ({}, {'KeySpec': 'AES_192'}, {'NumberOfBytes': 0}, {'NumberOfBytes': 1025}, {'KeySpec': 'AES_256', 'NumberOfBytes': 32}):
    refused('ValidationException', kms.generate_data_key, KeyId=key, **asked)
refused('ValidationException', kms.generate_random)
refused('UnsupportedOperationException', kms.generate_random, NumberOfBytes=1, CustomKeyStoreId='cks-1')
for spec in ('ECC_NIST_P256', 'ECC_NIST_P384', 'RSA_2048'):
    pair = kms.generate_data_key_pair(KeyId=key, KeyPairSpec=spec)
    assert kms.decrypt(CiphertextBlob=pair['PrivateKeyCiphertextBlob'])['Plaintext'] == pair['PrivateKeyPlaintext']
    from cryptography.hazmat.primitives import serialization as s
    private = s.load_der_private_key(pair['PrivateKeyPlaintext'], None)
    public = private.public_key().public_bytes(s.Encoding.DER, s.PublicFormat.SubjectPublicKeyInfo)
    assert public == pair['PublicKey'] and pair['KeyPairSpec'] == spec
sealed = kms.generate_data_key_pair_without_plaintext(KeyId=key, KeyPairSpec='ECC_NIST_P256')
assert 'PrivateKeyPlaintext' not in sealed and sealed['PublicKey']
"#,
    );
}

#[test]
fn aliases_and_tags_are_kept() {
    judge(
        r#"
first, second = new(), new()
kms.create_alias(AliasName='alias/app/work', TargetKeyId=first['KeyId'])
refused('AlreadyExistsException', kms.create_alias, AliasName='alias/app/work', TargetKeyId=second['KeyId'])
for name in ('work', 'alias/', 'alias/aws/x', 'alias/a b'):
    code = refused('InvalidAliasNameException', kms.create_alias, AliasName=name, TargetKeyId=first['KeyId'])
blob = kms.encrypt(KeyId='alias/app/work', Plaintext=b'x')
assert blob['KeyId'] == first['Arn']
listed = kms.list_aliases(KeyId=first['KeyId'])['Aliases']
assert [(a['AliasName'], a['TargetKeyId']) for a in listed] == [('alias/app/work', first['KeyId'])], listed
assert listed[0]['AliasArn'] == 'arn:aws:kms:cn-local:123456789012:alias/app/work'
assert kms.describe_key(KeyId=listed[0]['AliasArn'])['KeyMetadata']['KeyId'] == first['KeyId']
kms.update_alias(AliasName='alias/app/work', TargetKeyId=second['KeyId'])
assert kms.describe_key(KeyId='alias/app/work')['KeyMetadata']['KeyId'] == second['KeyId']
kms.delete_alias(AliasName='alias/app/work')
refused('NotFoundException', kms.delete_alias, AliasName='alias/app/work')
refused('NotFoundException', kms.describe_key, KeyId='alias/app/work')
assert kms.list_aliases()['Aliases'] == []
key = first['KeyId']
kms.tag_resource(KeyId=key, Tags=[{'TagKey': 'a', 'TagValue': '1'}, {'TagKey': 'b', 'TagValue': ''}])
kms.tag_resource(KeyId=key, Tags=[{'TagKey': 'a', 'TagValue': '2'}])
tags = kms.list_resource_tags(KeyId=key)
assert {t['TagKey']: t['TagValue'] for t in tags['Tags']} == {'a': '2', 'b': ''} and tags['Truncated'] is False, tags
kms.untag_resource(KeyId=key, TagKeys=['a'])
assert [t['TagKey'] for t in kms.list_resource_tags(KeyId=key)['Tags']] == ['b']
refused('TagException', kms.tag_resource, KeyId=key, Tags=[{'TagKey': 'x' * 129, 'TagValue': ''}])
"#,
    );
}

#[test]
fn asymmetric_keys_sign_and_encrypt() {
    judge(
        r#"
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
rsa = new(KeySpec='RSA_2048', KeyUsage='SIGN_VERIFY')
assert len(rsa['SigningAlgorithms']) == 6 and 'EncryptionAlgorithms' not in rsa
key = rsa['KeyId']
made = kms.sign(KeyId=key, Message=b'm', SigningAlgorithm='RSASSA_PKCS1_V1_5_SHA_256')
public = kms.get_public_key(KeyId=key)
assert public['KeySpec'] == 'RSA_2048' and public['KeyUsage'] == 'SIGN_VERIFY' and public['KeyId'] == rsa['Arn']
theirs = serialization.load_der_public_key(public['PublicKey'])
theirs.verify(made['Signature'], b'm', padding.PKCS1v15(), hashes.SHA256())
for kind, message in (('RAW', b'm'), ('DIGEST', hashlib.sha256(b'm').digest())):
    said = kms.verify(KeyId=key, Message=message, MessageType=kind, Signature=made['Signature'], SigningAlgorithm='RSASSA_PKCS1_V1_5_SHA_256')
    assert said['SignatureValid'] is True
refused('KMSInvalidSignatureException', kms.verify, KeyId=key, Message=b'n', Signature=made['Signature'], SigningAlgorithm='RSASSA_PKCS1_V1_5_SHA_256')
refused('ValidationException', kms.sign, KeyId=key, Message=b'm' * 4097, SigningAlgorithm='RSASSA_PKCS1_V1_5_SHA_256')
refused('ValidationException', kms.sign, KeyId=key, Message=b'm', SigningAlgorithm='MD5')
refused('InvalidKeyUsageException', kms.sign, KeyId=key, Message=b'm', SigningAlgorithm='ECDSA_SHA_256')
refused('InvalidKeyUsageException', kms.encrypt, KeyId=key, Plaintext=b'm', EncryptionAlgorithm='RSAES_OAEP_SHA_256')
for spec, algorithm, digest in (('ECC_NIST_P256', 'ECDSA_SHA_256', hashes.SHA256()), ('ECC_NIST_P384', 'ECDSA_SHA_384', hashes.SHA384()), ('ECC_SECG_P256K1', 'ECDSA_SHA_256', hashes.SHA256())):
    key = new(KeySpec=spec, KeyUsage='SIGN_VERIFY')['KeyId']
    made = kms.sign(KeyId=key, Message=b'm', SigningAlgorithm=algorithm)
    theirs = serialization.load_der_public_key(kms.get_public_key(KeyId=key)['PublicKey'])
    theirs.verify(made['Signature'], b'm', ec.ECDSA(digest))
key = new(KeySpec='RSA_2048')['KeyId']
theirs = serialization.load_der_public_key(kms.get_public_key(KeyId=key)['PublicKey'])
for name, digest in (('RSAES_OAEP_SHA_256', hashes.SHA256()), ('RSAES_OAEP_SHA_1', hashes.SHA1())):
    blob = theirs.encrypt(b'secret', padding.OAEP(padding.MGF1(digest), digest, None))
    assert kms.decrypt(KeyId=key, CiphertextBlob=blob, EncryptionAlgorithm=name)['Plaintext'] == b'secret'
    blob = kms.encrypt(KeyId=key, Plaintext=b'secret', EncryptionAlgorithm=name)['CiphertextBlob']
    assert kms.decrypt(KeyId=key, CiphertextBlob=blob, EncryptionAlgorithm=name)['Plaintext'] == b'secret'
refused('InvalidCiphertextException', kms.decrypt, KeyId=key, CiphertextBlob=b'x' * 256, EncryptionAlgorithm='RSAES_OAEP_SHA_256')
refused('ValidationException', kms.decrypt, CiphertextBlob=blob, EncryptionAlgorithm='RSAES_OAEP_SHA_256')
for bits in ('224', '256', '384', '512'):
    made = new(KeySpec='HMAC_' + bits, KeyUsage='GENERATE_VERIFY_MAC')
    name = 'HMAC_SHA_' + bits
    assert made['MacAlgorithms'] == [name]
    mac = kms.generate_mac(KeyId=made['KeyId'], Message=b'm', MacAlgorithm=name)['Mac']
    assert kms.verify_mac(KeyId=made['KeyId'], Message=b'm', Mac=mac, MacAlgorithm=name)['MacValid'] is True
    refused('KMSInvalidMacException', kms.verify_mac, KeyId=made['KeyId'], Message=b'n', Mac=mac, MacAlgorithm=name)
"#,
    );
}

#[test]
fn policies_and_grants_say_who_may() {
    judge(
        r#"
key = new()
name = key['KeyId']
refused('AccessDeniedException', nobody.encrypt, KeyId=name, Plaintext=b'x')
refused('AccessDeniedException', nobody.create_key)
nobody.list_keys()
assert kms.list_key_policies(KeyId=name)['PolicyNames'] == ['default']
json.loads(kms.get_key_policy(KeyId=name)['Policy'])
refused('NotFoundException', kms.get_key_policy, KeyId=name, PolicyName='other')
refused('MalformedPolicyDocumentException', kms.put_key_policy, KeyId=name, Policy='{')
others = json.dumps({'Version': '2012-10-17', 'Statement': [{'Effect': 'Allow', 'Principal': {'AWS': 'nobody'}, 'Action': 'kms:*', 'Resource': '*'}]})
refused('MalformedPolicyDocumentException', kms.create_key, Policy=others)
theirs = kms.create_key(Policy=others, BypassPolicyLockoutSafetyCheck=True)['KeyMetadata']['KeyId']
refused('AccessDeniedException', kms.describe_key, KeyId=theirs)
assert nobody.describe_key(KeyId=theirs)['KeyMetadata']['KeyId'] == theirs
grant = kms.create_grant(KeyId=name, GranteePrincipal='nobody', Operations=['Encrypt', 'Decrypt'],
    Constraints={'EncryptionContextSubset': {'a': 'b'}}, Name='n')
blob = nobody.encrypt(KeyId=name, Plaintext=b'x', EncryptionContext={'a': 'b', 'c': 'd'})['CiphertextBlob']
assert nobody.decrypt(CiphertextBlob=blob, EncryptionContext={'a': 'b', 'c': 'd'})['Plaintext'] == b'x'
refused('AccessDeniedException', nobody.encrypt, KeyId=name, Plaintext=b'x')
refused('AccessDeniedException', nobody.generate_data_key, KeyId=name, KeySpec='AES_256', EncryptionContext={'a': 'b'})
listed = kms.list_grants(KeyId=name)['Grants']
assert len(listed) == 1 and listed[0]['GrantId'] == grant['GrantId'] and listed[0]['GranteePrincipal'] == 'nobody', listed
assert sorted(listed[0]['Operations']) == ['Decrypt', 'Encrypt'] and listed[0]['Name'] == 'n'
assert listed[0]['Constraints'] == {'EncryptionContextSubset': {'a': 'b'}}
kms.revoke_grant(KeyId=name, GrantId=grant['GrantId'])
refused('AccessDeniedException', nobody.encrypt, KeyId=name, Plaintext=b'x', EncryptionContext={'a': 'b'})
refused('InvalidGrantIdException', kms.revoke_grant, KeyId=name, GrantId='0' * 64)
refused('ValidationException', kms.create_grant, KeyId=name, Operations=['Encrypt'])
refused('UnsupportedOperationException', kms.create_grant, KeyId=name, GranteePrincipal='nobody', Operations=['Encrypt'], Constraints={'SourceArn': 'arn:aws:s3:::a-bucket-name'})
grant = kms.create_grant(KeyId=name, GranteePrincipal='nobody', RetiringPrincipal='nobody', Operations=['Encrypt', 'RetireGrant'])
assert [g['GrantId'] for g in kms.list_retirable_grants(RetiringPrincipal='nobody')['Grants']] == [grant['GrantId']]
nobody.retire_grant(GrantToken=grant['GrantToken'])
assert kms.list_grants(KeyId=name)['Grants'] == []
"#,
    );
}

#[test]
fn key_material_is_imported_and_forgotten() {
    judge(
        r#"
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
made = new(Origin='EXTERNAL')
assert made['KeyState'] == 'PendingImport' and made['Origin'] == 'EXTERNAL', made
key = made['KeyId']
refused('KMSInvalidStateException', kms.encrypt, KeyId=key, Plaintext=b'x')
given_parameters = kms.get_parameters_for_import(KeyId=key, WrappingAlgorithm='RSAES_OAEP_SHA_256', WrappingKeySpec='RSA_2048')
public = serialization.load_der_public_key(given_parameters['PublicKey'])
def wrapped(material):
    return public.encrypt(material, padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None))
token = given_parameters['ImportToken']
never = {'ExpirationModel': 'KEY_MATERIAL_DOES_NOT_EXPIRE'}
refused('ValidationException', kms.import_key_material, KeyId=key, ImportToken=token, EncryptedKeyMaterial=wrapped(b'k' * 32))
refused('InvalidImportTokenException', kms.import_key_material, KeyId=key, ImportToken=b'x' * 64, EncryptedKeyMaterial=wrapped(b'k' * 32), **never)
refused('InvalidCiphertextException', kms.import_key_material, KeyId=key, ImportToken=token, EncryptedKeyMaterial=b'x' * 256, **never)
kms.import_key_material(KeyId=key, ImportToken=token, EncryptedKeyMaterial=wrapped(b'k' * 32), **never)
assert kms.describe_key(KeyId=key)['KeyMetadata']['ExpirationModel'] == 'KEY_MATERIAL_DOES_NOT_EXPIRE'
blob = kms.encrypt(KeyId=key, Plaintext=b'x')['CiphertextBlob']
assert kms.delete_imported_key_material(KeyId=key)['KeyId'] == made['Arn']
refused('KMSInvalidStateException', kms.decrypt, CiphertextBlob=blob)
given_parameters = kms.get_parameters_for_import(KeyId=key, WrappingAlgorithm='RSAES_OAEP_SHA_256', WrappingKeySpec='RSA_2048')
public, token = serialization.load_der_public_key(given_parameters['PublicKey']), given_parameters['ImportToken']
refused('IncorrectKeyMaterialException', kms.import_key_material, KeyId=key, ImportToken=token, EncryptedKeyMaterial=wrapped(b'l' * 32), **never)
later = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)
kms.import_key_material(KeyId=key, ImportToken=token, EncryptedKeyMaterial=wrapped(b'k' * 32), ValidTo=later)
described = kms.describe_key(KeyId=key)['KeyMetadata']
assert described['ExpirationModel'] == 'KEY_MATERIAL_EXPIRES' and abs((described['ValidTo'] - later).total_seconds()) < 2
assert kms.decrypt(CiphertextBlob=blob)['Plaintext'] == b'x'
refused('UnsupportedOperationException', kms.get_parameters_for_import, KeyId=new()['KeyId'], WrappingAlgorithm='RSAES_OAEP_SHA_256', WrappingKeySpec='RSA_2048')
"#,
    );
}

#[test]
fn keys_rotate_and_old_ciphertexts_open() {
    judge(
        r#"
key = new()['KeyId']
assert kms.get_key_rotation_status(KeyId=key)['KeyRotationEnabled'] is False
kms.enable_key_rotation(KeyId=key, RotationPeriodInDays=180)
status = kms.get_key_rotation_status(KeyId=key)
assert status['KeyRotationEnabled'] is True and status['RotationPeriodInDays'] == 180 and 'NextRotationDate' in status, status
kms.disable_key_rotation(KeyId=key)
assert kms.get_key_rotation_status(KeyId=key)['KeyRotationEnabled'] is False
for days in (89, 2561):
    refused('ValidationException', kms.enable_key_rotation, KeyId=key, RotationPeriodInDays=days)
blob = kms.encrypt(KeyId=key, Plaintext=b'x')['CiphertextBlob']
kms.rotate_key_on_demand(KeyId=key)
assert kms.decrypt(CiphertextBlob=blob)['Plaintext'] == b'x'
rotations = kms.list_key_rotations(KeyId=key)['Rotations']
assert [r['RotationType'] for r in rotations] == ['ON_DEMAND'], rotations
assert kms.encrypt(KeyId=key, Plaintext=b'x')['CiphertextBlob'] != blob
refused('UnsupportedOperationException', kms.enable_key_rotation, KeyId=new(KeySpec='RSA_2048', KeyUsage='SIGN_VERIFY')['KeyId'])
"#,
    );
}

#[test]
fn who_does_not_prove_it_is_refused() {
    judge(
        r#"
wrong = client({'id': given['admin']['id'], 'secret': 'x' * 40})
refused('InvalidSignatureException', wrong.list_keys)
refused('UnrecognizedClientException', client({'id': 'AKUNKNOWN', 'secret': 'x'}).list_keys)
refused('UnrecognizedClientException', client(given['admin'], aws_session_token='token').list_keys)
now = botocore.auth.get_current_datetime
for minutes in (16, -16):
    botocore.auth.get_current_datetime = lambda *args, **kwargs: now(*args, **kwargs) + datetime.timedelta(minutes=minutes)
    refused('InvalidSignatureException', kms.list_keys)
botocore.auth.get_current_datetime = lambda *args, **kwargs: now(*args, **kwargs) + datetime.timedelta(minutes=14)
kms.list_keys()
"#,
    );
}

#[test]
fn what_this_service_has_not_is_told_as_such() {
    judge(
        r#"
key = new()['KeyId']
refused('UnsupportedOperationException', kms.describe_custom_key_stores)
refused('UnsupportedOperationException', kms.replicate_key, KeyId=key, ReplicaRegion='eu-west-1')
refused('UnsupportedOperationException', kms.create_key, MultiRegion=True)
refused('UnsupportedOperationException', kms.derive_shared_secret, KeyId=key, KeyAgreementAlgorithm='ECDH', PublicKey=b'x')
refused('UnsupportedOperationException', kms.decrypt, CiphertextBlob=b'x', Recipient={'KeyEncryptionAlgorithm': 'RSAES_OAEP_SHA_256'})
"#,
    );
}

/// Every operation of the public model is served or known not to be.
#[test]
fn no_operation_of_the_model_is_unknown() {
    judge(
        r#"
model = kms.meta.service_model
assert len(model.operation_names) >= 54
for operation in model.operation_names:
    try:
        kms._make_api_call(operation, {})
    except botocore.exceptions.ClientError as error:
        code = error.response['Error']['Code']
        assert code in ('ValidationException', 'UnsupportedOperationException'), (operation, error.response)
    except botocore.exceptions.BotoCoreError as error:
        raise AssertionError((operation, error))
"#,
    );
}
