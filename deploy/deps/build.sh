#!/bin/sh
# Builds one source dependency into a prefix of its own (include/ and lib/), once.
#
#   build.sh mbedtls|yyjson|llhttp PREFIX
#
# The source is the .orig tarball of Debian trixie, fetched through apt with a private state folder (the lists of the
# system stay as they are) from the mirror that this machine already uses. apt checks the archive's signature; the sha256
# below is checked on top. MBEDTLS_TARBALL, YYJSON_TARBALL and LLHTTP_TARBALL name a local file instead.
# Two runs at once are safe: the second waits for the first and finds its work done.
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
    tarball=${MBEDTLS_TARBALL:-} variable=MBEDTLS_TARBALL
    ;;
yyjson)
    package=yyjson pinned=yyjson_0.10.0+ds.orig.tar.xz
    sha=ae6fde69a193e10afab426ef13f113d6903446405f9db9ee98bfb572bd6c961a
    tarball=${YYJSON_TARBALL:-} variable=YYJSON_TARBALL
    ;;
llhttp) # 9.2.1, generated C, as nghttp2 carries it
    package=nghttp2 pinned=nghttp2_1.64.0.orig.tar.gz
    sha=b452dc69a1fcbc9375389b8b154175d8b7b125cdd713fc426774c2b79a1ebd77
    tarball=${LLHTTP_TARBALL:-} variable=LLHTTP_TARBALL
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

# The first Debian archive among the machine's own apt sources, deb822 or one-line form.
mirror() {
    uri=$(cat /etc/apt/sources.list.d/*.sources 2>/dev/null | awk '
        BEGIN { RS = ""; FS = "\n" }
        {
            types = uris = suites = ""; enabled = 1
            for (i = 1; i <= NF; i++) {
                if ($i ~ /^#/) continue
                key = $i; sub(/:.*/, "", key); key = tolower(key)
                value = $i; sub(/^[^:]*:[ \t]*/, "", value)
                if (key == "types") types = value
                if (key == "uris") uris = value
                if (key == "suites") suites = value
                if (key == "enabled" && tolower(value) == "no") enabled = 0
            }
            if (enabled && types ~ /(^| )deb( |$)/ && suites !~ /security/ &&
                suites ~ /(^| )(bookworm|stable|oldstable|trixie)( |$)/) {
                split(uris, u, /[ \t]+/); print u[1]; exit
            }
        }')
    [ -n "$uri" ] || uri=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null | awk '
        $1 == "deb" {
            i = 2
            if ($2 ~ /^\[/) { while ($i !~ /\]$/) i++; i++ }
            if ($(i + 1) ~ /^(bookworm|stable|oldstable|trixie)$/) { print $i; exit }
        }')
    echo "$uri"
}

# Leaves the tarball in $deps/src; apt's exit code says nothing (a pool drops the other parts of a package at each update).
fetch() {
    uri=$(mirror)
    [ -n "$uri" ] || die "no Debian mirror in the apt sources; set $variable=FILE ($pinned)"
    apt=$deps/apt
    mkdir -p "$apt/parts" "$apt/lists/partial" "$apt/cache/archives/partial" "$deps/src"
    printf 'Types: deb-src\nURIs: %s\nSuites: trixie trixie-updates\nComponents: main\nSigned-By: %s\n' "$uri" \
        /usr/share/keyrings/debian-archive-keyring.gpg >"$apt/parts/trixie.sources"
    set -- -q -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$apt/parts" -o "Dir::State::lists=$apt/lists" \
        -o "Dir::Cache=$apt/cache" -o Acquire::Languages=none -o Acquire::Retries=3 -o APT::Sandbox::User=
    if [ ! -e "$apt/updated" ] || [ -n "$(find "$apt/updated" -mmin +60)" ]; then
        apt-get "$@" update >"$apt/log" 2>&1 || { cat "$apt/log" >&2; die "apt-get update failed; set $variable=FILE"; }
        touch "$apt/updated"
    fi
    (cd "$deps/src" && apt-get "$@" source --only-source --download-only "$package" >>"$apt/log" 2>&1) || :
    [ -e "$deps/src/$pinned" ] || pinned=$(cd "$deps/src" && ls "${package}"_*.orig.tar.* 2>/dev/null | sort -V | tail -n 1)
    [ -n "$pinned" ] || { cat "$apt/log" >&2; die "no source tarball came; set $variable=FILE"; }
    tarball=$deps/src/$pinned
}

if [ -z "$tarball" ]; then
    if [ -e "$deps/src/$pinned" ]; then tarball=$deps/src/$pinned; else fetch; fi
fi
[ -r "$tarball" ] || die "cannot read $tarball"

# The pinned version must be the pinned bytes. A later 3.6.N that apt brought is vouched for by apt's own chain.
got=$(sha256sum <"$tarball" | cut -d ' ' -f 1)
if [ "$got" != "$sha" ]; then
    case $tarball in
    "$deps/src/mbedtls_3.6."[7-9].* | "$deps/src/mbedtls_3.6."[1-9][0-9].*)
        echo "deps: $name: newer than the pinned version: $(basename "$tarball"), sha256 $got" >&2
        ;;
    *)
        die "$tarball: sha256 is $got, expected $sha"
        ;;
    esac
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
