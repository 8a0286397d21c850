//! Keys in an HSM, as clients of both clouds ask for them and use them.

use std::sync::Arc;

use super::alibaba::SDKS;
use super::aws::BOTO3;
use super::console::CONSOLE;
use super::{Limits, Service};
use crate::keys::Pkcs11Options;
use crate::keys::pkcs11::softhsm::{PIN, SoftHsm, with_token};
use crate::kms::hsm::Hsm;

fn service(token: &SoftHsm) -> Service {
    let hsm = Hsm::new(&token.token_uri(PIN), &Pkcs11Options::default()).unwrap();
    Service::start_with_hsm(Limits::default(), Some(Arc::new(hsm)))
}

#[test]
fn boto3_has_keys_in_the_custom_key_store() {
    with_token(|token| {
        let service = service(token);
        let made = service.judge(
            BOTO3,
            r#"
hsm = dict(Origin='AWS_CLOUDHSM', CustomKeyStoreId='cks-hsm')
made = new(**hsm)
for told in (made, kms.describe_key(KeyId=made['KeyId'])['KeyMetadata']):
    assert told['Origin'] == 'AWS_CLOUDHSM' and told['CustomKeyStoreId'] == 'cks-hsm', told
software = new()
assert software['Origin'] == 'AWS_KMS' and 'CustomKeyStoreId' not in software, software
key, context = made['KeyId'], {'app': 'x'}
blob = kms.encrypt(KeyId=key, Plaintext=b'hello', EncryptionContext=context)['CiphertextBlob']
assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)['Plaintext'] == b'hello'
refused('InvalidCiphertextException', kms.decrypt, CiphertextBlob=blob)
data = kms.generate_data_key(KeyId=key, KeySpec='AES_256')
assert kms.decrypt(CiphertextBlob=data['CiphertextBlob'])['Plaintext'] == data['Plaintext']
kms.rotate_key_on_demand(KeyId=key)
assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)['Plaintext'] == b'hello'
for spec, algorithm in (('ECC_NIST_P256', 'ECDSA_SHA_256'), ('ECC_NIST_P384', 'ECDSA_SHA_384'),
        ('ECC_SECG_P256K1', 'ECDSA_SHA_256'), ('RSA_2048', 'RSASSA_PSS_SHA_256')):
    pair = new(KeySpec=spec, KeyUsage='SIGN_VERIFY', **hsm)['KeyId']
    signature = kms.sign(KeyId=pair, Message=b'm', SigningAlgorithm=algorithm)['Signature']
    assert kms.verify(KeyId=pair, Message=b'm', Signature=signature, SigningAlgorithm=algorithm)['SignatureValid']
    refused('KMSInvalidSignatureException', kms.verify, KeyId=pair, Message=b'n', Signature=signature, SigningAlgorithm=algorithm)
pair = new(KeySpec='RSA_2048', KeyUsage='ENCRYPT_DECRYPT', **hsm)['KeyId']
for algorithm in ('RSAES_OAEP_SHA_1', 'RSAES_OAEP_SHA_256'):
    sealed = kms.encrypt(KeyId=pair, Plaintext=b'hello', EncryptionAlgorithm=algorithm)['CiphertextBlob']
    assert kms.decrypt(KeyId=pair, CiphertextBlob=sealed, EncryptionAlgorithm=algorithm)['Plaintext'] == b'hello'
mac = new(KeySpec='HMAC_256', KeyUsage='GENERATE_VERIFY_MAC', **hsm)['KeyId']
made = kms.generate_mac(KeyId=mac, Message=b'm', MacAlgorithm='HMAC_SHA_256')['Mac']
assert kms.verify_mac(KeyId=mac, Message=b'm', Mac=made, MacAlgorithm='HMAC_SHA_256')['MacValid']
refused('CustomKeyStoreNotFoundException', kms.create_key, Origin='AWS_CLOUDHSM', CustomKeyStoreId='cks-other')
refused('ValidationException', kms.create_key, Origin='AWS_CLOUDHSM')
refused('ValidationException', kms.create_key, CustomKeyStoreId='cks-hsm')
refused('ValidationException', kms.create_key, Origin='EXTERNAL', CustomKeyStoreId='cks-hsm')
refused('UnsupportedOperationException', kms.create_key, KeySpec='SM2', KeyUsage='SIGN_VERIFY', **hsm)
print(json.dumps({'key': key, 'software': software['KeyId']}))
"#,
        );
        token.take_out();
        let away = format!(
            r"
of = {made}
refused('KeyUnavailableException', kms.encrypt, KeyId=of['key'], Plaintext=b'x', status=500)
refused('KeyUnavailableException', kms.create_key, Origin='AWS_CLOUDHSM', CustomKeyStoreId='cks-hsm', status=500)
kms.encrypt(KeyId=of['software'], Plaintext=b'x')
"
        );
        service.judge(BOTO3, &away);
        token.put_back();
    });
}

#[test]
fn boto3_is_told_where_there_is_no_hsm() {
    let service = Service::start();
    service.judge(
        BOTO3,
        "refused('CustomKeyStoreNotFoundException', kms.create_key, Origin='AWS_CLOUDHSM', CustomKeyStoreId='cks-hsm')",
    );
}

#[test]
fn the_sdks_of_alibaba_cloud_have_keys_of_protection_level_hsm() {
    with_token(|token| {
        let service = service(token);
        let made = service.judge(
            SDKS,
            r#"
def test(call):
    made = key_of(call, ProtectionLevel='HSM')
    assert made['ProtectionLevel'] == 'HSM' and made['Origin'] == 'Aliyun_KMS', made
    key = made['KeyId']
    assert call('DescribeKey', KeyId=key)['KeyMetadata']['ProtectionLevel'] == 'HSM'
    sealed = call('Encrypt', KeyId=key, Plaintext='hello', EncryptionContext={'app': 'x'})['CiphertextBlob']
    opened = call('Decrypt', CiphertextBlob=sealed, EncryptionContext={'app': 'x'})
    assert opened['Plaintext'] == 'hello' and opened['KeyId'] == key, opened
    refused('InvalidParameter', 400, call, 'Decrypt', CiphertextBlob=sealed)
    call('CreateKeyVersion', KeyId=key)
    assert call('Decrypt', CiphertextBlob=sealed, EncryptionContext={'app': 'x'})['Plaintext'] == 'hello'
    pair = key_of(call, ProtectionLevel='HSM', KeySpec='EC_P256', KeyUsage='SIGN/VERIFY')
    of = {'KeyId': pair['KeyId'], 'KeyVersionId': pair['PrimaryKeyVersion'], 'Algorithm': 'ECDSA_SHA_256'}
    digest = base64.b64encode(bytes(32)).decode()
    value = call('AsymmetricSign', Digest=digest, **of)['Value']
    assert call('AsymmetricVerify', Digest=digest, Value=value, **of)['Value'] is True
    for spec in ('Aliyun_SM4', 'EC_SM2'):
        refused('Unsupported.ProtectionLevel', 400, call, 'CreateKey', ProtectionLevel='HSM', KeySpec=spec)
    refused('Unsupported.ProtectionLevel', 400, call, 'CreateKey', ProtectionLevel='HSM', Origin='EXTERNAL')
    found = call('ListKeys', PageSize=100, Filters=json.dumps([{'Key': 'ProtectionLevel', 'Values': ['HSM']}]))
    assert key in [one['KeyId'] for one in found['Keys']['Key']], found
    return key
each(test)
print(json.dumps(test(old(given['admin']))))
"#,
        );
        token.take_out();
        let away = format!(
            r"
key = {made}
def test(call):
    refused('ServiceUnavailableTemporary', 503, call, 'Encrypt', KeyId=key, Plaintext='x')
    assert call('DescribeKey', KeyId=key)['KeyMetadata']['KeyState'] == 'Enabled'
each(test)
"
        );
        service.judge(SDKS, &away);
        token.put_back();
    });
}

#[test]
fn the_sdks_of_alibaba_cloud_are_told_where_there_is_no_hsm() {
    let service = Service::start();
    service.judge(
        SDKS,
        r"
each(lambda call: refused('Unsupported.ProtectionLevel', 400, call, 'CreateKey', ProtectionLevel='HSM'))
",
    );
}

#[test]
fn the_console_makes_keys_in_the_hsm_where_there_is_one() {
    const NEW: &str = "
new = {'description': '', 'spec': 'AES_256', 'usage': 'ENCRYPT_DECRYPT', 'alias': ''}
has = page.ask('Session')['hsm']
";
    with_token(|token| {
        let service = service(token);
        let script = "
assert has is True
made = page.ask('CreateKey', {**new, 'hsm': True})['id']
assert page.ask('GetKey', {'key': made})['key']['protection'] == 'HSM'
made = page.ask('CreateKey', new)['id']
assert page.ask('GetKey', {'key': made})['key']['protection'] == 'SOFTWARE'
";
        service.judge(CONSOLE, &format!("{NEW}{script}"));
        token.take_out();
        let away = "page.refused(503, 'HsmUnavailable', 'CreateKey', {**new, 'hsm': True})";
        service.judge(CONSOLE, &format!("{NEW}{away}"));
        token.put_back();
    });
    let script = "
assert has is False
page.refused(400, 'UnsupportedProtection', 'CreateKey', {**new, 'hsm': True})
";
    Service::start().judge(CONSOLE, &format!("{NEW}{script}"));
}
