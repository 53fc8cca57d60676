#!/bin/sh
# haechi-agent.exe: small, imports only what every supported Windows has, and the same bytes wherever it is built.
# timeout: 600
. "$(dirname "$0")/../lib.sh"

EXE=${HAECHI_EXE:-$(dirname "$BIN")/windows/haechi-agent.exe}
[ -e "$EXE" ] || skip "haechi-agent.exe is not built (make windows)"
need x86_64-w64-mingw32-objdump make

size=$(stat -c %s "$EXE")
say "$size bytes"
[ "$size" -le 1200000 ] || fail "haechi-agent.exe has $size bytes, more than 1,200,000"

# Windows 10 and Server 2016 have all of these.
allowed=' advapi32.dll bcrypt.dll crypt32.dll dbghelp.dll iphlpapi.dll kernel32.dll msvcrt.dll ole32.dll shell32.dll user32.dll userenv.dll wevtapi.dll ws2_32.dll '
x86_64-w64-mingw32-objdump -p "$EXE" >"$TMP/dump"
imports=$(sed -n 's/.*DLL Name: //p' "$TMP/dump" | tr A-Z a-z)
[ -n "$imports" ] || fail "no imports were found"
for dll in $imports; do
    case $allowed in *" $dll "*) ;; *) fail "imports $dll" ;; esac
done
for flag in HIGH_ENTROPY_VA DYNAMIC_BASE NX_COMPAT; do grep -q "$flag" "$TMP/dump" || fail "the header has no $flag"; done

# A copy of the tree in a folder with a name of another length; the libraries are shared, their own recipe is tested below.
mkdir "$TMP/somewhere-else"
(cd "$ROOT" && tar -cf - Makefile agent proto deploy tests/layering) | tar -xf - -C "$TMP/somewhere-else"
deps=$(dirname "$BIN")/deps
[ -d "$deps" ] || deps=$ROOT/build/deps
(cd "$TMP/somewhere-else" && env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make BUILDROOT=out DEPS="$deps" -j2 windows) >"$TMP/build.log" 2>&1 ||
    fail "the copy does not build"
cmp "$EXE" "$TMP/somewhere-else/out/windows/haechi-agent.exe" || fail "two builds in two folders differ"
