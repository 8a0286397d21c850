#!/usr/bin/env bash
# Makes the Debian package, of the commit that is checked out: both programs, mount.envelopefs, man pages, completions,
# systemd units, a list of the crates that are linked in (CycloneDX), and the texts of their licences. Installs what that takes first.
#
#   scripts/package.sh [--output FOLDER]   builds anew, with no path of this machine in it; default folder: target/debian
#   scripts/package.sh --reuse …           packages what `cargo build --release` makes in target/: quick, for tests
#   scripts/package.sh --check             builds twice, in folders of different names, and compares every byte
#
# What lintian finds ends it. DEBFULLNAME and DEBEMAIL name the maintainer. A build takes some minutes, --check twice that.

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

# Both packages of --check are of this one, whatever is committed meanwhile.
commit=$(git -C "$project" rev-parse HEAD)
readonly commit

# Times in the package are those of the commit. Only what needs it is told: cargo would build much anew.
readonly epoch=${SOURCE_DATE_EPOCH:-$(git -C "$project" log -1 --format=%ct "$commit")}
unset SOURCE_DATE_EPOCH
# What makes man pages and completions is no part of the package: built once, for every source.
readonly maker_target=${CARGO_TARGET_DIR:-$project/target}

need_packager() {
    need_rust
    need_packages git lintian python3 dpkg-shlibdeps:dpkg-dev
    need_cargo_tool cargo-deb 3.8.0
}

# make_package SOURCE TARGET OUTPUT: packages the programs that lie in TARGET/release.
make_package() {
    local source=$1 target=$2 output=$3 stage=$1/target/package
    mkdir -p "$stage" "$output"
    (
        cd "$source"
        CARGO_TARGET_DIR=$maker_target cargo build --quiet --locked --example manuals
        export SOURCE_DATE_EPOCH=$epoch
        "$maker_target/debug/examples/manuals" "$stage"
        python3 scripts/crates.py bill >"$stage/envelopefs.cdx.json"
        python3 scripts/crates.py notices | gzip -9n >"$stage/notices.gz"
        CARGO_TARGET_DIR=$target cargo deb --quiet --no-build --locked --strip --output "$output" \
            ${DEBEMAIL:+--maintainer "${DEBFULLNAME:-envelopefs} <$DEBEMAIL>"}
    )
    lintian --fail-on error,warning "$output"/envelopefs_*.deb
}

# build SOURCE TARGET: the programs, the same in whatever folder they are built.
build() {
    local source=$1 target=$2 homes
    homes="$source=/envelopefs $target=/target ${CARGO_HOME:-$HOME/.cargo}=/cargo $(rustc --print sysroot)=/rust"
    (
        cd "$source"
        # shellcheck disable=SC2086
        RUSTFLAGS=$(printf -- '--remap-path-prefix=%s ' $homes) CFLAGS=$(printf -- '-ffile-prefix-map=%s ' $homes) \
            CARGO_TARGET_DIR=$target cargo build --release --locked
    )
}

# The committed sources in a folder of their own, built and packaged there.
build_copy() {
    local source=$1
    mkdir -p "$source"
    git -C "$project" archive "$commit" | tar -x -C "$source"
    build "$source" "$source/target/build"
    make_package "$source" "$source/target/build" "$source/out"
}

check() {
    make_work_folder
    build_copy "$work/one"
    build_copy "$work/another-folder"
    # The log of the script shows what it was.
    sha256sum "$work"/*/out/*.deb
    cmp "$work"/*/out/*.deb || die "two builds, two packages"
    say "the same bytes"
}

main() {
    local output=$project/target/debian how=anew
    while [ $# -gt 0 ]; do
        case $1 in
            --output) output=$(realpath -m "${2:?--output needs a folder}") && shift ;;
            --reuse) how=reuse ;;
            --check) how=check ;;
            *) usage && exit 2 ;;
        esac
        shift
    done
    need_packager
    local target=$project/target/package/build
    case $how in
        check)
            check
            return
            ;;
        reuse)
            unset ENVELOPEFS
            build_release
            target=${CARGO_TARGET_DIR:-$project/target}
            ;;
        anew) build "$project" "$target" ;;
    esac
    rm -f "$output"/envelopefs_*.deb
    make_package "$project" "$target" "$output"
    say "made $(ls "$output"/envelopefs_*.deb)"
}

main "$@"
