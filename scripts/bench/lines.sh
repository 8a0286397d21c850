# shellcheck shell=bash
# What scripts/bench.sh measures: groups of lines that need the same files. Sourced by it, never run.
#
# A group runs in one system: it mounts, measures its lines in turn, and leaves the volume as it found it. The variables
# are those of scripts/bench.sh and scripts/bench/systems.sh.
# shellcheck disable=SC2034,SC2154

readonly groups=(stream tree create git random sqlite)
readonly lines_stream=(write read readers)
readonly lines_tree=(untar md5sum ls rm)
readonly lines_create=(create)
readonly lines_git=(git-clone git-status grep)
readonly lines_random=(rand-read rand-read-direct rand-write rand-write-direct rand-write-fsync)
readonly lines_sqlite=(sqlite sqlite-wal)
readonly all_lines=("${lines_stream[@]}" "${lines_tree[@]}" "${lines_create[@]}" "${lines_git[@]}" "${lines_random[@]}"
    "${lines_sqlite[@]}")

# --- the machinery ----------------------------------------------------------------------------------

wanted() { [[ -z $only || ,$only, == *,$1,* ]]; }

wanted_of() {
    local line
    for line in "$@"; do
        wanted "$line" && return
    done
    return 1
}

# timed LINE COMMAND…: runs it inside the mount, and notes how long it took, the daemon's time and the calls for keys. A command
# that takes long to start writes into $work/took how long its work alone took.
timed() {
    local line=$1 start end cpu calls took
    shift
    rm -f "$work/took"
    calls=$(provider_calls "$system")
    cpu=$(cpu_seconds)
    start=$EPOCHREALTIME
    (cd "$mount" && "$@")
    end=$EPOCHREALTIME
    took=$(if [ -e "$work/took" ]; then cat "$work/took"; else difference "$start" "$end"; fi)
    ! wanted "$line" || note "$line" "$system" "$took" "$(difference "$cpu" "$(cpu_seconds)")" \
        "$(($(provider_calls "$system") - calls))"
}

# --- a stream ---------------------------------------------------------------------------------------

group_stream() {
    remount "$system"
    timed write stream_write
    if wanted read; then
        remount "$system"
        timed read stream_read
    fi
    if wanted readers; then
        remount "$system"
        timed readers stream_readers
    fi
    rm "$mount/stream"
}

stream_write() { dd if=/dev/zero of=stream bs=128k count=$((megabytes * 8)) conv=fsync status=none; }
stream_read() { dd if=stream of=/dev/null bs=128k status=none; }

# Eight at once, each an eighth of the file.
stream_readers() {
    local part pids=()
    for part in {0..7}; do
        dd if=stream of=/dev/null bs=128k count="$megabytes" skip=$((part * megabytes)) status=none &
        pids+=($!)
    done
    for part in "${pids[@]}"; do
        wait "$part"
    done
}

# --- a tree of small files --------------------------------------------------------------------------

group_tree() {
    remount "$system"
    timed untar tree_untar
    ! wanted md5sum || timed md5sum tree_md5sum
    ! wanted ls || timed ls tree_ls
    timed rm rm -rf tree
}

tree_untar() { mkdir tree && tar -C tree -xf "$store/tree.tar"; }
tree_md5sum() { (cd tree && md5sum --quiet --check "$store/tree.md5"); }
tree_ls() { ls -lR tree >/dev/null; }

# The tree to unpack: small files of the project's own dependencies, their checksums, and a repository of them.
make_tree() {
    local sources=${CARGO_HOME:-$HOME/.cargo}/registry/src
    (cd "$project" && cargo fetch --quiet --locked)
    mkdir "$store/tree"
    (cd "$sources" && find . -type f -size -64k -print0 | sort -z | sed -zn "1,${files}p" |
        tar --null --verbatim-files-from --files-from=- -cf -) | tar -C "$store/tree" -xf -
    [ "$(find "$store/tree" -type f | wc -l)" -eq "$files" ] || die "fewer than $files files in $sources"
    tar -C "$store/tree" -cf "$store/tree.tar" .
    (cd "$store/tree" && find . -type f -exec md5sum {} +) >"$store/tree.md5"
    ! wanted_of "${lines_git[@]}" || make_repository
    rm -rf "$store/tree"
}

# --- many new files ---------------------------------------------------------------------------------

group_create() {
    remount "$system"
    mkdir "$mount/many"
    timed create many_creates
    rm -rf "$mount/many"
}

many_creates() { python3 "$project/scripts/bench/files.py" create many 1 "$creates" 1024 >"$work/took"; }

# --- git --------------------------------------------------------------------------------------------

in_git() { HOME=$work git -c gc.auto=0 "$@"; }

make_repository() {
    in_git init -q "$store/tree"
    in_git -C "$store/tree" add --force .
    in_git -C "$store/tree" -c user.name=bench -c user.email=bench@example.com commit -q -m tree
    in_git clone -q --bare "$store/tree" "$store/repository.git"
    rm -rf "$store/tree/.git"
}

group_git() {
    remount "$system"
    # Over git's own protocol: between folders it would only copy files.
    timed git-clone in_git clone -q --no-local "$store/repository.git" clone
    if wanted git-status; then
        remount "$system"
        timed git-status git_status
    fi
    if wanted grep; then
        remount "$system"
        timed grep grep_all
    fi
    rm -rf "$mount/clone"
}

git_status() { [ -z "$(in_git -C clone status --porcelain)" ] || die "git sees changes in a clone of $system"; }

# Text that is nowhere, so that every file is read to its end.
grep_all() {
    local status=0
    grep -rF --exclude-dir=.git 'no such text: 8ab14c' clone || status=$?
    [ "$status" -eq 1 ] || die "grep ended with $status in $system"
}

# --- 4 KiB at random --------------------------------------------------------------------------------

readonly random_megabytes=256 random_io_megabytes=64 fsync_io_megabytes=16

group_random() {
    remount "$system"
    dd if=/dev/zero of="$mount/random" bs=1M count="$random_megabytes" conv=fsync status=none
    remount "$system"
    random rand-read randread "$random_io_megabytes"
    random rand-read-direct randread "$random_io_megabytes" --direct=1
    # What the kernel gathers before it has to write counts only once it is written.
    random rand-write randwrite "$random_io_megabytes" --end_fsync=1
    random rand-write-direct randwrite "$random_io_megabytes" --direct=1
    random rand-write-fsync randwrite "$fsync_io_megabytes" --fsync=1
    rm "$mount/random"
}

# random LINE KIND MEGABYTES FIO-OPTION…
random() { ! wanted "$1" || timed "$1" fio_random "$@"; }

# The same places in every run and system; fio first drops what is cached of the file, and its runtime has the last fsync in it.
fio_random() {
    fio --name="$1" --filename=random --rw="$2" --bs=4k --ioengine=psync --size="${random_megabytes}m" --io_size="$3m" \
        --randseed=1 --fallocate=none --output-format=json --output="$work/fio.json" "${@:4}"
    jq '.jobs[0] | (.read.runtime + .write.runtime) / 1000' "$work/fio.json" >"$work/took"
}

# --- sqlite -----------------------------------------------------------------------------------------

readonly inserts=1000

group_sqlite() {
    remount "$system"
    ! wanted sqlite || timed sqlite sqlite_inserts delete
    ! wanted sqlite-wal || timed sqlite-wal sqlite_inserts wal
    rm -f "$mount"/sqlite-*
}

# Each insert is a transaction that has to be durable.
sqlite_inserts() {
    awk -v journal="$1" -v count="$inserts" 'BEGIN {
        printf "PRAGMA journal_mode=%s; PRAGMA synchronous=FULL; CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT);\n", journal
        for (i = 1; i <= count; i++) printf "INSERT INTO t (body) VALUES (printf(\"%%0100d\", %d));\n", i
        print "SELECT count(*) FROM t;"
    }' | sqlite3 -batch -bail "sqlite-$1" | tail -1 | grep -qx "$inserts" || die "sqlite lost inserts in $system"
}
