#!/usr/bin/env bash
# An envelopefs volume whose files are under a key of the key service, by both clouds' ways to it; once the key is
# disabled, nothing can be read any more.
#
#   volume.sh FOLDER    makes FOLDER/ali.enc and FOLDER/aws.enc, and mounts them on FOLDER/ali and FOLDER/aws
#
# The environment is that of the other examples. The key's time in memory is two seconds here; it is minutes by default.
set -euo pipefail

readonly folder=$1 alias=alias/volume
mkdir -p "$folder/ali" "$folder/aws"
export ENVELOPEFS_ALIKMS_ENDPOINT=https://$ENVELOPEKMS_ENDPOINT ENVELOPEFS_ALIKMS_CA=$ENVELOPEKMS_CA

key=$(aws kms create-key --description "of a volume" --query KeyMetadata.KeyId --output text)
aws kms create-alias --alias-name "$alias" --target-key-id "$key"

envelopefs init "$folder/ali.enc" --key-scope file --key "alikms://$AWS_REGION/$alias" >/dev/null
envelopefs init "$folder/aws.enc" --key-scope file --key "awskms:///$alias?region=$AWS_REGION" >/dev/null
for way in ali aws; do
    envelopefs mount --key-cache-ttl 2s "$folder/$way.enc" "$folder/$way"
    echo "by $way" >"$folder/$way/note"
done
for way in ali aws; do
    grep -qx "by $way" "$folder/$way/note"
done

aws kms disable-key --key-id "$key"
for way in ali aws; do
    for _ in {1..100}; do
        cat "$folder/$way/note" >/dev/null 2>&1 || break
        sleep 0.2
    done
    if cat "$folder/$way/note" 2>"$folder/refusal"; then
        echo "$way: the key is disabled, and the file can still be read" >&2
        exit 1
    fi
    sed "s|^|$way: |" "$folder/refusal"
done

# The key of the volume itself was refused too: it is mounted anew.
aws kms enable-key --key-id "$key"
for way in ali aws; do
    envelopefs umount "$folder/$way"
    envelopefs mount "$folder/$way.enc" "$folder/$way"
    cat "$folder/$way/note"
    envelopefs umount "$folder/$way"
done
