# shellcheck shell=bash
# Under a systemd that runs: the fresh system of package-test.sh, which sources this, is booted in namespaces of its own, with
# systemd as its first process. The kernel's automounts (autofs) are not tried here: systemd has them where there is /dev/autofs.
#
# Sourced, never run: $root, $work and inside() are those of package-test.sh.
# shellcheck disable=SC2016,SC2154

# boot: systemd as the first process of $root, with what its services need.
boot() {
    inside 'apt-get install -qq -y --no-install-recommends systemd-sysv dbus nginx-light openssl
        systemctl disable nginx
        systemctl mask console-getty
        rm -f /etc/nginx/sites-enabled/default' >/dev/null 2>&1
    setsid unshare --mount --propagation private --pid --fork --kill-child --cgroup --uts --ipc --net bash -euc '
        ip link set lo up
        mount --bind "$1" "$1"
        cd "$1"
        mount -t proc proc proc
        mount -t sysfs sysfs sys
        mount -t cgroup2 cgroup2 sys/fs/cgroup
        mount -t tmpfs tmpfs run
        mount -t tmpfs tmpfs dev
        for device in null zero full random urandom tty fuse; do
            touch "dev/$device"
            mount --bind "/dev/$device" "dev/$device"
        done
        mkdir dev/pts dev/shm
        mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
        ln -s pts/ptmx dev/ptmx
        ln -s /proc/self/fd dev/fd
        pivot_root . mnt
        umount --lazy /mnt
        # Credentials are handed to services by mounts that the first process makes.
        mount --make-rshared /
        exec env --ignore-environment container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=journal
    ' - "$root" </dev/null >"$work/boot.log" 2>&1 &
    booted=$!
    local tries
    for tries in $(seq 600); do
        first=$(pgrep --parent "$booted" --exact systemd) && booted_system "systemctl list-units" >/dev/null 2>&1 && break
        [ "$tries" -lt 600 ] || die "systemd does not start: $(cat "$work/boot.log")"
        sleep 0.1
    done
    booted_system 'systemctl is-system-running --wait' >/dev/null || die "not all started: $(booted_system 'systemctl list-units --failed')"
    booted_system 'grep -qx "meet me at noon" /srv/secrets/note' || die "the mount in fstab is not there after booting"
}

# booted_system SCRIPT: runs it in the system that is booted. `until_so COMMAND…` in it waits a minute for what is to come.
booted_system() {
    nsenter --target "$first" --mount --pid --uts --ipc --cgroup --net --root --wd env --ignore-environment \
        PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 bash -euo pipefail -c '
        until_so() {
            local tries
            for tries in $(seq 600); do ! "$@" >/dev/null 2>&1 || return 0; sleep 0.1; done
            echo "not within a minute: $*" >&2
            return 1
        }
        not() { ! "$@"; }
        main_process() { systemctl show --property MainPID --value "$1"; }
        is_another() { [ "$(main_process "$1")" -gt 1 ] && [ "$(main_process "$1")" -ne "$2" ]; }
        '"$1" </dev/null
}

# A mount as a service: in its sandbox as a whole, and back again after its process has died or stands still.
test_service_of_a_mount() {
    booted_system '
        systemctl stop srv-secrets.mount
        cp /usr/share/doc/envelopefs/examples/secrets.conf /etc/envelopefs/mounts/
        systemctl enable --now envelopefs@secrets 2>/dev/null
        findmnt --mountpoint /srv/secrets >/dev/null
        envelopefs status /srv/secrets | grep "sandbox *full" >/dev/null
        not grep . <(journalctl --unit envelopefs@secrets --priority warning --output cat)
        echo kept >/srv/secrets/kept
        sync /srv/secrets/kept

        died=$(main_process envelopefs@secrets)
        kill -KILL "$died"
        until_so is_another envelopefs@secrets "$died"
        until_so grep -qx kept /srv/secrets/kept

        mkdir /etc/systemd/system/envelopefs@secrets.service.d
        printf "[Service]\nWatchdogSec=2\n" >/etc/systemd/system/envelopefs@secrets.service.d/watchdog.conf
        systemctl daemon-reload
        systemctl restart envelopefs@secrets
        stands=$(main_process envelopefs@secrets)
        sleep 5
        [ "$(main_process envelopefs@secrets)" -eq "$stands" ]
        kill -STOP "$stands"
        until_so is_another envelopefs@secrets "$stands"
        until_so grep -qx kept /srv/secrets/kept
        systemctl reload envelopefs@secrets
        systemctl is-active --quiet envelopefs@secrets
        systemctl disable --now envelopefs@secrets 2>/dev/null
        not findmnt --mountpoint /srv/secrets
    '
}

# A passphrase that systemd keeps, and keys that go before the machine sleeps.
test_credential_and_lock() {
    booted_system '
        systemd-creds setup >/dev/null 2>&1
        printf "correct horse" >/root/passphrase
        chmod 600 /root/passphrase
        envelopefs init /srv/phrase.enc --key passphrase: --passphrase-file /root/passphrase >/dev/null
        systemd-creds encrypt --name=passphrase /root/passphrase /etc/envelopefs/secrets.cred 2>/dev/null
        mkdir /etc/systemd/system/envelopefs@phrase.service.d
        cp /usr/share/doc/envelopefs/examples/credential-passphrase.conf /etc/systemd/system/envelopefs@phrase.service.d/
        printf "CIPHERDIR=/srv/phrase.enc\nMOUNTPOINT=/srv/phrase\nOPTIONS=allow_other\n" >/etc/envelopefs/mounts/phrase.conf
        mkdir /srv/phrase
        systemctl daemon-reload
        systemctl start envelopefs@phrase
        echo kept >/srv/phrase/kept
        systemctl start envelopefs-lock
        not cat /srv/phrase/kept 2>/dev/null
        envelopefs unlock /srv/phrase --passphrase-file /root/passphrase >/dev/null
        grep -qx kept /srv/phrase/kept
        systemctl stop envelopefs@phrase
        [ -z "$(ls /srv/phrase)" ]
    '
}

# nginx, whose certificate is in a mount, has systemd make it, and ends before it; so does a mount whose key is in another.
test_order_of_units() {
    booted_system '
        cd /usr/share/doc/envelopefs/examples
        cp srv-secrets.mount srv-ledger.mount /etc/systemd/system/
        mkdir /etc/systemd/system/nginx.service.d
        cp nginx-after-mount.conf /etc/systemd/system/nginx.service.d/
        systemctl daemon-reload
        systemctl start srv-secrets.mount
        openssl req -x509 -newkey rsa:2048 -nodes -keyout /srv/secrets/key.pem -out /srv/secrets/cert.pem -subj /CN=test 2>/dev/null
        printf "%s\n" "server { listen 127.0.0.1:8444 ssl; return 204;" \
            "ssl_certificate /srv/secrets/cert.pem; ssl_certificate_key /srv/secrets/key.pem; }" >/etc/nginx/conf.d/test.conf
        envelopefs init /srv/ledger.enc --key file:///srv/secrets/ledger-key.json >/dev/null
        mkdir /srv/ledger
        systemctl stop srv-secrets.mount
        not findmnt --mountpoint /srv/secrets

        systemctl start nginx srv-ledger.mount
        systemctl is-active --quiet srv-secrets.mount
        openssl s_client -connect 127.0.0.1:8444 </dev/null 2>/dev/null | grep "subject=CN = test" >/dev/null
        systemctl stop srv-secrets.mount
        not systemctl is-active --quiet nginx
        not grep "fuse.envelopefs" /proc/self/mountinfo
    '
}

# The port is there before the key service, which comes back after its process has died, and reads its settings anew.
test_service_of_keys() {
    booted_system '
        answers() { openssl s_client -connect 127.0.0.1:8443 </dev/null 2>/dev/null | grep "subject=CN = envelopekms" >/dev/null; }
        systemctl enable --now envelopekms.socket 2>/dev/null
        not systemctl is-active --quiet envelopekms.service
        answers
        systemctl is-active --quiet envelopekms.service
        died=$(main_process envelopekms)
        kill -KILL "$died"
        answers
        until_so is_another envelopekms "$died"
        systemctl reload envelopekms
        answers
        systemctl stop envelopekms.socket envelopekms.service
    '
}

# What was written last is there when the machine is switched on again.
test_switched_off() {
    booted_system '
        systemctl start srv-secrets.mount
        seq 100000 >/srv/secrets/last
        systemctl --no-block poweroff
    '
    local tries
    for tries in $(seq 600); do
        kill -0 "$booted" 2>/dev/null || break
        [ "$tries" -lt 600 ] || die "the system does not switch itself off"
        sleep 0.1
    done
    inside '
        mount -t envelopefs /srv/secrets.enc /srv/secrets
        seq 100000 | cmp - /srv/secrets/last
        envelopefs umount /srv/secrets
        envelopefs check /srv/secrets.enc
    ' >/dev/null
}
