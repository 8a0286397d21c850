#!/usr/bin/env bash
# Installs the Debian package in a fresh Debian 12, uses it there as an administrator does, and purges it. As root.
#
#   scripts/package-test.sh FILE.deb
#
# The fresh system comes from the mirror that this machine has in its own sources. At the end it is booted, with systemd as its
# first process, in namespaces of its own.

# Scripts in single quotes are for the shell of the fresh system.
# shellcheck disable=SC2016
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/systemd-test.sh
. "$(dirname "$0")/systemd-test.sh"

# A bare system below $root, with what the package depends on.
make_root() {
    local mirror
    mirror=$(apt-get indextargets 'Created-By: Packages' 'Codename: bookworm' 'Component: main' --format '$(REPO_URI)' | head -n 1)
    [ -n "$mirror" ] || die "no source of Debian 12 (bookworm) in /etc/apt"
    root=$work/root
    debootstrap --variant=minbase bookworm "$root" "$mirror" >"$work/debootstrap.log" 2>&1 || {
        tail "$work/debootstrap.log" >&2
        die "debootstrap failed"
    }
    cp "$deb" "$root/root"
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    # How this machine reaches the mirror is how the new one does.
    apt-config dump --format '%F "%v";%n' 'Acquire::http::Proxy' 'Acquire::https::Proxy' >"$root/etc/apt/apt.conf.d/proxy"
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
}

# inside SCRIPT [--net]: runs it in the root, in namespaces of its own, which take every mount and process of it along. With
# --net it is alone on its network, where no port is taken.
inside() {
    # shellcheck disable=SC2086
    unshare ${2:-} --mount --propagation private --pid --fork --kill-child bash -euc '
        [ -z "$3" ] || ip link set lo up
        mount -t proc proc "$1/proc"
        mount -t tmpfs tmpfs "$1/dev"
        for device in null zero urandom random tty fuse; do
            touch "$1/dev/$device"
            mount --bind "/dev/$device" "$1/dev/$device"
        done
        exec env --ignore-environment PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
            DEBIAN_FRONTEND=noninteractive chroot "$1" bash -euo pipefail -c "$2"
    ' - "$root" "$1" "${2:-}" </dev/null
}

# told SECTION: the commands below a heading of docs/INSTALL.md, but for those of which it says that they are not run.
told() {
    local commands
    commands=$(awk -v heading="## $1" '$0 == heading { here = 1; next } /^## / { here = 0 }
        here && /^<!-- not run:/ { skip = 1 }
        here && /^```/ { block = !block && $0 == "```sh" && !skip; skip = 0; next } here && block' "$project/docs/INSTALL.md")
    [ -n "$commands" ] || die "docs/INSTALL.md has no commands below '$1'"
    inside "cd /root; $commands" >"$work/said" 2>&1 || { cat "$work/said" >&2 && return 1; }
}

# Every file there is, but for what dpkg, apt and ldconfig keep of their own work.
list_files() {
    (cd "$root" && find . -xdev \( -path ./var/lib/dpkg -o -path ./var/cache -o -path ./var/lib/apt -o -path ./var/log \
        -o -path ./tmp -o -path ./dev -o -path ./proc \) -prune -o -print | sort)
    grep envelope "$root/etc/passwd" "$root/etc/group" "$root/etc/shadow" || true
}

# Installed and purged, it has left nothing.
test_purge_unused() {
    inside 'apt-get update -qq
        apt-get install -qq -y --no-install-recommends fuse3 systemd-standalone-sysusers systemd-standalone-tmpfiles \
            mount >/dev/null
        # The first run makes these.
        touch /etc/.pwd.lock /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /etc/subuid- /etc/subgid-'
    list_files >"$work/before"
    told "The package"
    list_files >"$work/installed"
    grep -qx ./usr/sbin/mount.envelopefs "$work/installed" || die "the package installed no mount.envelopefs"
    told Going
    list_files >"$work/after"
    diff "$work/before" "$work/after" || die "the purge left that behind"
}

# What an administrator does: mount(8), umount(8), fstab.
test_mounts() {
    told "The package"
    told "By hand"
    grep -qE "/srv/secrets +/srv/secrets.enc +fuse.envelopefs" "$work/said" || die "findmnt: $(cat "$work/said")"
    told "In /etc/fstab"
    grep -qx "meet me at noon" "$work/said" || die "fstab: $(cat "$work/said")"
    inside '
        ls -l /etc/envelopefs/keys | grep -q "^-rw-------"
        [ -z "$(ls /srv/secrets)" ]
        if grep -r "meet me" /srv/secrets.enc; then exit 1; fi
    '
}

# The daemon has what its unit lets it have, and serves every user with that.
test_powers_of_the_unit() {
    local powers
    powers=$(sed -n 's/^CapabilityBoundingSet=\(.*\)/\L\1/p' "$project/packaging/systemd/envelopefs@.service" |
        sed 's/cap_/+/g; s/ /,/g')
    inside 'powers=-all,'"$powers"'
        setpriv --no-new-privs --bounding-set="$powers" \
            envelopefs mount --foreground -o allow_other -- /srv/secrets.enc /srv/secrets &
        for tries in $(seq 300); do ! findmnt --mountpoint /srv/secrets >/dev/null || break; sleep 0.1; done
        chmod 644 /srv/secrets/note
        as_nobody="setpriv --reuid 65534 --regid 65534 --clear-groups"
        $as_nobody cat /srv/secrets/note >/dev/null
        install -o 65534 -g 65534 -m 600 /dev/null /srv/secrets/theirs
        $as_nobody sh -c "echo mine >/srv/secrets/theirs"
        cat /srv/secrets/theirs >/dev/null
        install -m 4755 /bin/true /srv/secrets/tool
        [ -u /srv/secrets/tool ]
        umount /srv/secrets
        wait
        envelopefs check /srv/secrets.enc
    ' >/dev/null
}

# The service as its user, in its folder.
test_key_service() {
    told "The key service"
    inside '
        cd /
        as_service="setpriv --reuid envelopekms --regid envelopekms --clear-groups --no-new-privs --bounding-set=-all"
        export HOME=/var/lib/envelopekms
        $as_service envelopekms serve /var/lib/envelopekms --json >/tmp/told &
        for tries in $(seq 300); do ! grep -qx "}" /tmp/told || break; sleep 0.1; done
        $as_service envelopekms key create --dir /var/lib/envelopekms
        $as_service envelopekms status /var/lib/envelopekms --check
        kill %1
        wait
    ' --net >/dev/null
}

# Whose code is in the programs has their notices in the package.
test_notices() {
    local docs=$root/usr/share/doc/envelopefs
    gunzip -c "$docs/notices.gz" >"$work/notices"
    jq -r '.components[] | "\(.name) \(.version)"' "$docs/envelopefs.cdx.json" >"$work/crates"
    [ "$(wc -l <"$work/crates")" -gt 200 ] || die "the list has $(wc -l <"$work/crates") crates"
    local crate
    while read -r crate; do
        # In the list at its top, and above a text.
        grep -qF "  $crate: " "$work/notices" || die "notices.gz does not list $crate"
        grep -qF "$crate (" "$work/notices" || die "notices.gz has no text for $crate"
    done <"$work/crates"
}

test_completions() {
    bash -n "$root/usr/share/bash-completion/completions/"envelope*
    zsh -n "$root/usr/share/zsh/vendor-completions/"_envelope*
    fish --no-execute "$root/usr/share/fish/vendor_completions.d/"envelope*
}

# What the user made outlives the package, and opens with the next one.
test_purge_used() {
    told Going
    [ ! -e "$root/usr/bin/envelopefs" ] || die "the program is still there"
    inside 'ls /srv/secrets.enc/.envelopefs/volume.json /etc/envelopefs/keys/*.json /var/lib/envelopekms/store.db >/dev/null'
    told "The package"
    inside 'mount /srv/secrets && grep -qx "meet me at noon" /srv/secrets/note && umount /srv/secrets'
}

main() {
    [ $# -eq 1 ] || { usage && exit 2; }
    deb=$(realpath "$1")
    am_root || die "as root, please"
    need_fuse
    need_packages debootstrap ip:iproute2 jq zsh fish
    make_work_folder
    local part
    make_root
    for part in test_purge_unused test_mounts test_powers_of_the_unit test_key_service test_notices test_completions boot \
        test_service_of_a_mount test_credential_and_lock test_order_of_units test_service_of_keys test_switched_off test_purge_used; do
        step "$part"
        "$part"
    done
    say "the package is as it should be"
}

main "$@"
