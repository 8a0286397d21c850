#!/usr/bin/env bash
# pjdfstest as root: every test that passes on plain ext4 passes in a mount over ext4.
#
#   scripts/pjdfstest.sh           on a volume with the defaults
#   scripts/pjdfstest.sh --long    also with blocks of 64K, and with plain names
#
# Exclusions, each with its reason and where that is to be read: tests/conformance/pjdfstest-exclude.txt

# shellcheck source=scripts/volumes.sh
. "$(dirname "$0")/volumes.sh"

readonly conformance=$project/tests/conformance
readonly exclusions=$conformance/pjdfstest-exclude.txt

# --- running it -------------------------------------------------------------------------------------

# The suite remounts read-only by mount(8), which hands a FUSE mount to its helper, which would
# mount anew: `mount -i` asks the kernel itself.
hide_mount_helpers() {
    mkdir "$work/bin"
    printf '#!/bin/sh\nexec %s -i "$@"\n' "$(command -v mount)" >"$work/bin/mount"
    chmod +x "$work/bin/mount"
    PATH=$work/bin:$PATH
}

# pjdfstest_in FOLDER NAME EXPECTED-FAILURES: all results into $work/NAME.all.
# The tests that remount run by themselves: the others leave files open, and the kernel would
# refuse to make the file system read-only.
pjdfstest_in() {
    configure_pjdfstest false "$3"
    pjdfstest_once "$1" >"$work/$2.log"
    configure_pjdfstest true "$3"
    pjdfstest_once "$1" erofs >"$work/$2.remount.log"
    local log
    for log in "$work/$2.log" "$work/$2.remount.log"; do
        grep -q '^Summary' "$log" || die "pjdfstest did not finish in $2: $(tail -3 "$log")"
    done
    { grep -v '::erofs_' "$work/$2.log" && cat "$work/$2.remount.log"; } | grep -v '^Summary' >"$work/$2.all"
}

configure_pjdfstest() {
    {
        cat "$conformance/pjdfstest.toml"
        printf 'allow_remount = %s\nexpected_failures = [%s]\n' "$1" "$2"
    } >"$work/pjdfstest.toml"
}

# The suite's own exit code says less than its lines: report judges those.
pjdfstest_once() {
    local folder=$1
    shift
    as_root env RUST_BACKTRACE=0 timeout --kill-after=10 300 pjdfstest \
        --configuration-file "$work/pjdfstest.toml" --path "$folder" \
        --secondary-fs "$work/second" -- "$@" 2>&1 || true
}

# --- exclusions -------------------------------------------------------------------------------------

check_exclusions() {
    local bare
    bare=$(grep -vE '^(#|$)' "$exclusions" | grep -vE '^[a-z0-9_:]+ # .{10,} \[.+\]$' || true)
    [ -z "$bare" ] || die "exclusions without a test name, a reason and its source: $bare"
}

excluded() { grep -vE '^(#|$)' "$exclusions" | cut -d' ' -f1; }

excluded_as_toml() { excluded | sed 's/.*/"&"/' | paste -sd,; }

# --- the outcome ------------------------------------------------------------------------------------

# results NAME OUTCOME: the tests that are ok, skipped or, with any other outcome, wrong in one of the places.
results() {
    awk -v wanted="$2" '/^[a-z_0-9]+::/ {
        outcome = $NF == "ok" || $NF == "skipped" ? $NF : "wrong"
        if (outcome == wanted) print $1
    }' "$work/$1.all"
}

# Unexpected passes, and whatever else a newer suite may say, count as wrong too.
report() {
    local name=$1 test bad=0 ran passed
    while read -r test; do
        bad=$((bad + 1))
        explain "$name" "$test"
    done < <(results "$name" wrong)
    while read -r test; do
        excluded | grep -qxF "$test" && continue
        bad=$((bad + 1))
        say "skipped without a reason: $test"
    done < <(results "$name" skipped)
    ran=$(grep -cE '^[a-z_0-9]+::' "$work/$name.all")
    passed=$(results "$name" ok | wc -l)
    say "pjdfstest: $passed of $ran tests pass in $name, $(excluded | wc -l) excluded, $bad not as they must be"
    [ "$ran" -gt 390 ] && [ "$bad" -eq 0 ] || failed=1
}

explain() {
    if results ext4 ok | grep -qxF "$2"; then
        say "not as it must be in $1: $2 (passes on plain ext4)"
    else
        say "not as it must be in $1: $2 (nor does it pass on plain ext4)"
    fi
    grep -A6 "^$2 " "$work/$1.all" | sed -n '1p; 2,7{ /^[a-z_0-9]*::/q; p }'
}

# What link::link_count_max would test if glibc knew the limit of a FUSE mount: that of the file
# system below holds, and going beyond it is EMLINK.
report_link_count() {
    local place limit=()
    for place in "$work/plain" "$mount"; do
        limit+=("$(links_until_refused "$place")")
    done
    if [ "${limit[0]}" = "${limit[1]}" ]; then
        say "links: ${limit[1]} to one file in a mount, as on plain ext4"
    else
        say "links: '${limit[1]}' to one file in a mount, '${limit[0]}' on plain ext4"
        failed=1
    fi
}

# Prints how many links a file gets, and why it gets no more.
links_until_refused() {
    mkdir "$1/links"
    # shellcheck disable=SC2016
    perl -MErrno -e '
        chdir $ARGV[0] or die; open my $file, ">", "0" or die;
        my $count = 1;
        $count++ while $count < 100_000 && link "0", $count;
        print "$count, then ", $!{EMLINK} ? "EMLINK" : "error $!";' "$1/links"
    rm -rf "$1/links"
}

# --- in which mounts --------------------------------------------------------------------------------

# in_mount NAME INIT-OPTION…
in_mount() {
    mount_volume "$work/backing" "$@"
    pjdfstest_in "$mount" "$1" "$(excluded_as_toml)"
    report "$1"
}

in_other_mounts() {
    in_mount blocks-of-64K --block-size 64K
    in_mount plain-names --names plain
}

main() {
    local long='' failed=0
    case ${1:-} in
        "") ;;
        --long) long=1 ;;
        *)
            usage
            exit 2
            ;;
    esac
    need_fuse
    need_packages setfacl:acl perl
    need_cargo_tool pjdfstest 0.2.2 libacl1-dev
    check_exclusions
    build_release
    make_work_folder
    hide_mount_helpers
    # Plain ext4 has an image of its own: the daemon's open files keep the volume's from going read-only.
    make_fs ext4 "$work/plain"
    make_fs ext4 "$work/backing"
    make_fs tmpfs "$work/second" 64M
    pjdfstest_in "$work/plain" ext4 ""
    say "pjdfstest: $(results ext4 ok | wc -l) of $(grep -cE '^[a-z_0-9]+::' "$work/ext4.all") tests pass on plain ext4"
    in_mount envelopefs
    report_link_count
    [ -z "$long" ] || in_other_mounts
    return "$failed"
}

main "$@"
