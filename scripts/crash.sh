#!/usr/bin/env bash
# Makes the states that a power cut may leave of a volume, mounts each and looks whether what was synced is there.
#
#   scripts/crash.sh           some hundred states of each scenario and kind of file system
#   scripts/crash.sh --long    ten thousand of each, and sixty scenarios of random steps
#
# ENVELOPEFS_CRASH_STATES sets how many, ENVELOPEFS_CRASH_SEED which, ENVELOPEFS_CRASH_RANDOM how many scenarios
# of random steps there are, and ENVELOPEFS_CRASH_REPLAY makes one state again, as a failure tells it.
# What must hold is at the top of tests/crash/main.rs, what a file system may leave in tests/crash/state.rs.

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

case ${1:-} in
    --long)
        export ENVELOPEFS_CRASH_STATES=${ENVELOPEFS_CRASH_STATES:-10000}
        export ENVELOPEFS_CRASH_RANDOM=${ENVELOPEFS_CRASH_RANDOM:-60}
        ;;
    "") ;;
    *)
        usage
        exit 2
        ;;
esac
need_rust
cd "$project"
make_work_folder
cargo test --locked --test crash -- --nocapture | tee "$work/crash.log"
if [ -n "${ENVELOPEFS_CRASH_REPLAY:-}" ]; then
    exit
fi
awk '/^crash: .* states \(/ {
        for (field = 1; field < NF; field++) if ($(field + 1) == "states") { states += $field; scenarios++ }
    }
    END { print "crash: " states " states of " scenarios " scenarios in all" }' "$work/crash.log"
