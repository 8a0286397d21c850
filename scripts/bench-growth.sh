#!/usr/bin/env bash
# Whether cost stays flat as work grows: time for each operation with more files, for each MiB of longer streams, and the daemon's
# memory.
#
#   scripts/bench-growth.sh [--max FILES] [--max-gigabytes N] [--rounds N] [--json] [--check]
#
# Files: in one folder of 1,000, 10,000, 100,000 and so on up to --max (1000000) files of 100 bytes, after a new mount: stat, and
# open, read and close of a thousand of them; listing, for each entry; a thousand new files, and their removal.
# Streams: of 1 MiB, 8 MiB and so on up to --max-gigabytes (64). Of a stream that is longer than a GiB only the last GiB is kept,
# with a hole in the place of what was read, as no memory holds all.
# Memory: after all files were looked up, and after the kernel has forgotten them (drop_caches); with it open descriptors.
#
# The ciphertext lies on a tmpfs; beside envelopefs the same runs on that tmpfs itself, to show what is the kernel's. Medians of
# --rounds (3). --check fails where an operation takes 1.5 times as long as with a thousand files, a MiB 1.2 times as long as in
# the shortest stream, or where the daemon keeps memory for files that the kernel has forgotten.

# shellcheck source=scripts/bench/systems.sh
. "$(dirname "$0")/bench/systems.sh"

readonly sampled=1000 bytes=100
max=1000000 max_gigabytes=64 rounds=3 format=table check=no

parse_arguments() {
    while [ $# -gt 0 ]; do
        case $1 in
            --max) max=$(number "$@") && shift ;;
            --max-gigabytes) max_gigabytes=$(number "$@") && shift ;;
            --rounds) rounds=$(number "$@") && shift ;;
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
    [ "$max" -ge "$sampled" ] || die "--max is $sampled at least"
}

progress() { [ "$format" = json ] || [ ! -t 2 ] || printf '\r\033[K%s' "$1" >&2; }

# grown WHAT SYSTEM SIZE VALUE
grown() { printf '%s\t%s\t%s\t%s\n' "$@" >>"$work/grown"; }

files() { python3 "$project/scripts/bench/files.py" "$@"; }

# --- more files -------------------------------------------------------------------------------------

# Fills up to each size, and measures there.
grow_files() {
    local system=$1 size filled=0
    remount "$system"
    mkdir "$mount/many"
    for ((size = sampled; size <= max; size *= 10)); do
        progress "$size files in $system"
        files create "$mount/many" $((filled + 1)) "$size" "$bytes" >/dev/null
        filled=$size
        measure_files "$system" "$size"
        [ "$system" = tmpfs ] || watch_memory "$size"
    done
    leave "$system"
    rm -rf "${store:?}/$system/many"
}

measure_files() {
    local round system=$1 size=$2
    for ((round = 0; round < rounds; round++)); do
        remount "$system"
        per_file stat "$(files stat "$mount/many" 1 "$size" $((size / sampled)))"
        remount "$system"
        per_file read "$(files read "$mount/many" 1 "$size" $((size / sampled)))"
        remount "$system"
        per_entry "$(files list "$mount/many")"
        per_file create "$(files create "$mount/many" $((size + 1)) $((size + sampled)) "$bytes")"
        per_file unlink "$(files unlink "$mount/many" $((size + 1)) $((size + sampled)))"
    done
}

per_file() { grown "$1" "$system" "$size" "$(awk -v s="$2" -v n="$sampled" 'BEGIN { print s / n }')"; }

per_entry() { grown list "$system" "$size" "$(awk '{ print $2 / $1 }' <<<"$1")"; }

# --- the daemon's memory ----------------------------------------------------------------------------

watch_memory() {
    local size=$1
    remount envelopefs
    note_memory mounted
    files stat "$mount/many" 1 "$size" >/dev/null
    note_memory seen
    # Names and inodes that nobody uses: the kernel forgets them, and tells the daemon.
    echo 2 | as_root tee /proc/sys/vm/drop_caches >/dev/null
    wait_for "the kernel's forgetting" forgotten || die "the daemon holds $(inodes) inodes that the kernel has forgotten"
    note_memory forgotten
}

note_memory() {
    grown "memory-$1" envelopefs "$size" "$(awk '/^VmRSS:/ { print $2 / 1024 }' "/proc/$daemon/status")"
    grown "descriptors-$1" envelopefs "$size" "$(as_root ls "/proc/$daemon/fd" | wc -l)"
    grown "inodes-$1" envelopefs "$size" "$(inodes)"
}

inodes() { HOME=$work envelopefs status --json "$mount" | jq .inodes; }

forgotten() { [ "$(inodes)" -lt 100 ]; }

# --- longer streams ---------------------------------------------------------------------------------

grow_streams() {
    local system=$1 size round
    for ((size = 1; size <= max_gigabytes * 1024; size *= 8)); do
        stream_rounds "$system" "$size"
    done
    # The longest, where eightfold steps miss it.
    [ $((size / 8)) -eq $((max_gigabytes * 1024)) ] || stream_rounds "$system" $((max_gigabytes * 1024))
}

# What takes long needs no repetition.
stream_rounds() {
    local system=$1 size=$2 round taken many=$rounds
    [ "$size" -le 1024 ] || many=1
    progress "a stream of $size MiB in $system"
    for ((round = 0; round < many; round++)); do
        remount "$system"
        read -ra taken <<<"$(python3 "$project/scripts/bench/stream.py" "$mount/stream" "$size")"
        grown write "$system" "$size" "${taken[0]}"
        grown fetch "$system" "$size" "${taken[1]}"
        leave "$system"
    done
}

# --- the results ------------------------------------------------------------------------------------

report() { python3 "$project/scripts/bench/growth.py" "$1" "$work/grown"; }

parse_arguments "$@"
need_own_fuse
need_packages jq python3
need_systems envelopefs
make_work_folder
# Room for the files of one system at a time, or for two windows of a stream.
make_store $((max / 128 + 4096)) $((3 * max + 100000))
make_volumes envelopefs tmpfs
for system in envelopefs tmpfs; do
    grow_files "$system"
    grow_streams "$system"
done
progress ''
report "$format"
[ "$check" = no ] || report check
