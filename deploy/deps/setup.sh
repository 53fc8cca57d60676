#!/bin/sh
# Installs the Debian packages that are missing, and nothing when none is.
#
#   setup.sh build|test|windows|wine|msi|lint...
set -eu

clang=${CLANG_VERSION:-$(. /etc/os-release 2>/dev/null && case "$ID$VERSION_ID" in debian13*) echo 19 ;; ubuntu24*) echo 18 ;; *) echo 14 ;; esac)}

want=
for group in "$@"; do
    case $group in
    build) want="$want build-essential pkg-config libuv1-dev liblmdb-dev libprotobuf-c-dev protobuf-c-compiler libzstd-dev
        libexpat1-dev libxxhash-dev libcurl4-openssl-dev dpkg-dev zstd bzip2 xz-utils" ;;
    test) want="$want libcmocka-dev clang-$clang libclang-rt-$clang-dev python3 curl gcc-mingw-w64-x86-64-win32 strace lmdb-utils
        mandoc" ;;
    windows) want="$want gcc-mingw-w64-x86-64-win32 protobuf-c-compiler dpkg-dev bzip2 xz-utils" ;;
    wine) want="$want gcc-mingw-w64-x86-64-win32 wine64" ;;
    msi) want="$want wixl msitools osslsigncode" ;;
    lint) want="$want clang-format-$clang clang-tidy-$clang cppcheck" ;;
    *)
        echo "setup: unknown group \"$group\"; one of build, test, windows, wine, msi, lint" >&2
        exit 2
        ;;
    esac
done

missing=
for package in $want; do
    case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || :) in
    installed) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    root=
elif command -v sudo >/dev/null; then
    root=sudo
else
    echo "setup: neither root nor sudo; as root run: apt-get install --no-install-recommends$missing" >&2
    exit 1
fi

echo "setup: installing$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() { $root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@" >>"$log" 2>&1; }
apt update || echo "setup: apt-get update had errors, trying with the lists as they are" >&2
if ! apt install -y --no-install-recommends $missing; then
    tail -n 20 "$log" >&2
    echo "setup: could not install$missing" >&2
    exit 1
fi
