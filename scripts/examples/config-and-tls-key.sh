#!/usr/bin/env bash
# Configuration or a TLS private key, encrypted by the key service itself, with the AWS CLI.
#
#   config-and-tls-key.sh encrypt FILE    writes FILE.cipher
#   config-and-tls-key.sh decrypt FILE    writes FILE from it
set -euo pipefail

readonly alias=alias/apollo-config
name=$(basename "${2:-}")

make_key() {
    aws kms describe-key --key-id "$alias" >/dev/null 2>&1 && return
    local key
    key=$(aws kms create-key --description "configuration of Apollo" --query KeyMetadata.KeyId --output text)
    aws kms create-alias --alias-name "$alias" --target-key-id "$key"
}

case $1 in
    encrypt)
        make_key
        aws kms encrypt --key-id "$alias" --plaintext "fileb://$2" --encryption-context "file=$name" \
            --query CiphertextBlob --output text | base64 --decode >"$2.cipher"
        ;;
    decrypt)
        umask 077
        aws kms decrypt --ciphertext-blob "fileb://$2.cipher" --encryption-context "file=$name" \
            --query Plaintext --output text | base64 --decode >"$2"
        ;;
    *)
        echo "usage: $0 encrypt|decrypt FILE" >&2
        exit 2
        ;;
esac
