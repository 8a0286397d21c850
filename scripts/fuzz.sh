#!/usr/bin/env bash
# Fuzzes what reads bytes of others, on the toolchain that is there: each target for so many seconds, from the seeds in
# fuzz/corpus.
#
#   scripts/fuzz.sh --seconds N                             60 where nothing is said
#   ENVELOPE_FUZZ_SEED=S scripts/fuzz.sh                    the inputs of a run that printed this seed
#   scripts/fuzz.sh --seconds N --target policy_document    one of them

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

# target TEST: the targets and the tests that run them.
readonly targets=(
    "alibaba_request any_request_of_alibabas_clients_is_answered"
    "aws_request any_request_of_awss_clients_is_answered"
    "ciphertext_blob any_ciphertext_blob_is_opened_or_refused"
    "file_header any_file_header_is_read_or_refused"
    "policy_document any_policy_document_is_read_or_refused"
    "volume_json any_volume_json_is_read_or_refused"
)

seconds=60
only=
while [ $# -gt 0 ]; do
    case "$1" in
    --seconds) seconds=${2:?--seconds takes a number} && shift 2 ;;
    --target) only=${2:?--target takes a name} && shift 2 ;;
    *) die "unknown argument: $1" ;;
    esac
done
[[ "$seconds" =~ ^[0-9]+$ ]] || die "--seconds takes a number, and $seconds is none"

cd "$project"
need_rust
ran=()
for target in "${targets[@]}"; do
    read -r name test <<<"$target"
    [ -z "$only" ] || [ "$only" = "$name" ] || continue
    ran+=("fuzz::tests::$test")
done
[ ${#ran[@]} -gt 0 ] || die "no target is called '$only'"
# One after the other: each has the machine for its seconds.
ENVELOPE_FUZZ_SECONDS=$seconds cargo test --locked --lib -- --exact --nocapture --test-threads=1 "${ran[@]}"
