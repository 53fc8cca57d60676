#!/bin/sh
# Builds one source dependency into a prefix of its own (include/ and lib/), once.
#
#   build.sh mbedtls|yyjson|llhttp PREFIX
#
# The source is the .orig tarball of Debian trixie, which fetch.sh brings. MBEDTLS_TARBALL, YYJSON_TARBALL and
# LLHTTP_TARBALL name a local file instead. Two runs at once are safe: the second waits for the first and finds its work done.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
name=$1
prefix=$2
: "${CC:=cc}" "${AR:=ar}"
cflags="-O2 -g -fPIE -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2"

die() {
    echo "deps: $name: $*" >&2
    exit 1
}

case $name in
mbedtls)
    package=mbedtls pinned=mbedtls_3.6.6.orig.tar.bz2
    sha=8fb65fae8dcae5840f793c0a334860a411f884cc537ea290ce1c52bb64ca007a
    tarball=${MBEDTLS_TARBALL:-} later='mbedtls_3.6.[7-9].orig.tar.bz2 mbedtls_3.6.[1-9][0-9].orig.tar.bz2'
    ;;
yyjson)
    package=yyjson pinned=yyjson_0.10.0+ds.orig.tar.xz
    sha=ae6fde69a193e10afab426ef13f113d6903446405f9db9ee98bfb572bd6c961a
    tarball=${YYJSON_TARBALL:-} later=
    ;;
llhttp) # 9.2.1, generated C, as nghttp2 carries it
    package=nghttp2 pinned=nghttp2_1.64.0.orig.tar.gz
    sha=b452dc69a1fcbc9375389b8b154175d8b7b125cdd713fc426774c2b79a1ebd77
    tarball=${LLHTTP_TARBALL:-} later=
    ;;
*)
    die "unknown dependency; one of mbedtls, yyjson, llhttp"
    ;;
esac

mkdir -p "$(dirname "$prefix")"
deps=$(cd "$(dirname "$prefix")" && pwd)
prefix=$deps/$(basename "$prefix")
exec 9>"$deps/.lock"
flock 9
[ ! -e "$prefix/.done" ] || exit 0

if [ -n "$tarball" ]; then
    [ -r "$tarball" ] || die "cannot read $tarball"
    got=$(sha256sum <"$tarball" | cut -d ' ' -f 1)
    [ "$got" = "$sha" ] || die "$tarball: sha256 is $got, expected $sha"
else
    tarball=$(sh "$here/fetch.sh" "$deps/src" trixie "$package" "$pinned" "$sha" "$later") || exit 1
fi

work=$prefix.tmp
rm -rf "$work" "$prefix"
mkdir -p "$work/src" "$work/out/include" "$work/out/lib"
tar -xf "$tarball" -C "$work/src" --strip-components=1
src=$work/src out=$work/out

case $name in
mbedtls)
    # The intrinsics are chosen at run time, but aes.c, aesni.c and gcm.c have to agree on them when compiled.
    case $(uname -m) in x86_64) isa="-mssse3 -maes -mpclmul" ;; *) isa= ;; esac
    unset MAKEFLAGS MFLAGS MAKELEVEL
    make -s -C "$src/library" -j2 GEN_FILES= CC="$CC" AR="$AR" CFLAGS="$cflags $isa -I$here -DMBEDTLS_CONFIG_FILE='\"haechi_mbedtls.h\"'" \
        libmbedcrypto.a libmbedx509.a libmbedtls.a >"$work/log" 2>&1 || { cat "$work/log" >&2; die "build failed"; }
    cp -R "$src/include/mbedtls" "$src/include/psa" "$here/haechi_mbedtls.h" "$out/include/"
    cp "$src"/library/libmbed*.a "$out/lib/"
    ;;
yyjson)
    $CC $cflags -c "$src/src/yyjson.c" -o "$work/yyjson.o"
    $AR rcsD "$out/lib/libyyjson.a" "$work/yyjson.o"
    cp "$src/src/yyjson.h" "$out/include/"
    ;;
llhttp)
    src=$src/third-party/llhttp
    for f in api http llhttp; do $CC $cflags -I"$src/include" -c "$src/src/$f.c" -o "$work/$f.o"; done
    $AR rcsD "$out/lib/libllhttp.a" "$work/api.o" "$work/http.o" "$work/llhttp.o"
    cp "$src/include/llhttp.h" "$out/include/"
    ;;
esac
mv "$out" "$prefix"
rm -rf "$work"
touch "$prefix/.done"
echo "deps: $name: built in $prefix"
