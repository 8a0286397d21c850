"""Signatures and a certificate request by a key that never leaves the key service, with boto3.

    sign-and-request-certificate.py sign FILE SIGNATURE PUBLIC.pem     RSA-PSS, SHA-256
    sign-and-request-certificate.py verify FILE SIGNATURE              asks the service
    sign-and-request-certificate.py request NAME REQUEST.pem           for the DNS name NAME; ECDSA, P-256
"""

import hashlib
import sys

import boto3
from asn1crypto import csr, keys, pem, x509

kms = boto3.client("kms")


def key_named(alias, spec):
    try:
        kms.describe_key(KeyId=alias)
    except kms.exceptions.NotFoundException:
        key = kms.create_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
        kms.create_alias(AliasName=alias, TargetKeyId=key)
    return alias


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).digest()


def sign(path, signature_path, public_path):
    key = key_named("alias/signer", "RSA_2048")
    made = kms.sign(KeyId=key, Message=digest(path), MessageType="DIGEST", SigningAlgorithm="RSASSA_PSS_SHA_256")
    with open(signature_path, "wb") as file:
        file.write(made["Signature"])
    with open(public_path, "wb") as file:
        file.write(pem.armor("PUBLIC KEY", kms.get_public_key(KeyId=key)["PublicKey"]))


def verify(path, signature_path):
    with open(signature_path, "rb") as file:
        signature = file.read()
    try:
        kms.verify(
            KeyId="alias/signer",
            Message=digest(path),
            MessageType="DIGEST",
            SigningAlgorithm="RSASSA_PSS_SHA_256",
            Signature=signature,
        )
    except kms.exceptions.KMSInvalidSignatureException:
        sys.exit("the signature is not of this file")


def request(name, path):
    key = key_named("alias/certificate", "ECC_NIST_P256")
    names = csr.SetOfExtensions(
        [[{"extn_id": "subject_alt_name", "extn_value": [x509.GeneralName("dns_name", name)]}]]
    )
    info = csr.CertificationRequestInfo(
        {
            "version": "v1",
            "subject": x509.Name.build({"common_name": name}),
            "subject_pk_info": keys.PublicKeyInfo.load(kms.get_public_key(KeyId=key)["PublicKey"]),
            "attributes": [{"type": "extension_request", "values": names}],
        }
    )
    made = kms.sign(
        KeyId=key,
        Message=hashlib.sha256(info.dump()).digest(),
        MessageType="DIGEST",
        SigningAlgorithm="ECDSA_SHA_256",
    )
    signed = csr.CertificationRequest(
        {
            "certification_request_info": info,
            "signature_algorithm": {"algorithm": "sha256_ecdsa"},
            "signature": made["Signature"],
        }
    )
    with open(path, "wb") as file:
        file.write(pem.armor("CERTIFICATE REQUEST", signed.dump()))


if __name__ == "__main__":
    {"sign": sign, "verify": verify, "request": request}[sys.argv[1]](*sys.argv[2:])
