#!/bin/sh
# haechi-agent.exe: small, imports only what every supported Windows has; it and its unsigned installer are the same bytes wherever they
# are built. Signing makes a signed installer of a signed program, and leaves these as they are.
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

# A copy of the tree in a folder with a name of another length; the libraries are shared.
mkdir "$TMP/somewhere-else"
(cd "$ROOT" && tar -cf - Makefile agent proto deploy tests/layering) | tar -xf - -C "$TMP/somewhere-else"
msi=
[ ! -e "$(dirname "$EXE")/haechi-setup.dll" ] || msi=msi
deps=$(dirname "$BIN")/deps
[ -d "$deps" ] || deps=$ROOT/build/deps
case $deps in /*) ;; *) deps=$PWD/$deps ;; esac
build() { (cd "$TMP/somewhere-else" && env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make BUILDROOT=out DEPS="$deps" -j2 "$@") >"$TMP/build.log" 2>&1; }
build windows $msi || fail "the copy does not build"
cmp "$EXE" "$TMP/somewhere-else/out/windows/haechi-agent.exe" || fail "two builds in two folders differ"
[ -n "$msi" ] || skip "the installer is not built (make msi); the program is the same"
built=$(ls "$(dirname "$EXE")"/haechi-agent-*.msi)
cmp "$built" "$TMP/somewhere-else/out/windows/${built##*/}" || fail "two installers of two folders differ"
say "$(stat -c %s "$built") bytes the installer"

# Its library, which runs as SYSTEM, imports as little.
x86_64-w64-mingw32-objdump -p "$(dirname "$EXE")/haechi-setup.dll" >"$TMP/dump"
for dll in $(sed -n 's/.*DLL Name: //p' "$TMP/dump" | tr A-Z a-z); do
    case " advapi32.dll kernel32.dll msi.dll msvcrt.dll ole32.dll shell32.dll " in *" $dll "*) ;; *) fail "haechi-setup.dll imports $dll" ;; esac
done
for flag in HIGH_ENTROPY_VA DYNAMIC_BASE NX_COMPAT; do grep -q "$flag" "$TMP/dump" || fail "the header of haechi-setup.dll has no $flag"; done

# ---- signing, with a certificate that nobody trusts ----
need osslsigncode openssl msiextract
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$TMP/sign.key" -out "$TMP/sign.pem" -days 2 -subj "/CN=Haechi test" \
    -addext extendedKeyUsage=codeSigning >"$TMP/openssl.out" 2>&1 || fail "openssl: $(cat "$TMP/openssl.out")"
build msi SIGN_CERT="$TMP/sign.pem" SIGN_KEY="$TMP/sign.key" || fail "signing: $(tail -n 5 "$TMP/build.log")"
signed=$TMP/somewhere-else/out/windows/signed/${built##*/}
is_signed() { osslsigncode verify -CAfile "$TMP/sign.pem" -in "$1" >"$TMP/verify.out" 2>&1 || fail "$1: $(cat "$TMP/verify.out")"; }
is_signed "$signed"
(mkdir "$TMP/content" && cd "$TMP/content" && msiextract "$signed" >/dev/null)
is_signed "$(find "$TMP/content" -name haechi-agent.exe)"
cmp "$built" "$TMP/somewhere-else/out/windows/${built##*/}" || fail "signing changed the unsigned installer"
cmp "$EXE" "$TMP/somewhere-else/out/windows/haechi-agent.exe" || fail "signing changed the unsigned program"
refused_build() { build msi SIGN_CERT="$TMP/sign.pem" SIGN_KEY=/nowhere && fail "$1 was not refused"; grep -q 'sign:' "$TMP/build.log" || fail "$1: $(tail -n 3 "$TMP/build.log")"; }
refused_build 'a key that is not there'
[ ! -e "$signed" ] || fail 'a failed signature leaves an installer'
