#!/usr/bin/env bash
# From a fresh Debian 12 machine with a Rust toolchain to a mounted, encrypted folder.
#
#   scripts/quickstart.sh [FOLDER]   (default: ~/envelopefs-demo)
#
# Installs what is missing, builds the program, makes a volume, mounts it, copies files in and
# reads them back, and shows what lies on the disk. Run it again at any time: it goes on from what
# is there. Needs no root, except to install packages.

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

case ${1:-} in
    -*) die "no option is called '$1': the only argument is a folder" ;;
esac

demo=$(realpath --canonicalize-missing "${1:-$HOME/envelopefs-demo}")
readonly demo
readonly volume=$demo/secrets.enc mountpoint=$demo/secrets
readonly doc_files=500

install_and_build() {
    step "Installing what is missing, building the program"
    need_own_fuse
    build_release
    say "$ENVELOPEFS"
}

make_volume() {
    if [ -e "$volume/.envelopefs/volume.json" ]; then
        step "The volume $volume is there already"
        return
    fi
    step "Making a volume: $volume"
    mkdir -p "$demo"
    run "$ENVELOPEFS" init "$volume"
}

mount_volume() {
    if is_mounted "$mountpoint"; then
        step "It is mounted already on $mountpoint"
        return
    fi
    step "Mounting it on $mountpoint"
    mkdir -p "$mountpoint"
    run "$ENVELOPEFS" mount "$volume" "$mountpoint"
    check_mounted "$mountpoint"
}

copy_files_in() {
    step "Copying files in: this project's source, and documents of this machine"
    (list_source) >"$lists/source"
    # A slim machine may have few of them, or not all folders.
    (list_documents) >"$lists/documents" || true
    copy_list "$project" "$lists/source" "$mountpoint/source"
    copy_list / "$lists/documents" "$mountpoint/documents"
    say "$(find "$mountpoint" -type f | wc -l) files, $(du -sh --apparent-size "$mountpoint" | cut -f1)"
}

list_source() {
    cd "$project"
    find . \( -name target -o -name .git \) -prune -o -type f -print0
}

# At most so many, and none of them large: this is a demonstration.
list_documents() {
    cd /
    find usr/share/doc usr/share/common-licenses -type f -size -1024k -readable -print0 2>/dev/null |
        sort -z | sed -zn "1,${doc_files}p"
}

# copy_list FROM LIST TO: what LIST names (NUL-separated) below FROM.
copy_list() {
    mkdir -p "$3"
    tar -C "$1" --null --verbatim-files-from --files-from="$2" -cf - | tar -C "$3" --no-same-owner -xf -
}

read_back() {
    step "Reading them back through a new mount, so that every byte comes from the disk"
    run "$ENVELOPEFS" umount "$mountpoint"
    run "$ENVELOPEFS" mount "$volume" "$mountpoint"
    check_mounted "$mountpoint"
    compare_list "$project" "$lists/source" "$mountpoint/source"
    compare_list / "$lists/documents" "$mountpoint/documents"
    say "every file is the same"
}

compare_list() {
    local file
    while IFS= read -r -d '' file; do
        cmp "$1/$file" "$3/$file" || die "$3/$file is not what was copied in"
    done <"$2"
}

show_ciphertext() {
    step "What lies on the disk: names, contents and links are sealed"
    run ls -l "$volume"
    local file
    file=$(find "$volume" -path "$volume/.envelopefs" -prune -o -type f -size +0 -print | sort | sed -n 1p)
    say
    say "The first bytes of one of its files:"
    od -A d -t x1z -N 96 "$file"
    say
    say "Its header, which needs no key to be read:"
    run "$ENVELOPEFS" inspect "$file"
}

show_status() {
    step "The mount"
    run "$ENVELOPEFS" status "$mountpoint"
}

# Shows a command and runs it.
run() {
    say "\$ ${*/#"$ENVELOPEFS"/envelopefs}"
    "$@"
}

show_next() {
    cat <<END

==> Done. $mountpoint is an ordinary folder now, and everything in it is encrypted in $volume.
Next:
    export PATH="$(dirname "$ENVELOPEFS"):\$PATH"
    echo "a secret" > $mountpoint/note.txt
    ls -l $volume  # the same folder, as it lies on the disk
    envelopefs status $mountpoint
    envelopefs umount $mountpoint
    envelopefs check $volume  # is every file whole?
    envelopefs mount $volume $mountpoint
END
}

lists=$(mktemp -d)
trap 'rm -rf "$lists"' EXIT
install_and_build
make_volume
mount_volume
copy_files_in
read_back
show_ciphertext
show_status
show_next
