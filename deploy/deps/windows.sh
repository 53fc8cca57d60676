#!/bin/sh
# Builds the libraries of the Windows agent as static archives into one prefix (include/ and lib/), once.
#
#   windows.sh PREFIX         CC and AR name the cross tools
#
# mbedTLS, libuv, zstd, the runtime of protobuf-c, expat and xxhash, and cmocka for the tests, each from its pinned source. Their own
# build systems are not used: a list of files, sorted, is all there is, and gives the same bytes in every folder.
# expat is Debian 12's: what was mended since concerns DTDs, which the event parser refuses, and parsing in pieces, which
# it does not do.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
prefix=$1
: "${CC:=x86_64-w64-mingw32-gcc}" "${AR:=x86_64-w64-mingw32-gcc-ar}"

die() {
    echo "deps: windows: $*" >&2
    exit 1
}
command -v "$CC" >/dev/null || die "$CC is not installed; \"make setup SETUP=windows\" installs it"

mkdir -p "$(dirname "$prefix")"
deps=$(cd "$(dirname "$prefix")" && pwd)
prefix=$deps/$(basename "$prefix")
exec 9>"$deps/.lock-windows"
flock 9
[ ! -e "$prefix/.done" ] || exit 0

work=$prefix.tmp
rm -rf "$work" "$prefix"
mkdir -p "$work/out/include" "$work/out/lib" "$deps/src"
log=$work/log

# No -fdata-sections: on this target it puts zeroed arrays into the file. Both kinds of objects in one: the agent is optimised as a whole,
# its tests are linked as they are.
cflags="-Os -flto -ffat-lto-objects -D_WIN32_WINNT=0x0A00 -D__USE_MINGW_ANSI_STDIO=1 -ffunction-sections -fno-ident -fstack-protector-strong
    -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -ffile-prefix-map=$work=. -w"

# unpack NAME SUITE PACKAGE FILE SHA256: into $work/NAME
unpack() {
    name=$1
    shift
    tarball=$(sh "$here/fetch.sh" "$deps/src" "$@") || exit 1
    mkdir -p "$work/$name"
    tar -xf "$tarball" -C "$work/$name" --strip-components=1
}

# compile NAME LIB "FLAGS" FILE...: all files (relative to $work/NAME), two at a time, into lib/libLIB.a; those that match $fast for speed
fast=-
compile() {
    name=$1 lib=$2 flags=$(echo $3)
    shift 3
    mkdir -p "$work/obj/$lib"
    (cd "$work/$name" && printf '%s\n' "$@" | LC_ALL=C sort | xargs -P 2 -I{} sh -c \
        "o=\$(echo '{}' | tr / _); case {} in ($fast) o2=-O2 ;; (*) o2= ;; esac; $CC $(echo $cflags) \$o2 $flags -c '{}' -o '$work/obj/$lib/'\"\${o%.*}.o\"") >>"$log" 2>&1 ||
        { tail -n 30 "$log" >&2; die "$name does not build"; }
    (cd "$work/obj/$lib" && $AR crD "$work/out/lib/lib$lib.a" $(LC_ALL=C ls *.o))
}

unpack mbedtls trixie mbedtls mbedtls_3.6.6.orig.tar.bz2 8fb65fae8dcae5840f793c0a334860a411f884cc537ea290ce1c52bb64ca007a \
    'mbedtls_3.6.[7-9].orig.tar.bz2 mbedtls_3.6.[1-9][0-9].orig.tar.bz2'
cp "$here/haechi_mbedtls.h" "$work/mbedtls/include/mbedtls/mbedtls_config.h"
# As it was written: code that is to take the same time whatever the key is, and compares addresses of string literals.
compile mbedtls mbedtls "-fno-lto -Iinclude -Ilibrary -mssse3 -maes -mpclmul" \
    $(cd "$work/mbedtls" && ls library/*.c)
cp -R "$work/mbedtls/include/mbedtls" "$work/mbedtls/include/psa" "$here/haechi_mbedtls.h" "$work/out/include/"

# Never -Isrc/win: its winsock.h hides the system's.
unpack libuv trixie libuv1 libuv1_1.50.0.orig.tar.gz ec9de6ecf2a780fd2afb3b007947d2cd57c3bb17f3b9e721a66774980d35cd4d
compile libuv uv "-DWIN32_LEAN_AND_MEAN -D_CRT_DECLARE_NONSTDC_NAMES=0 -Iinclude -Isrc" $(cd "$work/libuv" && ls src/*.c src/win/*.c)
cp -R "$work/libuv/include/uv" "$work/libuv/include/uv.h" "$work/out/include/"

unpack zstd trixie libzstd libzstd_1.5.7+dfsg.orig.tar.xz 0c092ef267edce57ba7f3f2645c861f72eaf5e76273c6c3632869423464b90a5
# The agent compresses at levels up to 3, which never choose the slow strategies, and reads next to nothing.
fast='lib/compress/zstd_double_fast.c|lib/compress/zstd_fast.c|lib/compress/zstd_compress_*.c|lib/compress/huf_*.c|lib/compress/fse_*.c|lib/compress/hist.c'
compile zstd zstd "-DZSTD_DISABLE_ASM=1 -DZSTD_LEGACY_SUPPORT=0 -DDYNAMIC_BMI2=0 -DHUF_FORCE_DECOMPRESS_X1
    -DZSTD_FORCE_DECOMPRESS_SEQUENCES_SHORT -DZSTD_EXCLUDE_GREEDY_BLOCK_COMPRESSOR -DZSTD_EXCLUDE_LAZY_BLOCK_COMPRESSOR
    -DZSTD_EXCLUDE_LAZY2_BLOCK_COMPRESSOR -DZSTD_EXCLUDE_BTLAZY2_BLOCK_COMPRESSOR -DZSTD_EXCLUDE_BTOPT_BLOCK_COMPRESSOR
    -DZSTD_EXCLUDE_BTULTRA_BLOCK_COMPRESSOR -Ilib" \
    $(cd "$work/zstd" && ls lib/common/*.c lib/compress/*.c lib/decompress/*.c)
fast=-
cp "$work/zstd/lib/zstd.h" "$work/zstd/lib/zstd_errors.h" "$work/zstd/lib/zdict.h" "$work/out/include/"

unpack protobuf-c trixie protobuf-c protobuf-c_1.5.1.orig.tar.gz 20d1dc257da96f8ddff8be4dd9779215bbd0a6069ed53bbe9de38fa7629be06b
compile protobuf-c protobuf-c "-I." protobuf-c/protobuf-c.c
mkdir "$work/out/include/protobuf-c"
cp "$work/protobuf-c/protobuf-c/protobuf-c.h" "$work/out/include/protobuf-c/"

unpack expat bookworm expat expat_2.5.0.orig.tar.gz ab00ee05c7067fd10a35c5d2a4922ebba746ddd50ff83b79c828da17bbdf1757
src=$work/expat
[ -d "$src/lib" ] || src=$work/expat/expat
printf '%s\n' '#define XML_CONTEXT_BYTES 1024' '#define XML_NS 1' '#define XML_DTD 1' '#define BYTEORDER 1234' >"$src/lib/expat_config.h"
compile "${src#"$work/"}" expat "-DXML_STATIC -DXML_BUILDING_EXPAT -D_CRT_RAND_S -Ilib" lib/xmlparse.c lib/xmlrole.c lib/xmltok.c
cp "$src/lib/expat.h" "$src/lib/expat_external.h" "$work/out/include/"

unpack xxhash trixie xxhash xxhash_0.8.3.orig.tar.gz aae608dfe8213dfd05d909a57718ef82f30722c392344583d3f39050c7f29a80
compile xxhash xxhash "" xxhash.c
cp "$work/xxhash/xxhash.h" "$work/out/include/"

# For the unit tests only.
unpack cmocka bookworm cmocka cmocka_1.1.5.orig.tar.xz f0ccd8242d55e2fd74b16ba518359151f6f8383ff8aef4976e48393f77bba8b6
compile cmocka cmocka "-DHAVE_MALLOC_H -DHAVE_INTTYPES_H -DHAVE_SIGNAL_H -DHAVE_GCC_THREAD_LOCAL_STORAGE -DHAVE_STRUCT_TIMESPEC -Iinclude" \
    src/cmocka.c
cp "$work/cmocka/include/cmocka.h" "$work/out/include/"

mv "$work/out" "$prefix"
rm -rf "$work"
touch "$prefix/.done"
echo "deps: windows: built in $prefix"
