#!/usr/bin/env bash
# Runs real clients of Alibaba Cloud KMS and AWS KMS against a key service of its own (tests/clients), and holds
# docs/kms/CLIENTS.md against what came out.
#
#   scripts/kms-clients.sh             fails where the table is another one
#   scripts/kms-clients.sh --update    writes the table anew

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

need_clients() {
    need_packages openssl jq faketime
    need_pypi alibabacloud-kms20160120 3.3.1
    need_pypi aliyun-python-sdk-kms 2.16.5
    need_pypi cryptography 50.0.2
    need_pypi boto3 1.44.8
    need_pypi awscli 1.46.3
    need_npm @alicloud/kms20160120 1.2.0
}

# access_key PRINCIPAL: a new one, as JSON.
access_key() { envelopekms credential create "$1" --json; }

make_work_folder
need_clients
build_release
start_kms "$work/kms"
printf '{"Version":"1","Statement":[{"Effect":"Allow","Action":"kms:List*","Resource":"*"}]}' >"$work/guest.json"
envelopekms principal create guest --policy "$work/guest.json"
guest=$(access_key guest)
disabled=$(access_key admin)
envelopekms credential disable "$(jq -r .id <<<"$disabled")"
status=0
env -u AWS_CA_BUNDLE NODE_PATH="$tools/node/node_modules" PYTHONDONTWRITEBYTECODE=1 HOME="$work" \
    KMS_GUEST_SECRET="$(jq -r .secret <<<"$guest")" KMS_DISABLED_SECRET="$(jq -r .secret <<<"$disabled")" \
    timeout --kill-after=10 900 "$tools/python/bin/python3" "$project/tests/clients/run.py" "$project" \
    "$(jq -r .id <<<"$guest")" "$(jq -r .id <<<"$disabled")" "$@" || status=$?
stop_kms
exit "$status"
