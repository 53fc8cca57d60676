#!/bin/sh
# Signs a program, a library or a package for Windows (Authenticode).
#
#   SIGN_CERT=CHAIN.PEM SIGN_KEY=KEY.PEM [SIGN_OPTIONS="..."] sign.sh IN OUT
#
# SIGN_OPTIONS are further words for osslsigncode: "-readpass FILE" for a key with a password, "-ts URL" for a time stamp (without one
# the signature ends with the certificate), "-pkcs11module FILE" for a key in a token. Needs osslsigncode.
set -eu
in=$1 out=$2
command -v osslsigncode >/dev/null || { echo 'sign: osslsigncode is not installed; "make setup SETUP=msi" installs it' >&2; exit 1; }
[ -n "${SIGN_CERT:-}" ] && [ -n "${SIGN_KEY:-}" ] || { echo 'sign: SIGN_CERT and SIGN_KEY name the certificate and its key' >&2; exit 2; }
rm -f "$out"
# shellcheck disable=SC2086
said=$(osslsigncode sign -certs "$SIGN_CERT" -key "$SIGN_KEY" -h sha256 -n "Haechi Agent" ${SIGN_OPTIONS:-} -in "$in" -out "$out" 2>&1) ||
    { echo "sign: $in: $said" >&2; exit 1; }
