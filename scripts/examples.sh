#!/usr/bin/env bash
# Runs scripts/examples against a key service of its own, and compares the bytes that come out with those that went in.
#
#   scripts/examples.sh
#
# Makes everything in a temporary folder, and leaves nothing behind.

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

readonly examples=$project/scripts/examples

need_clients() {
    need_pypi alibabacloud-kms20160120 3.3.1
    need_pypi aliyun-python-sdk-kms 2.16.5
    need_pypi cryptography 50.0.2
    need_pypi boto3 1.44.8
    need_pypi asn1crypto 1.5.1
    need_pypi awscli 1.46.3
    need_npm @alicloud/kms20160120 1.2.0
}

python() { "$tools/python/bin/python3" "$@"; }

# same WHAT FILE FILE
same() {
    cmp "$2" "$3" || die "$1: what came out is not what went in"
    say "$1: the same bytes"
}

make_inputs() {
    openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=apollo -keyout key.pem -out cert.pem 2>/dev/null
    printf 'database:\n  password: "häßlich & 中文 +/%%"\n' >apollo.yaml
    awk 'BEGIN { for (i = 1; i <= 20000; i++) printf "order-%d,sold,\"a, b\",%d.50\n", i, i }' >sales.csv
    printf 'to be shared\0and binary\n' >message
}

# small_secret HOW FILE COMMAND…: encrypted, taken away, decrypted.
small_secret() {
    local how=$1 file=$2
    shift 2
    cp "$file" "$file.was"
    "$@" encrypt "$file"
    ! grep -qF -f "$file.was" "$file.cipher" || die "$file.cipher is not encrypted"
    rm "$file"
    "$@" decrypt "$file"
    same "$how, $file" "$file.was" "$file"
    rm "$file.cipher"
}

config_and_tls_key() {
    local file
    for file in key.pem apollo.yaml; do
        small_secret "config-and-tls-key.py" "$file" python "$examples/config-and-tls-key.py"
        small_secret "config-and-tls-key.sh" "$file" bash "$examples/config-and-tls-key.sh"
    done
    openssl pkey -in key.pem -noout || die "key.pem is no key any more"
}

sales_by_envelope() {
    python "$examples/sales-by-envelope.py" encrypt sales.csv sales.csv.cipher
    python "$examples/sales-by-envelope.py" decrypt sales.csv.cipher decrypted_sales.csv
    same "sales-by-envelope.py" sales.csv decrypted_sales.csv
}

shared_key() {
    NODE_PATH=$tools/node/node_modules NODE_EXTRA_CA_CERTS=$ENVELOPEKMS_CA \
        node "$examples/shared-key-server.js" "$PWD/message" >port 2>shared-key-server.log &
    local server=$!
    wait_for "shared-key-server.js" test -s port || { cat shared-key-server.log >&2; exit 1; }
    python "$examples/shared-key-client.py" "$(cat port)" >message.got
    kill "$server"
    wait "$server" 2>/dev/null || true
    same "shared-key-server.js and shared-key-client.py" message message.got
}

sign_and_request() {
    local program=$examples/sign-and-request-certificate.py
    python "$program" sign sales.csv sales.sig public.pem
    openssl dgst -sha256 -verify public.pem -sigopt rsa_padding_mode:pss -signature sales.sig sales.csv
    python "$program" verify sales.csv sales.sig
    ! python "$program" verify message sales.sig 2>/dev/null || die "a signature of another file was taken"
    python "$program" request apollo.example request.pem
    openssl req -in request.pem -verify -noout
    openssl req -in request.pem -noout -text | grep -q 'DNS:apollo.example' || die "the request lacks the name"
    say "sign-and-request-certificate.py: openssl takes signature and request"
}

rest() {
    local program=$examples/rest.py how
    for how in encrypt seal; do
        python "$program" "$how" sales.csv sales.csv.rest
        ! grep -qF order-1, sales.csv.rest || die "sales.csv.rest is not encrypted"
        python "$program" decrypt sales.csv.rest rest_sales.csv
        same "rest.py $how" sales.csv rest_sales.csv
    done
}

volume() {
    "$examples/volume.sh" "$PWD/volume"
    say "volume.sh: a disabled key reads nothing"
}

need_packages openssl jq
need_own_fuse
make_work_folder
need_clients
build_release
mkdir "$work/bin" "$work/run"
ln -s "$ENVELOPEFS" "$work/bin/envelopefs"
ln -s "$tools/python/bin/aws" "$work/bin/aws"
export PATH=$work/bin:$PATH XDG_RUNTIME_DIR=$work/run HOME=$work
start_kms "$work/kms"
mkdir "$work/examples"
cd "$work/examples"
make_inputs
config_and_tls_key
sales_by_envelope
shared_key
sign_and_request
rest
volume
stop_kms
