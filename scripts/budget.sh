#!/usr/bin/env bash
# Counts the instructions (callgrind) and system calls (strace) of read, write, lookup, open, first open and create, and holds them against
# the budget.
#
#   scripts/budget.sh                                 fails where there are more than benches/budget.json has, or far fewer
#   ENVELOPEFS_UPDATE_BUDGET=1 scripts/budget.sh      makes the budget anew
#
# Counts do not depend on what else the machine does, but on the compiler, the C library and the kind of processor: the budget is
# of x86-64 with AVX2, of the Rust release in Cargo.toml, on Debian 12. ENVELOPEFS_BUDGET_PROGRAM names a built examples/budget.rs
# to use instead of building it.

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

case ${1:-} in
    "") ;;
    *) die "there are no options: see --help" ;;
esac

check_processor() {
    [ "$(uname -m)" = x86_64 ] || die "the budget is of x86-64, not of $(uname -m)"
    grep -qw avx2 /proc/cpuinfo || die "the budget is of processors with AVX2, which this one lacks"
}

build_program() {
    program=${ENVELOPEFS_BUDGET_PROGRAM:-}
    [ -z "$program" ] || return 0
    need_rust
    (cd "$project" && cargo build --release --locked --example budget)
    program=${CARGO_TARGET_DIR:-$project/target}/release/examples/budget
}

check_processor
need_packages valgrind strace python3
build_program
# Headers have the key's URI in them, and with it the length of this path.
export TMPDIR=/tmp
make_work_folder
how=check
[ -z "${ENVELOPEFS_UPDATE_BUDGET:-}" ] || how=update
python3 "$project/scripts/bench/budget.py" "$how" "$program" "$work" "$project/benches/budget.json"
