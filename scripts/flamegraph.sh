#!/usr/bin/env bash
# Where the daemon's time goes: flame graphs of a stream that is written, one that is read, and a tree that is unpacked.
#
#   scripts/flamegraph.sh [--megabytes N] [--files N] [--rate N] [FOLDER]
#
# Samples the daemon's processor time, --rate (997) times a second, in user space and the kernel, while it serves a stream of
# --megabytes (4096) and a tree of --files (6000) small files; the ciphertext is on a tmpfs. Writes FOLDER/write.svg, read.svg and
# untar.svg (docs/performance), and prints what part of the samples went to what. Needs root, for the kernel's part.

# shellcheck source=scripts/bench/systems.sh
. "$(dirname "$0")/bench/systems.sh"
# shellcheck source=scripts/bench/lines.sh
. "$(dirname "$0")/bench/lines.sh"

megabytes=4096 files=6000 rate=997 folder=$project/docs/performance only=untar

parse_arguments() {
    while [ $# -gt 0 ]; do
        case $1 in
            --megabytes) megabytes=$(number "$@") && shift ;;
            --files) files=$(number "$@") && shift ;;
            --rate) rate=$(number "$@") && shift ;;
            -*) die "no option is called '$1': see --help" ;;
            *) folder=$1 ;;
        esac
        shift
    done
    mkdir -p "$folder"
    folder=$(realpath "$folder")
}

# The tools are inferno's, and cargo's list says which version is there.
need_inferno() {
    local version=0.12.8
    if ! grep -qs "\"inferno $version " "$tools/.crates.toml"; then
        say "installing: inferno $version"
        cargo install --quiet --locked --root "$tools" "inferno@$version"
    fi
}

# profiled NAME COMMAND…: samples the daemon while the command runs inside the mount. perf ends with its own command, which waits
# for somebody to write into the pipe.
profiled() {
    local name=$1 recorder
    shift
    mkfifo "$work/$name.end"
    as_root perf record --quiet --event cpu-clock --freq "$rate" --call-graph dwarf,16384 --pid "$daemon" \
        --output "$work/$name.perf" -- cat "$work/$name.end" >/dev/null 2>"$work/perf.log" &
    recorder=$!
    wait_for "perf" test -s "$work/$name.perf" || die "$(cat "$work/perf.log")"
    (cd "$mount" && "$@")
    true >"$work/$name.end"
    wait "$recorder" || die "$(cat "$work/perf.log")"
    draw "$name"
}

# Inlined functions are left out: to find them takes perf a second for each thousand frames.
draw() {
    as_root perf script --no-inline --input "$work/$1.perf" 2>/dev/null | inferno-collapse-perf 2>/dev/null >"$work/$1.folded"
    [ -s "$work/$1.folded" ] || die "no samples of the daemon: $(cat "$work/perf.log")"
    inferno-flamegraph --minwidth 0.4 --title "envelopefs: $1, processor time of the daemon" --hash \
        <"$work/$1.folded" >"$folder/$1.svg"
}

parse_arguments "$@"
need_own_fuse
need_packages perf:linux-perf python3 jq
need_rust
need_inferno
build_release
make_work_folder
make_store $((megabytes + 2048)) 1000000
make_tree
make_volumes envelopefs
system=envelopefs
remount "$system"
profiled write stream_write
remount "$system"
profiled read stream_read
rm "$mount/stream"
# What the stream leaves to be freed is no part of what follows.
remount "$system"
profiled untar tree_untar
leave "$system"
python3 "$project/scripts/bench/shares.py" "$work"/{write,read,untar}.folded
