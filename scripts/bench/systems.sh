# shellcheck shell=bash
# The systems that the benchmarks compare: how each is installed, made, mounted and watched. Sourced, never run.

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

readonly known_peers=(gocryptfs passthrough_hp securefs cryfs encfs tmpfs envelopefs-dev envelopefs-io_uring)

# --- what there is to compare with ------------------------------------------------------------------

# need_systems SYSTEM…
need_systems() {
    local system
    for system in "$@"; do
        case $system in
            envelopefs*) build_release ;;
            passthrough_hp) need_passthrough_hp ;;
            tmpfs) ;;
            *) need_packages "$system" ;;
        esac
    done
}

check_peers() {
    local peer
    for peer in "$@"; do
        [[ " ${known_peers[*]} " == *" $peer "* ]] || die "no peer is called '$peer': there are ${known_peers[*]}"
    done
}

# libfuse's example that passes all through to the folder below, from the source package of the libfuse that is installed.
need_passthrough_hp() {
    need_packages g++ pkg-config dpkg-source:dpkg-dev
    pkg-config --exists fuse3 || install_packages libfuse3-dev
    local version folder
    version=$(dpkg-query --show --showformat '${Version}' libfuse3-dev)
    folder=$tools/fuse3-$version
    passthrough_hp=$folder/passthrough_hp
    [ ! -x "$passthrough_hp" ] || return 0
    say "installing: passthrough_hp of fuse3 $version"
    rm -rf "$folder"
    mkdir -p "$folder/apt/lists/partial" "$folder/apt/cache/archives/partial"
    apt_source "$folder" "fuse3=$version"
    # What libfuse's own build finds out about the machine and 3.14 forgets to tell its examples: without it, no times can be set.
    # shellcheck disable=SC2046
    g++ -O2 -DNDEBUG -DHAVE_UTIMENSAT -DHAVE_POSIX_FALLOCATE -DHAVE_SETXATTR -o "$folder/passthrough_hp.new" "$folder"/fuse3-*/example/passthrough_hp.cc $(pkg-config --cflags --libs fuse3)
    mv "$folder/passthrough_hp.new" "$passthrough_hp"
    rm -rf "$folder/apt"
}

# apt_source FOLDER PACKAGE: unpacks a source package there. The mirrors are those of the machine; its own lists stay as
# they are, as few machines ask for sources.
apt_source() {
    local folder=$1
    apt-get indextargets --format "deb-src \$(REPO_URI) \$(CODENAME) main" 'Created-By: Packages' 'Origin: Debian' |
        sort -u >"$folder/apt/sources.list"
    local own=(-o "Dir::Etc::SourceList=$folder/apt/sources.list" -o Dir::Etc::SourceParts=-
        -o "Dir::State::Lists=$folder/apt/lists" -o "Dir::Cache=$folder/apt/cache" -o "APT::Sandbox::User=$(id -un)")
    apt-get "${own[@]}" update -qq
    (cd "$folder" && apt-get "${own[@]}" source -qq "$2" >/dev/null)
}

version_of() {
    case $1 in
        envelopefs)
            local way=/dev/fuse
            ! grep -qs Y /sys/module/fuse/parameters/enable_uring || way=io_uring
            say "$(envelopefs --version) (requests by $way)"
            ;;
        envelopefs-*) say "the same by --transport ${1#*-}" ;;
        passthrough_hp) say "libfuse $(pkg-config --modversion fuse3) passthrough_hp" ;;
        tmpfs) say "tmpfs itself" ;;
        *) say "$1 $(dpkg-query --show --showformat '${Version}' "$1")" ;;
    esac
}

# --- volumes ----------------------------------------------------------------------------------------

# A tmpfs of that many MiB and files, so that no disk is measured.
make_store() {
    store=$work/store
    mkdir "$store"
    as_root mount -t tmpfs -o "size=$1M,nr_inodes=$2,mode=755,uid=$(id -u),gid=$(id -g)" none "$store"
}

make_volumes() {
    local system
    printf 'bench\n' >"$work/passphrase"
    for system in "$@"; do
        mkdir -p "$store/$system" "$work/mounts/$system"
        case $system in
            envelopefs*) HOME=$work envelopefs init --key "file://$work/keyring.json" "$store/$system" >/dev/null ;;
            # Cheap key derivations: they are no part of what is measured.
            gocryptfs) gocryptfs -q -init -scryptn 10 -passfile "$work/passphrase" "$store/$system" ;;
            securefs) securefs create --pass bench --rounds 1 "$store/$system" >/dev/null 2>&1 ;;
            *) ;;
        esac
    done
}

mount_envelopefs() { HOME=$work envelopefs mount "$1" "$2"; }
mount_envelopefs-dev() { HOME=$work envelopefs mount --transport dev "$1" "$2"; }
mount_envelopefs-io_uring() { HOME=$work envelopefs mount --transport io_uring "$1" "$2"; }
mount_gocryptfs() { gocryptfs -q -nosyslog -passfile "$work/passphrase" "$1" "$2" >/dev/null; }
mount_passthrough_hp() { as_root "$passthrough_hp" "$1" "$2"; }
mount_securefs() { securefs mount --background --pass bench "$1" "$2" >/dev/null 2>&1; }
mount_cryfs() { CRYFS_FRONTEND=noninteractive HOME=$work cryfs "$1" "$2" <"$work/passphrase" >/dev/null 2>&1; }
mount_encfs() { encfs --standard --stdinpass "$1" "$2" <"$work/passphrase" >/dev/null; }
mount_tmpfs() { as_root mount --bind "$1" "$2"; }

# remount SYSTEM: a new mount of it in $mount, of which nothing is in the kernel's cache.
remount() {
    mount=$work/mounts/$1
    if is_mounted "$mount"; then
        leave "$1"
    fi
    "mount_$1" "$store/$1" "$mount"
    # Some put themselves into the background before they mount.
    wait_for "a mount of $1" is_mounted "$mount" || die "$1 has not mounted"
    daemon=
    [ "$1" = tmpfs ] || daemon=$(daemon_of "$1")
}

# The process that serves a mount: its command line ends in the mount point.
daemon_of() {
    local pids
    pids=$(pgrep -f -- " $work/mounts/$1( |\$)") || die "no process serves the mount of $1"
    # Beside who serves a mount of ours stand its keeper and its scout.
    pids=$(for pid in $pids; do grep -qxE 'envelopefs-(keep|look)' "/proc/$pid/comm" || echo "$pid"; done)
    [ "$(wc -l <<<"$pids")" -eq 1 ] || die "more than one process serves the mount of $1: $pids"
    printf '%s\n' "$pids"
}

# Notes the most memory that the daemon had, and unmounts.
leave() {
    if [ -n "$daemon" ]; then
        note memory "$1" "$(awk '/^VmHWM:/ { print $2 / 1024 }' "/proc/$daemon/status")" - -
    fi
    unmount "$work/mounts/$1"
    while [ -n "$daemon" ] && [ -e "/proc/$daemon" ]; do
        sleep 0.02
    done
}

# --- what is watched --------------------------------------------------------------------------------

# Seconds of processor time that all threads of the daemon have taken.
cpu_seconds() {
    [ -n "$daemon" ] || { say 0; return; }
    awk -v ticks="$(getconf CLK_TCK)" '{ print ($14 + $15) / ticks }' "/proc/$daemon/stat"
}

# Calls to the key's provider that make, wrap or unwrap a key, since the mount.
provider_calls() {
    [ "$1" = envelopefs ] || { say 0; return; }
    HOME=$work envelopefs status --json "$mount" | jq .provider_calls
}

# note LINE SYSTEM VALUE CPU CALLS
note() { printf '%s\t%s\t%s\t%s\t%s\n' "$@" >>"$work/measured"; }

difference() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.6f", b - a }'; }

# What the script is at, for a person who waits.
progress() { [ "${format:-}" = json ] || [ ! -t 2 ] || printf '\r\033[K%s' "$1" >&2; }
