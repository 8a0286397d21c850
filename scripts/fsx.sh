#!/usr/bin/env bash
# fsx: random operations on one file in a mount; all that is read is compared with what must be there,
# and the whole file again after a new mount.
#
#   scripts/fsx.sh           2000 operations in each kind of mount
#   scripts/fsx.sh --long    a million operations with each of four seeds in each kind of mount
#
#   --backing ext4|xfs|btrfs|tmpfs    where the ciphertext lies (ext4)
#   --operations N                    instead of 2000 or a million
#   --seeds "N…"                      instead of 1, or 1 2 3 4; with an even one, what is written
#                                     through a map is left to the kernel to send
#   --mounts "KIND…"                  instead of all of them: blocks of 4K, 64K, 1M; shared (as where
#                                     other mounts may change files); uncached (as on a full disk)

# shellcheck source=scripts/volumes.sh
. "$(dirname "$0")/volumes.sh"

readonly config=$project/tests/conformance/fsx.toml

# fsx 0.3.2 never unmaps what it mapped to read, and with these weights reaches the kernel's limit of
# maps (vm.max_map_count, 65530) before 500,000 operations: more are made by one fsx after another.
readonly piece=250000

# One kind of mount after the other, so that no more than one daemon runs at a time.
exercise() {
    local kind=$1 seed=$2 name=fsx-$1-$2 folder=$backing block_size=4096
    mount_options=()
    case $kind in
        4K) ;;
        64K) block_size=65536 ;;
        1M) block_size=1048576 ;;
        shared) mount_options=(--shared) ;;
        uncached) folder=$short ;;
        *) die "no kind of mount is called '$kind'" ;;
    esac
    mount_volume "$folder" "$name" --block-size "$block_size"
    run_fsx "$name" "$seed"
    compare_after_remount "$name"
    as_owner umount "$mount"
    as_root rm -rf "$cipher"
    say "fsx: $operations operations with seed $seed in $kind on $fs: $((SECONDS - started)) s since the start"
}

# The second piece of seed 1 has seed 1001, the third 2001: odd ones stay odd.
run_fsx() {
    local name=$1 seed=$2 left=$operations part
    {
        [ $((seed % 2)) -eq 1 ] || echo "nomsyncafterwrite = true"
        cat "$config"
    } >"$work/fsx.toml"
    mkdir "$work/$name.artifacts"
    while [ "$left" -gt 0 ]; do
        part=$((left < piece ? left : piece))
        as_root env RUST_BACKTRACE=0 timeout --kill-after=10 "$limit" \
            fsx -q -f "$work/fsx.toml" -S "$seed" -N "$part" -P "$work/$name.artifacts" "$mount/file" \
            >"$work/$name.log" 2>&1 ||
            die "fsx failed in $name with seed $seed after $((SECONDS - started)) s: $(tail -25 "$work/$name.log")"
        left=$((left - part))
        seed=$((seed + 1000))
    done
}

compare_after_remount() {
    local before after
    before=$(as_root sha256sum "$mount/file")
    remount_volume
    after=$(as_root sha256sum "$mount/file")
    [ "$before" = "$after" ] || die "$1: the file reads differently after a new mount"
}

parse_arguments() {
    operations=2000 seeds=1 mounts="4K 64K 1M shared uncached" fs=ext4 limit=120
    while [ $# -gt 0 ]; do
        case $1 in
            --long) operations=1000000 seeds="1 2 3 4" limit=86400 ;;
            --operations) operations=${2:?} limit=86400 && shift ;;
            --seeds) seeds=${2:?} && shift ;;
            --mounts) mounts=${2:?} && shift ;;
            --backing) fs=${2:?} && shift ;;
            *)
                usage
                exit 2
                ;;
        esac
        shift
    done
}

main() {
    parse_arguments "$@"
    need_fuse
    need_cargo_tool fsx 0.3.2
    build_release
    make_work_folder
    backing=$work/backing
    make_fs "$fs" "$backing"
    # Less than the 128 MiB below which files are opened past the kernel's cache (src/fs/space.rs).
    short=$work/short
    make_fs tmpfs "$short" 100M
    local kind seed started=$SECONDS
    for seed in $seeds; do
        for kind in $mounts; do
            exercise "$kind" "$seed"
        done
    done
}

main "$@"
