#!/usr/bin/env bash
# Conformance of a live mount: pjdfstest (POSIX semantics) and fsx (random I/O on one file).
#
#   scripts/conformance.sh             both
#   scripts/conformance.sh pjdfstest   every test, as root; the same on plain ext4 beside it
#   scripts/conformance.sh fsx         random operations on volumes of several block sizes
#
# OPERATIONS sets how many operations fsx makes on each volume (20000).
# Exclusions, each with its reason: tests/conformance/pjdfstest-exclude.txt

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

readonly conformance=$project/tests/conformance
readonly exclusions=$conformance/pjdfstest-exclude.txt
readonly operations=${OPERATIONS:-20000}

# --- places to test in ------------------------------------------------------------------------------

# A fresh ext4 that holds the ciphertext and, beside it, the folder for the comparison.
make_ext4() {
    ext4=$work/ext4
    mkdir "$ext4"
    truncate --size=1G "$work/ext4.img"
    as_root mkfs.ext4 -q "$work/ext4.img"
    as_root mount -o loop,acl,user_xattr "$work/ext4.img" "$ext4" ||
        die "no loop device for an ext4 image (in a container: --privileged, or /dev/loop-control)"
    as_root chmod 755 "$ext4"
}

# mount_volume NAME INIT-OPTION…: makes a volume on the ext4 and mounts it; sets $mount.
mount_volume() {
    local cipher=$ext4/$1.enc
    mount=$work/$1
    shift
    mkdir "$mount"
    as_root env HOME="$work" "$ENVELOPEFS" init --key "file://$mount.key" "$@" "$cipher" >/dev/null
    as_root env HOME="$work" "$ENVELOPEFS" mount --allow-other "$cipher" "$mount"
    check_mounted "$mount"
    as_root chmod 755 "$mount"
}

# --- pjdfstest --------------------------------------------------------------------------------------

run_pjdfstest() {
    need_packages setfacl:acl
    need_cargo_tool pjdfstest 0.2.2 libacl1-dev
    check_exclusions
    hide_mount_helpers
    mount_volume pjdfstest
    mkdir "$work/second"
    as_root mount -t tmpfs -o size=64M none "$work/second"

    pjdfstest_in "$ext4" ext4 ""
    pjdfstest_in "$mount" envelopefs "$(excluded_as_toml)"
    report_pjdfstest
}

# The suite remounts read-only by mount(8), which hands a FUSE mount to its helper, which would
# mount anew: `mount -i` asks the kernel itself.
hide_mount_helpers() {
    mkdir "$work/bin"
    printf '#!/bin/sh\nexec %s -i "$@"\n' "$(command -v mount)" >"$work/bin/mount"
    chmod +x "$work/bin/mount"
    PATH=$work/bin:$PATH
}

# pjdfstest_in FOLDER NAME EXPECTED-FAILURES: all results into $work/NAME.log.
# The tests that remount run by themselves: the others leave files open, and the kernel would
# refuse to make the file system read-only.
pjdfstest_in() {
    say "pjdfstest in $2"
    configure_pjdfstest false "$3"
    pjdfstest_once "$1" >"$work/$2.log"
    configure_pjdfstest true "$3"
    pjdfstest_once "$1" erofs | grep -v '^Summary' >"$work/$2.remount.log"
    grep -v '::erofs_' "$work/$2.log" | cat - "$work/$2.remount.log" >"$work/$2.all"
}

configure_pjdfstest() {
    {
        cat "$conformance/pjdfstest.toml"
        printf 'allow_remount = %s\nexpected_failures = [%s]\n' "$1" "$2"
    } >"$work/pjdfstest.toml"
}

# The suite's own exit code says less than its lines: report_pjdfstest judges those.
pjdfstest_once() {
    local folder=$1
    shift
    as_root env RUST_BACKTRACE=0 timeout --kill-after=10 300 pjdfstest \
        --configuration-file "$work/pjdfstest.toml" --path "$folder" \
        --secondary-fs "$work/second" -- "$@" 2>&1 || true
}

check_exclusions() {
    local bare
    bare=$(grep -vE '^(#|$)' "$exclusions" | grep -vE '^[a-z0-9_:]+ # .{10,}' || true)
    [ -z "$bare" ] || die "exclusions without a test name and a reason: $bare"
}

excluded() { grep -vE '^(#|$)' "$exclusions" | cut -d' ' -f1; }

excluded_as_toml() { excluded | sed 's/.*/"&"/' | paste -sd,; }

# results NAME OUTCOME: the tests with this outcome in one of the two places.
results() { awk -v outcome="$2" '/^[a-z_0-9]+::/ && index($0, outcome) { print $1 }' "$work/$1.all"; }

report_pjdfstest() {
    local ran bad=0 name
    for name in ext4 envelopefs; do
        grep -q '^Summary' "$work/$name.log" || die "pjdfstest did not finish in $name: $(tail -3 "$work/$name.log")"
    done
    ran=$(grep -cE '^[a-z_0-9]+::' "$work/envelopefs.all")
    while read -r name; do
        bad=$((bad + 1))
        explain_failure "$name"
    done < <(results envelopefs FAILED)
    while read -r name; do
        bad=$((bad + 1))
        say "passes all the same, take it off the exclusions: $name"
    done < <(results envelopefs "PASSED UNEXPECTEDLY")
    while read -r name; do
        excluded | grep -qxF "$name" && continue
        bad=$((bad + 1))
        say "skipped without a reason: $name"
    done < <(results envelopefs skipped)
    say "pjdfstest: $ran tests, $(excluded | wc -l) excluded, $bad not as they must be ($(results ext4 FAILED | wc -l) fail on ext4)"
    [ "$ran" -gt 300 ] && [ "$bad" -eq 0 ]
}

explain_failure() {
    if results ext4 FAILED | grep -qxF "$1"; then
        say "FAILED: $1 (on plain ext4 too: the kernel's own, it belongs among the exclusions)"
    else
        say "FAILED: $1 (passes on plain ext4)"
    fi
    grep -A6 "^$1 " "$work/envelopefs.all" | sed -n '2,7{ /^[a-z_0-9]*::/q; p }'
}

# --- fsx --------------------------------------------------------------------------------------------

run_fsx() {
    need_cargo_tool fsx 0.3.2
    fsx_on 4K 1 --block-size 4096
    fsx_on 64K 2 --block-size 65536
    fsx_on 1M 3 --block-size 1048576
}

# fsx_on NAME SEED INIT-OPTION…
fsx_on() {
    local name=$1 seed=$2
    shift 2
    mount_volume "fsx-$name" "$@"
    mkdir "$work/artifacts-$name"
    as_root env RUST_BACKTRACE=0 timeout --kill-after=10 300 \
        fsx -q -f "$conformance/fsx.toml" -S "$seed" -N "$operations" -P "$work/artifacts-$name" "$mount/file" ||
        die "fsx failed with blocks of $name: again with fsx -f tests/conformance/fsx.toml -S $seed"
    say "fsx: $operations operations with seed $seed on blocks of $name"
}

# --- both -------------------------------------------------------------------------------------------

main() {
    case ${1:-all} in
        pjdfstest | fsx | all) ;;
        *)
            usage
            exit 2
            ;;
    esac
    need_fuse
    need_packages mkfs.ext4:e2fsprogs
    build_release
    make_work_folder
    make_ext4
    case ${1:-all} in
        pjdfstest) run_pjdfstest ;;
        fsx) run_fsx ;;
        all)
            run_pjdfstest
            run_fsx
            ;;
    esac
}

main "$@"
