# shellcheck shell=bash
# Shared by the scripts: messages, installing what is missing, mounts, a work folder that leaves
# nothing behind. Sourced, never run.

set -Eeuo pipefail
trap 'warn "line $LINENO: failed: $BASH_COMMAND"' ERR

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly project

# Where cargo tools go that are no part of the project; kept between runs.
readonly tools=${ENVELOPEFS_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/envelopefs/tools}
# A user's PATH often lacks the folders where servers and mkfs live. The tools' own Python comes last: it must not stand in
# for the machine's.
export PATH=$tools/bin:$PATH:/usr/sbin:/sbin:$tools/python/bin

# --- messages -----------------------------------------------------------------------------------

say() { printf '%s\n' "$*"; }
step() { printf '\n==> %s\n' "$*"; }
warn() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

die() {
    warn "$*"
    exit 1
}

# The number that an option is given: number OPTION VALUE.
number() {
    [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || die "$1 needs a number"
    printf '%s\n' "$2"
}

# Prints the comment at the top of the calling script: its usage.
usage() { sed -n '2,/^$/{ s/^# \{0,1\}//p }' "$0"; }

# Every script answers --help by it, whatever else it is asked for.
for argument in "$@"; do
    case $argument in
        -h | --help)
            usage
            exit
            ;;
    esac
done
unset argument

# --- what the machine must have -------------------------------------------------------------------

have() { command -v "$1" >/dev/null 2>&1; }

am_root() { [ "$(id -u)" -eq 0 ]; }

# Runs a command as root, with this script's PATH and work folder.
as_root() {
    if am_root; then
        "$@"
    elif have sudo; then
        sudo env PATH="$PATH" HOME="$HOME" TMPDIR="${TMPDIR:-/tmp}" "$@"
    else
        die "this needs root, and there is no sudo: run it as root, or install sudo"
    fi
}

# need_packages COMMAND[:PACKAGE]…: installs the Debian packages whose command is missing.
need_packages() {
    local want missing=()
    for want in "$@"; do
        have "${want%%:*}" || missing+=("${want#*:}")
    done
    [ ${#missing[@]} -eq 0 ] || install_packages "${missing[@]}"
}

install_packages() {
    have apt-get || die "missing: $*. This is no Debian: install them, then start again"
    say "installing: $*"
    as_root apt-get update -qq
    no_new_services as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends "$@" >/dev/null
}

# Runs an installation; packages that bring a server (nginx) do not start it meanwhile.
no_new_services() {
    local policy=/usr/sbin/policy-rc.d
    if [ -e "$policy" ]; then
        "$@"
        return
    fi
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
    local status=0
    "$@" || status=$?
    as_root rm -f "$policy"
    return "$status"
}

need_rust() {
    have cargo || die "no Rust toolchain: install one from https://rustup.rs, then start again"
    need_packages cc:gcc
}

# need_cargo_tool NAME VERSION PACKAGE…: builds a tool from crates.io where this version is
# missing; the Debian packages are what the build needs.
need_cargo_tool() {
    local name=$1 version=$2
    shift 2
    [ "$("$name" --version 2>/dev/null)" = "$name $version" ] && return
    [ $# -eq 0 ] || install_packages "$@"
    say "installing: $name $version"
    cargo install --quiet --locked --root "$tools" "$name@$version"
}

# need_pypi NAME VERSION: installs a package of PyPI where this version is missing, into a virtual environment of the tools.
need_pypi() {
    local name=$1 version=$2 python=$tools/python/bin/python3
    [ "$("$python" -c "from importlib.metadata import version; print(version('${name%%[*}'))" 2>/dev/null)" = "$version" ] && return
    if [ ! -x "$python" ]; then
        need_packages python3
        python3 -c 'import ensurepip' 2>/dev/null || install_packages python3-venv
        python3 -m venv "$tools/python"
    fi
    say "installing: $name $version"
    "$python" -m pip install --quiet --disable-pip-version-check "$name==$version"
}

# need_npm NAME VERSION: installs a package of npm where this version is missing, below the tools.
need_npm() {
    local name=$1 version=$2 folder=$tools/node
    [ "$(sed -n 's/^ *"version": "\(.*\)",\{0,1\}$/\1/p' "$folder/node_modules/$name/package.json" 2>/dev/null)" = "$version" ] && return
    need_packages node:nodejs npm
    say "installing: $name $version"
    mkdir -p "$folder"
    npm install --silent --no-audit --no-fund --no-save --prefix "$folder" "$name@$version" >/dev/null
}

need_fuse() {
    need_packages fusermount3:fuse3
    [ -e /dev/fuse ] || as_root modprobe fuse 2>/dev/null || true
    [ -e /dev/fuse ] || die "FUSE is missing: there is no /dev/fuse (in a container: --device /dev/fuse --cap-add SYS_ADMIN)"
}

# For scripts that mount as the user who runs them.
need_own_fuse() {
    need_fuse
    [ -w /dev/fuse ] || die "FUSE is not open to $(id -un): /dev/fuse has mode $(stat -c %a /dev/fuse), where udev makes it 666"
}

# --- the program ----------------------------------------------------------------------------------

# Builds the programs once, as they are shipped. ENVELOPEFS names another one to use instead, with envelopekms beside it.
build_release() {
    if [ -z "${ENVELOPEFS:-}" ]; then
        need_rust
        (cd "$project" && cargo build --release --locked)
        ENVELOPEFS=${CARGO_TARGET_DIR:-$project/target}/release/envelopefs
    fi
    ENVELOPEKMS=${ENVELOPEKMS:-$(dirname "$ENVELOPEFS")/envelopekms}
    export ENVELOPEFS ENVELOPEKMS
}

envelopefs() { "$ENVELOPEFS" "$@"; }

envelopekms() { "$ENVELOPEKMS" "$@"; }

# wait_for WHAT COMMAND…: until the command succeeds, for half a minute at most.
wait_for() {
    local what=$1 tries
    shift
    for tries in {1..300}; do
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    warn "$what: not there after $tries tries"
    return 1
}

# start_kms FOLDER: makes a key service, serves it on a free port, and exports what clients of it need.
start_kms() {
    local folder=$1 made=$work/kms-made.json told=$work/kms-told.json
    envelopekms init "$folder" --root-key "file://$work/kms-root.json" --json >"$made"
    "$ENVELOPEKMS" serve "$folder" --listen 127.0.0.1:0 --json >"$told" 2>"$work/kms.log" &
    kms_pid=$!
    wait_for "the key service" grep -qx "}" "$told" || { cat "$work/kms.log" >&2; exit 1; }
    ENVELOPEKMS_DIR=$folder
    ENVELOPEKMS_ENDPOINT=$(jq -r .address "$told")
    ENVELOPEKMS_CA=$(jq -r .ca "$told")
    AWS_REGION=$(jq -r .region "$told")
    AWS_ACCESS_KEY_ID=$(jq -r .access_key.id "$made")
    AWS_SECRET_ACCESS_KEY=$(jq -r .access_key.secret "$made")
    ALIBABA_CLOUD_ACCESS_KEY_ID=$AWS_ACCESS_KEY_ID
    ALIBABA_CLOUD_ACCESS_KEY_SECRET=$AWS_SECRET_ACCESS_KEY
    AWS_ENDPOINT_URL_KMS=https://$ENVELOPEKMS_ENDPOINT
    AWS_CA_BUNDLE=$ENVELOPEKMS_CA
    export ENVELOPEKMS_DIR ENVELOPEKMS_ENDPOINT ENVELOPEKMS_CA AWS_REGION AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY \
        ALIBABA_CLOUD_ACCESS_KEY_ID ALIBABA_CLOUD_ACCESS_KEY_SECRET AWS_ENDPOINT_URL_KMS AWS_CA_BUNDLE
    export AWS_DEFAULT_REGION=$AWS_REGION
}

# Ends it as a service manager does: it has to end well.
stop_kms() {
    kill "$kms_pid"
    wait "$kms_pid" || die "the key service ended with code $?"
}

# A program that claims to have mounted and has not would have the plain folder tested.
check_mounted() { is_mounted "$1" || die "nothing is mounted on $1"; }

# --- a work folder that leaves nothing behind -------------------------------------------------------

# Makes $work, the place of everything temporary, and sees to it that no mount, process or file
# of it outlives the script.
make_work_folder() {
    need_packages pgrep:procps
    work=$(mktemp -d "${TMPDIR:-/tmp}/efs.XXXXXX")
    chmod 755 "$work"
    export TMPDIR=$work
    trap remove_work_folder EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

remove_work_folder() {
    local status=$?
    trap '' INT TERM HUP
    unmount_below "$work"
    end_processes_of "$work"
    if am_root; then rm -rf "$work"; else rm -rf "$work" 2>/dev/null || as_root rm -rf "$work"; fi
    exit "$status"
}

mounts_below() { findmnt --raw --noheadings --output TARGET | grep -F "$1/" || true; }

is_mounted() { findmnt --mountpoint "$1" >/dev/null; }

# Unmounts everything below a folder, the innermost first.
unmount_below() {
    local point
    mounts_below "$1" | tac | while read -r point; do
        unmount "$point"
    done
}

# A mount that is in use (by a daemon that is about to end, for one) gets five seconds.
unmount() {
    local tries
    for tries in {1..50}; do
        fusermount3 -u "$1" 2>/dev/null && return
        as_root umount "$1" 2>/dev/null && return
        sleep 0.1
    done
    warn "still in use after $tries tries: $1"
    as_root umount --lazy "$1" || true
}

# A daemon ends with its mount; one that has not after five seconds is ended. The folder's name is
# this run's own, so whatever has it in its command line was started by this run.
end_processes_of() {
    local tries pids
    for tries in {1..50}; do
        pids=$(pgrep -f "$1/" || true)
        [ -n "$pids" ] || return 0
        sleep 0.1
    done
    warn "still running after $tries tries: $(pgrep -af "$1/" | tr '\n' ' ')"
    # shellcheck disable=SC2086
    as_root kill -9 $pids 2>/dev/null || true
}
