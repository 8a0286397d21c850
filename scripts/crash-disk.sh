#!/usr/bin/env bash
# Cuts the power of a real file system: its image is copied right after a sync, and the volume on the copy mounted.
#
#   scripts/crash-disk.sh [btrfs|ext4|xfs]…    (default: all three; needs root)
#
# A copy holds what the file system has sent to its disk, and no more than it has to: it commits by itself only after minutes.
# scripts/crash.sh tries far more states, by a model of these file systems; this shows the model's worst on the real ones.

# shellcheck source=scripts/volumes.sh
. "$(dirname "$0")/volumes.sh"

long=$(printf 'n%.0s' {1..200})

# write FILE BYTES: makes or appends to a file of the mount, and syncs it.
write() {
    as_root dd if=/dev/zero of="$mount/$1" bs="$2" count=1 conv=fsync,notrunc oflag=append status=none
}

# cut_power PATH:SIZE…: these files must be in a mount of a copy of the disk, and nothing may be damaged.
cut_power() {
    local want found=$work/found after=$work/after
    cuts=$((cuts + 1))
    cp --sparse=always "$disk.img" "$work/after.img"
    mkdir "$after"
    # Two XFS with one UUID are not mounted at the same time.
    as_root mount -o "loop$([ "$kind" != xfs ] || echo ,nouuid)" "$work/after.img" "$after"
    as_owner check "$after/v.enc" >"$found" || grep -q ' 0 damaged' "$found" || die "$kind: damage: $(<"$found")"
    mkdir "$work/seen"
    as_owner mount --allow-other "$after/v.enc" "$work/seen"
    as_root find "$work/seen" -printf '%P:%s\n' >"$found" || die "$kind: a folder does not open"
    for want in "$@"; do
        grep -qxF "$want" "$found" || die "$kind: $want was synced and is not there: $(<"$found")"
    done
    as_root find "$work/seen" -type f -exec cat {} + >"$found" || die "$kind: a file cannot be read"
    as_owner umount "$work/seen"
    as_root umount "$after"
    rm -r "$work/seen" "$after" "$work/after.img"
}

steps() {
    as_root mkdir "$mount/d"
    write d/f 9000
    cut_power d/f:9000
    write "$long" 5000
    cut_power d/f:9000 "$long:5000"
    as_root mkdir -p "$mount/e/g"
    write e/g/h 5000
    cut_power e/g/h:5000
    write moved 4000
    as_root mkdir "$mount/n"
    as_root mv "$mount/moved" "$mount/n/moved"
    write other 100
    cut_power d/f:9000 e/g/h:5000 n/moved:4000 other:100
    as_root sync "$mount"
    as_root mkdir "$mount/empty" "$mount/empty/inner"
    write other 100
    cut_power "$long:5000" other:200
    as_root mv "$mount/$long" "$mount/d/$long"
    write "d/$long" 100
    cut_power "d/$long:5100"
}

make_work_folder
build_release
need_fuse
[ $# -gt 0 ] || set -- btrfs ext4 xfs
for kind in "$@"; do
    step "$kind"
    cuts=0 disk=$work/$kind
    make_fs "$kind" "$disk"
    # XFS has no such option, and writes its log out later anyway.
    [ "$kind" = xfs ] || as_root mount -o remount,commit=300 "$disk"
    mount_volume "$disk" v
    as_root sync --file-system "$disk"
    steps
    say "$kind: $cuts power cuts, nothing lost"
    as_owner umount "$mount"
    as_root umount "$disk"
    rm -r "$mount" "$disk.img" "$disk" "$mount.key"
done
