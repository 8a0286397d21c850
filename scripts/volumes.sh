# shellcheck shell=bash
# Volumes to run the conformance suites in: ciphertext on a fresh file system of a chosen kind, mounted
# by the program under test. Sourced by those scripts, never run.

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# --- the file system below --------------------------------------------------------------------------

# make_fs KIND FOLDER [SIZE]: an empty ext4, xfs, btrfs or tmpfs (of 1 GiB), mounted there.
make_fs() {
    local kind=$1 folder=$2 size=${3:-1G}
    mkdir "$folder"
    case $kind in
        ext4) need_packages mkfs.ext4:e2fsprogs ;;
        xfs) need_packages mkfs.xfs:xfsprogs ;;
        btrfs) need_packages mkfs.btrfs:btrfs-progs ;;
        tmpfs)
            as_root mount -t tmpfs -o "size=$size,mode=755" none "$folder"
            return
            ;;
        *) die "no file system is called '$kind': there are ext4 xfs btrfs tmpfs" ;;
    esac
    truncate --size="$size" "$folder.img"
    as_root "mkfs.$kind" -q "$folder.img" >/dev/null
    as_root mount -o loop "$folder.img" "$folder" ||
        die "cannot mount an image of $kind (in a container: --privileged, or /dev/loop-control)"
    as_root chmod 755 "$folder"
}

# --- volumes ----------------------------------------------------------------------------------------

# as_owner SUBCOMMAND…: envelopefs as root, with the work folder as its home.
as_owner() { as_root env HOME="$work" "$ENVELOPEFS" "$@"; }

# mount_volume BACKING NAME INIT-OPTION…: makes a volume in the folder BACKING and mounts it with the
# options in $mount_options; sets $cipher and $mount.
mount_options=()
mount_volume() {
    cipher=$1/$2.enc
    mount=$work/$2
    mkdir "$mount"
    as_owner init --key "file://$mount.key" "${@:3}" "$cipher" >/dev/null
    mount_again
    as_root chmod 755 "$mount"
}

mount_again() {
    as_owner mount --allow-other "${mount_options[@]}" "$cipher" "$mount"
    check_mounted "$mount"
}

# Unmounts and mounts again: what is read then comes from the ciphertext, not from the kernel's cache.
remount_volume() {
    as_owner umount "$mount"
    mount_again
}
