#!/usr/bin/env bash
# The six canonical steps side by side with gocryptfs, in one run on one machine.
#
#   scripts/bench.sh [--rounds N] [--megabytes N] [--files N] [--json] [--check]
#
# write, read    a stream of --megabytes (1024) by dd in blocks of 128 KiB; the read after a new mount
# untar, md5sum, ls -lR, rm -rf    a tree of --files (6000) small source files
#
# Ciphertext lies on a tmpfs, so that no disk is measured. Each of the --rounds (5) takes every
# step on both, in turns; the table shows medians, and how many times as fast envelopefs is in the
# same run. --check fails where a stream is less than twice as fast as gocryptfs's, or another step
# is slower than it: below 0.90, as one tenth is the noise of a shared machine.

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

readonly systems=(envelopefs gocryptfs)
readonly steps=(write read untar md5sum ls rm)
readonly stream_at_least=2.00 others_at_least=0.90

rounds=5 megabytes=1024 files=6000 format=table check=no

parse_arguments() {
    while [ $# -gt 0 ]; do
        case $1 in
            --rounds) rounds=$(number "$@") && shift ;;
            --megabytes) megabytes=$(number "$@") && shift ;;
            --files) files=$(number "$@") && shift ;;
            --json) format=json ;;
            --check) check=yes ;;
            -h | --help)
                usage
                exit
                ;;
            *) die "no option is called '$1': see --help" ;;
        esac
        shift
    done
}

# --- the machine ------------------------------------------------------------------------------------

make_tmpfs() {
    store=$work/store
    mkdir "$store"
    as_root mount -t tmpfs -o "size=$((2 * megabytes + 1024))M,mode=755,uid=$(id -u),gid=$(id -g)" none "$store"
}

# The tree to unpack: small files of the project's own dependencies, and their checksums.
make_tree() {
    local sources=${CARGO_HOME:-$HOME/.cargo}/registry/src
    (cd "$project" && cargo fetch --quiet --locked)
    mkdir "$store/tree"
    (cd "$sources" && find . -type f -size -64k -print0 | sort -z | sed -zn "1,${files}p" |
        tar --null --verbatim-files-from --files-from=- -cf -) | tar -C "$store/tree" -xf -
    [ "$(find "$store/tree" -type f | wc -l)" -eq "$files" ] || die "fewer than $files files in $sources"
    tar -C "$store/tree" -cf "$store/tree.tar" .
    (cd "$store/tree" && find . -type f -exec md5sum {} +) >"$store/tree.md5"
    rm -rf "$store/tree"
}

make_volumes() {
    local system
    printf 'bench\n' >"$work/passphrase"
    for system in "${systems[@]}"; do
        mkdir "$store/$system" "$work/$system"
    done
    HOME=$work "$ENVELOPEFS" init --key "file://$work/keyring.json" "$store/envelopefs" >/dev/null
    # A cheap key derivation: it is no part of what is measured.
    gocryptfs -q -init -scryptn 10 -passfile "$work/passphrase" "$store/gocryptfs"
}

mount_envelopefs() { HOME=$work "$ENVELOPEFS" mount "$store/envelopefs" "$work/envelopefs"; }

mount_gocryptfs() {
    gocryptfs -q -nosyslog -passfile "$work/passphrase" "$store/gocryptfs" "$work/gocryptfs" >/dev/null
}

# A new mount: nothing is in the kernel's cache.
remount() {
    if is_mounted "$work/$1"; then
        unmount "$work/$1"
    fi
    "mount_$1"
    check_mounted "$work/$1"
}

# --- the steps: run inside the mount -----------------------------------------------------------------

step_write() { dd if=/dev/zero of=stream bs=128k count=$((megabytes * 8)) conv=fsync status=none; }
step_read() { dd if=stream of=/dev/null bs=128k status=none; }
step_untar() { mkdir tree && tar -C tree -xf "$store/tree.tar"; }
step_md5sum() { (cd tree && md5sum --quiet --check "$store/tree.md5"); }
step_ls() { ls -lR tree >/dev/null; }
step_rm() { rm -rf tree; }

# One round of one system; adds a line "STEP SYSTEM SECONDS" for each step to $work/times.
run_round() {
    local system=$1 name
    remount "$system"
    for name in "${steps[@]}"; do
        [ "$name" != read ] || remount "$system"
        (cd "$work/$system" && timed "$name" "$system")
        [ "$name" != read ] || rm "$work/$system/stream"
    done
    unmount "$work/$system"
}

timed() {
    local start=$EPOCHREALTIME
    "step_$1"
    awk -v step="$1" -v system_name="$2" -v start="$start" -v end="$EPOCHREALTIME" \
        'BEGIN { printf "%s %s %.6f\n", step, system_name, end - start }' >>"$work/times"
}

run_rounds() {
    local round
    for ((round = 1; round <= rounds; round++)); do
        # Who goes first changes with each round.
        if ((round % 2)); then set -- "${systems[@]}"; else set -- "${systems[1]}" "${systems[0]}"; fi
        [ "$format" = json ] || printf '\rround %d of %d' "$round" "$rounds" >&2
        run_round "$1"
        run_round "$2"
    done
    [ "$format" = json ] || printf '\r                  \r' >&2
}

# --- the results ------------------------------------------------------------------------------------

median() { sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

seconds_of() { awk -v s="$1" -v y="$2" '$1 == s && $2 == y { print $3 }' "$work/times" | median; }

# One line for each step: STEP SECONDS-OF-ENVELOPEFS SECONDS-OF-GOCRYPTFS TIMES-AS-FAST LIMIT
results() {
    local name limit own peer
    for name in "${steps[@]}"; do
        limit=$others_at_least
        [[ $name != write && $name != read ]] || limit=$stream_at_least
        own=$(seconds_of "$name" envelopefs)
        peer=$(seconds_of "$name" gocryptfs)
        awk -v n="$name" -v o="$own" -v p="$peer" -v l="$limit" \
            'BEGIN { printf "%s %.3f %.3f %.2f %s\n", n, o, p, p / o, l }'
    done
}

print_table() {
    say "medians of $rounds rounds, $(nproc) processors, Linux $(uname -r), $(gocryptfs --version | cut -d';' -f1)"
    {
        say "step envelopefs gocryptfs times-as-fast must-be"
        results | awk -v mb="$megabytes" '
            $1 == "write" || $1 == "read" { printf "%s %.0f_MiB/s %.0f_MiB/s", $1, mb / $2, mb / $3 }
            $1 != "write" && $1 != "read" { printf "%s %.2f_s %.2f_s", $1, $2, $3 }
            { printf " %.2f ≥%s\n", $4, $5 }'
    } | column --table --table-right 2,3,4,5 | tr _ ' '
}

print_json() {
    results | jq --raw-input --slurp --argjson rounds "$rounds" --argjson megabytes "$megabytes" --argjson files "$files" '{
        rounds: $rounds, stream_megabytes: $megabytes, tree_files: $files,
        steps: [split("\n")[] | select(. != "") | split(" ") | {
            step: .[0], envelopefs_seconds: (.[1] | tonumber), gocryptfs_seconds: (.[2] | tonumber),
            times_as_fast: (.[3] | tonumber), must_be: (.[4] | tonumber)
        }]
    }'
}

check_limits() {
    local slow
    slow=$(results | awk '$4 < $5 { printf "%s is %s times as fast as gocryptfs, not %s\n", $1, $4, $5 }')
    [ -z "$slow" ] || die "$slow"
}

parse_arguments "$@"
need_own_fuse
need_packages gocryptfs jq column:bsdextrautils
build_release
make_work_folder
make_tmpfs
make_tree
make_volumes
run_rounds
"print_$format"
[ "$check" = no ] || check_limits
