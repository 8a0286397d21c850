#!/usr/bin/env bash
# How fast envelopefs is, side by side with its peers, in one run on one machine.
#
#   scripts/bench.sh [--rounds N] [--megabytes N] [--files N] [--only LINE,…] [--peers PEER,…] [--json] [--markdown FILE] [--check]
#
# The peers are gocryptfs, which encrypts too, and passthrough_hp, libfuse's example that does not (built from Debian's source
# package); --peers names others: gocryptfs passthrough_hp securefs cryfs encfs tmpfs, and envelopefs-dev and
# envelopefs-io_uring: itself with one way for requests to come from the kernel.
#
# write, read, readers       a stream of --megabytes (1024) in blocks of 128 KiB; eight readers at once. Reads follow a new mount.
#                            With them goes the daemon's processor time for each GiB
# untar, md5sum, ls, rm      a tree of --files (6000) small source files
# create                     10,000 files of 1 KiB
# git-clone, git-status, grep    a clone of that tree; the last two after a new mount
# rand-read, rand-read-direct, rand-write, rand-write-direct, rand-write-fsync    4 KiB at random, by fio
# sqlite, sqlite-wal         inserts, each a transaction
# memory                     the most that the daemon had in any mount
#
# Ciphertext lies on a tmpfs, so that no disk is measured. Each of the --rounds (5) takes every line on every system, in turns;
# the table shows medians, and how many times as good envelopefs is in the same run. --only takes some of the lines. --json
# prints all figures, --markdown also writes them as the page docs/BENCHMARKS.md. --check fails where a ratio is below its
# target; on a machine that does other work at the same time ratios waver by a tenth.

# shellcheck source=scripts/bench/systems.sh
. "$(dirname "$0")/bench/systems.sh"
# shellcheck source=scripts/bench/lines.sh
. "$(dirname "$0")/bench/lines.sh"

rounds=5 megabytes=1024 files=6000 creates=10000 only='' peers=gocryptfs,passthrough_hp format=table page='' check=no

parse_arguments() {
    command="scripts/bench.sh${*:+ $*}"
    while [ $# -gt 0 ]; do
        case $1 in
            --rounds) rounds=$(number "$@") && shift ;;
            --megabytes) megabytes=$(number "$@") && shift ;;
            --files) files=$(number "$@") && shift ;;
            --only) only=${2:?--only needs lines} && shift ;;
            --peers) peers=${2:?--peers needs names} && shift ;;
            --json) format=json ;;
            --markdown) page=$(realpath "${2:?--markdown needs a file}") && shift ;;
            --check) check=yes ;;
            *) die "no option is called '$1': see --help" ;;
        esac
        shift
    done
    IFS=, read -ra systems <<<"$peers"
    check_peers "${systems[@]}"
    systems=(envelopefs "${systems[@]}")
    check_lines
}

check_lines() {
    local line lines
    IFS=, read -ra lines <<<"$only"
    for line in "${lines[@]}"; do
        [[ " ${all_lines[*]} " == *" $line "* ]] || die "no line is called '$line': there are ${all_lines[*]}"
    done
}

# --- the rounds -------------------------------------------------------------------------------------

run_rounds() {
    local round group
    for ((round = 0; round < rounds; round++)); do
        for group in "${groups[@]}"; do
            declare -n of_group=lines_$group
            ! wanted_of "${of_group[@]}" || run_group
        done
    done
    progress ''
}

# Who goes first changes with each round.
run_group() {
    local at system
    for ((at = 0; at < ${#systems[@]}; at++)); do
        system=${systems[(at + round) % ${#systems[@]}]}
        progress "round $((round + 1)) of $rounds: $group in $system"
        "group_$group"
        leave "$system"
    done
}

# --- the results ------------------------------------------------------------------------------------

# The machine and the sizes: what a figure needs to be understood.
facts() {
    local system
    for system in "${systems[@]}"; do
        version_of "$system"
    done | jq --raw-input --slurp --arg kernel "$(uname -r)" --argjson processors "$(nproc)" \
        --arg model "$(awk -F': ' '/^model name/ { print $2; exit }' /proc/cpuinfo)" \
        --argjson memory "$(awk '/^MemTotal:/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo)" --arg command "$command" \
        --argjson rounds "$rounds" --argjson megabytes "$megabytes" --argjson files "$files" \
        --argjson random "$((random_io_megabytes * 256))" --argjson fsync "$((fsync_io_megabytes * 256))" \
        --argjson inserts "$inserts" --arg systems "${systems[*]}" '{
            kernel: $kernel, processors: $processors, model: $model, memory: $memory, command: $command,
            versions: [split("\n")[] | select(. != "")], systems: ($systems | split(" ")), rounds: $rounds,
            megabytes: $megabytes, files: $files, operations: {"rand-read": $random, "rand-read-direct": $random,
                "rand-write": $random, "rand-write-direct": $random, "rand-write-fsync": $fsync, sqlite: $inserts,
                "sqlite-wal": $inserts}}' >"$work/facts"
}

report() { python3 "$project/scripts/bench/report.py" "$1" "$work/facts" "$work/measured"; }

parse_arguments "$@"
need_own_fuse
need_packages jq python3 fio sqlite3 git
need_systems "${systems[@]}"
make_work_folder
# The stream is there once, with what a system keeps beside it.
make_store $((2 * megabytes + random_megabytes + 2048)) 1000000
! wanted_of "${lines_tree[@]}" "${lines_git[@]}" || make_tree
make_volumes "${systems[@]}"
run_rounds
facts
report "$format"
[ -z "$page" ] || report markdown >"$page"
[ "$check" = no ] || report check
