#!/usr/bin/env bash
# Has systemd read every unit and drop-in of the package, and holds how much each service may do (systemd-analyze security)
# to a bound. Starts nothing: it takes no systemd that runs.
#
#   scripts/units.sh

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

# lay_out: the units as they would lie in /etc/systemd/system, each drop-in beside the unit that it is for. The programs are
# stood in for, as verify looks whether they can be run.
lay_out() {
    local examples=$project/packaging/systemd/examples
    cp "$project"/packaging/systemd/*.* "$examples"/*.mount "$examples"/*.automount "$units"
    cp "$units/envelopefs@.service" "$units/envelopefs@secrets.service"
    sed -i "s|/usr/bin/envelope[a-z]*|/bin/true|" "$units"/*.service
    drop_in envelopefs@secrets.service credential-passphrase.conf credential-pin.conf
    drop_in envelopekms.service envelopekms-pkcs11.conf
    local consumer
    for consumer in nginx-after-mount postgresql-after-mount consumer-of-a-service; do
        printf '[Service]\nExecStart=/bin/true\n' >"$units/$consumer.service"
        drop_in "$consumer.service" "$consumer.conf"
    done
}

# drop_in UNIT EXAMPLE…
drop_in() {
    local unit=$1 example
    shift
    mkdir -p "$units/$unit.d"
    for example in "$@"; do
        sed "s|/usr/bin/envelope[a-z]*|/bin/true|" "$project/packaging/systemd/examples/$example" >"$units/$unit.d/$example"
    done
}

verify() {
    local said
    rm "$units/envelopefs@.service"
    said=$(systemd-analyze verify --man=no --recursive-errors=no "$units"/*.{service,socket,mount,automount} 2>&1) || die "systemd-analyze verify: $said"
    [ -z "$said" ] || die "systemd-analyze verify: $said"
    say "verify: nothing to say"
}

# bound UNIT TENTHS: its exposure is at most that.
bound() {
    systemd-analyze security --offline=true --no-pager --threshold="$2" "$project/packaging/systemd/$1" | tail -n 1
    [ "${PIPESTATUS[0]}" -eq 0 ] || die "$1 may do more than it did"
}

main() {
    need_packages systemd-analyze:systemd
    make_work_folder
    units=$work/units
    mkdir "$units"
    lay_out
    verify
    bound envelopekms.service 15
    # It mounts for the whole machine: the unit's comments say what that takes.
    bound envelopefs@.service 50
}

main "$@"
