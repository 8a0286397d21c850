#!/usr/bin/env bash
# fio with verify: many jobs write at random in files of their own and in regions of shared ones, through
# psync, libaio, io_uring and mmap, buffered and direct; all is read back at once, and after a new mount.
#
#   scripts/fio.sh           8 MiB for each job, on volumes with blocks of 4K and 64K
#   scripts/fio.sh --long    68 MiB for each job
#
#   --backing ext4|xfs|btrfs|tmpfs    where the ciphertext lies (ext4)

# shellcheck source=scripts/volumes.sh
. "$(dirname "$0")/volumes.sh"

readonly jobs=$project/tests/conformance/fio.ini

verify_on() {
    local name=fio-$1
    mount_volume "$backing" "$name" --block-size "$1"
    fio_in_mount 64 || die "fio found damage in $name: $(complaints)"
    remount_volume
    fio_in_mount 0 --verify_only || die "fio found damage in $name after a new mount: $(complaints)"
    damage_is_found
    as_owner umount "$mount"
    as_root rm -rf "$cipher"
    say "fio: $(jobs_run) jobs of $size with blocks of $1 on $fs, right at once and after a new mount: $((SECONDS - started)) s since the start"
}

# fio_in_mount BACKLOG OPTION…
fio_in_mount() {
    as_root env MOUNT="$mount" SIZE="$size" BACKLOG="$1" timeout --kill-after=10 "$limit" \
        fio --output="$work/fio.log" "${@:2}" "$jobs" 2>"$work/fio.errors"
}

complaints() { grep -hE 'err=[^ ]* ?[1-9]|verify' "$work/fio.errors" "$work/fio.log" | head -20; }

jobs_run() { awk -F= '/^numjobs=/ { sum += $2 } END { print sum }' "$jobs"; }

# A suite that overlooks a changed byte proves nothing.
damage_is_found() {
    printf wrong | as_root dd of="$mount/psync.0.0" bs=1 seek=1000000 conv=notrunc status=none
    if fio_in_mount 0 --verify_only --section=psync; then
        die "fio did not notice five changed bytes in psync.0.0"
    fi
    grep -q 'verify failed at file .*/psync.0.0 ' "$work/fio.errors" ||
        die "fio failed for another reason than the changed bytes: $(complaints)"
}

# The kernel may forbid io_uring to all but some; what is asked for must be tried.
need_io_uring() {
    local disabled=/proc/sys/kernel/io_uring_disabled
    [ -e "$disabled" ] && [ "$(cat "$disabled")" -eq 2 ] &&
        die "io_uring is forbidden here: set kernel.io_uring_disabled to 0 (sysctl), then start again"
    return 0
}

parse_arguments() {
    size=8m fs=ext4 limit=120
    while [ $# -gt 0 ]; do
        case $1 in
            --long) size=128m limit=3600 ;;
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
    need_packages fio
    need_io_uring
    build_release
    make_work_folder
    backing=$work/backing
    make_fs "$fs" "$backing" 8G
    local started=$SECONDS
    verify_on 4K
    verify_on 64K
}

main "$@"
