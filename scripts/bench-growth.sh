#!/usr/bin/env bash
# Whether cost stays flat as work grows: time for each operation with more files, for each MiB of longer streams, and the daemon's
# memory.
#
#   scripts/bench-growth.sh [--max FILES] [--max-gigabytes N] [--rounds N] [--json] [--check]
#
# Files: in folders of 1,000, 10,000, 100,000 and so on up to --max (1000000) files of 100 bytes, after a new mount: stat, and
# open, read and close of a thousand of them; listing, for each entry; once all are known, a thousand new files, and their removal.
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
            *) die "no option is called '$1': see --help" ;;
        esac
        shift
    done
    [ "$max" -ge "$sampled" ] || die "--max is $sampled at least"
}

# grown WHAT SYSTEM SIZE VALUE
grown() { printf '%s\t%s\t%s\t%s\n' "$@" >>"$work/grown"; }

files() { python3 "$project/scripts/bench/files.py" "$@"; }

# --- more files -------------------------------------------------------------------------------------

# A folder for each size; then each round goes through all of them, so that what the machine does meanwhile meets all alike.
grow_files() {
    local system=$1 size round sizes=()
    remount "$system"
    for ((size = sampled; size <= max; size *= 10)); do
        sizes+=("$size")
        progress "making $size files in $system"
        mkdir "$mount/$size"
        files create "$mount/$size" 1 "$size" "$bytes" >/dev/null
    done
    for ((round = 0; round < rounds; round++)); do
        for size in "${sizes[@]}"; do
            progress "round $((round + 1)) of $rounds: $size files in $system"
            measure_files "$system" "$size"
        done
    done
    for size in "${sizes[@]}"; do
        [ "$system" = tmpfs ] || watch_memory "$size"
    done
    leave "$system"
    find "$store/$system" -mindepth 1 -maxdepth 1 -type d ! -name '.envelopefs*' -exec rm -rf {} +
}

# stat, read and list ask of files that the kernel does not know; files are made and removed while it knows all others.
measure_files() {
    local system=$1 size=$2
    remount "$system"
    per_file stat "$(files stat "$mount/$size" 1 "$size" $((size / sampled)))"
    remount "$system"
    per_file read "$(files read "$mount/$size" 1 "$size" $((size / sampled)))"
    remount "$system"
    per_entry "$(files list "$mount/$size")"
    files stat "$mount/$size" 1 "$size" >/dev/null
    per_file create "$(files create "$mount/$size" $((size + 1)) $((size + sampled)) "$bytes")"
    per_file unlink "$(files unlink "$mount/$size" $((size + 1)) $((size + sampled)))"
}

per_file() { grown "$1" "$system" "$size" "$(awk -v s="$2" -v n="$sampled" 'BEGIN { print s / n }')"; }

per_entry() { grown list "$system" "$size" "$(awk '{ print $2 / $1 }' <<<"$1")"; }

# --- the daemon's memory ----------------------------------------------------------------------------

watch_memory() {
    local size=$1
    remount envelopefs
    note_memory mounted
    files stat "$mount/$size" 1 "$size" >/dev/null
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

# Those that take long are not repeated.
grow_streams() {
    local system=$1 size round longest=$((max_gigabytes * 1024))
    for ((round = 0; round < rounds; round++)); do
        for ((size = 1; size < longest * 8; size *= 8)); do
            # The last step ends at the longest, where eightfold steps miss it.
            [ "$size" -le "$longest" ] || size=$longest
            if [ "$size" -le 1024 ] || [ "$round" -eq 0 ]; then
                measure_stream "$system" "$size"
            fi
            [ "$size" -lt "$longest" ] || break
        done
    done
}

measure_stream() {
    local system=$1 size=$2 taken
    progress "round $((round + 1)) of $rounds: a stream of $size MiB in $system"
    remount "$system"
    read -ra taken <<<"$(python3 "$project/scripts/bench/stream.py" "$mount/stream" "$size")"
    grown write "$system" "$size" "${taken[0]}"
    grown fetch "$system" "$size" "${taken[1]}"
    leave "$system"
}

# --- the results ------------------------------------------------------------------------------------

report() { python3 "$project/scripts/bench/growth.py" "$1" "$work/grown"; }

parse_arguments "$@"
need_own_fuse
need_packages jq python3
need_systems envelopefs
make_work_folder
# Room for the files of one system at a time, or for two windows of a stream.
make_store $((max / 100 + 4096)) $((3 * max + 100000))
make_volumes envelopefs tmpfs
for system in envelopefs tmpfs; do
    grow_files "$system"
    grow_streams "$system"
done
progress ''
report "$format"
[ "$check" = no ] || report check
