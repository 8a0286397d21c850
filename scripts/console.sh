#!/usr/bin/env bash
# Uses the console of envelopekms in headless Chromium as a person does, in English and in Chinese.
#
#   scripts/console.sh [PICTURES]
#
# Starts a key service of its own. With PICTURES, a folder, it leaves a picture of each page there: on a phone and on a desktop,
# light and dark. Leaves nothing else behind.

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

case ${1:-} in
    -*) die "no option is called '$1': the only argument is a folder" ;;
esac

pictures=
if [ -n "${1:-}" ]; then
    mkdir -p "$1"
    pictures=$(realpath "$1")
fi
readonly pictures

need_browser() {
    need_packages chromium chromedriver:chromium-driver
    [ -n "$(ls -d /usr/share/fonts/opentype/noto/NotoSansCJK* 2>/dev/null)" ] || install_packages fonts-noto-cjk
    need_pypi boto3 1.44.8
    need_pypi cryptography 50.0.2
    need_pypi selenium 4.40.0
}

need_browser
need_packages jq
make_work_folder
build_release
start_kms "$work/kms"
"$tools/python/bin/python3" "$project/scripts/console.py" "$AWS_ENDPOINT_URL_KMS" "$ENVELOPEKMS_CA" ${pictures:+"$pictures"}
stop_kms
