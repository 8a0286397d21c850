#!/usr/bin/env bash
# Strikes system calls on the ciphertext folder with errors, interruptions and short writes.
#
#   scripts/faults.sh           a part of the calls; ENVELOPEFS_FAULTS_SEED chooses which (1)
#   scripts/faults.sh --long    each call
#
# What must hold is at the top of tests/faults/main.rs.

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

case ${1:-} in
    --long) export ENVELOPEFS_FAULTS=all ;;
    "") ;;
    *)
        usage
        exit 2
        ;;
esac
need_rust
cd "$project"
cargo test --locked --test faults -- --nocapture
