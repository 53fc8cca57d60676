#!/bin/sh
# Makes a package that carries its properties, for those who install by group policy, which cannot pass any.
#
#   preset.sh IN.MSI OUT.MSI NAME=VALUE...          NAME: TOKEN, SERVER, CHANNELS, ACCOUNT
#
# TOKEN=- reads the token from standard input, so that it is on no command line. Whoever can read OUT.MSI can read the token: give it few
# uses and a short life, and the share to computers alone. A signature does not survive this: preset, then sign. Needs msitools.
set -eu
export LC_ALL=C
die() {
    echo "preset: $*" >&2
    exit 2
}
[ $# -ge 3 ] || die "usage: preset.sh IN.MSI OUT.MSI NAME=VALUE..."
command -v msibuild >/dev/null || die 'msitools is not installed; "make setup SETUP=msi" installs it'
in=$1 out=$2
shift 2
umask 077
work=$(mktemp -d "${TMPDIR:-/tmp}/msi.XXXXXX")
trap 'rm -rf "$work"' EXIT
cp "$in" "$work/out.msi"
msiinfo export "$work/out.msi" Property | tr -d '\r' >"$work/Property.idt"
for word in "$@"; do
    name=${word%%=*} value=${word#*=}
    case $name in TOKEN | SERVER | CHANNELS | ACCOUNT) ;; *) die "$name: one of TOKEN, SERVER, CHANNELS, ACCOUNT" ;; esac
    [ "$name=$value" != TOKEN=- ] || IFS= read -r value || :
    [ -n "$value" ] && [ -z "$(printf '%s' "$value" | tr -d '\040-\176\200-\377')" ] || die "$name: the value is empty or has control characters"
    sed -i "/^$name	/d" "$work/Property.idt"
    printf '%s\t%s\n' "$name" "$value" >>"$work/Property.idt"
done
msibuild "$work/out.msi" -i "$work/Property.idt" >&2
# Another content is another package.
package=$(cat "$in" "$work/Property.idt" | sha256sum | tr a-f A-F | sed 's/^\(.\{8\}\)\(.\{4\}\).\(.\{3\}\).\(.\{3\}\)\(.\{12\}\).*/\1-\2-8\3-A\4-\5/')
msiinfo export "$work/out.msi" _SummaryInformation | tr -d '\r' | sed "s/^9	.*/9	{$package}/" >"$work/_SummaryInformation.idt"
msibuild "$work/out.msi" -i "$work/_SummaryInformation.idt" >&2
msiinfo export "$work/out.msi" _SummaryInformation | grep -q "{$package}" || die "msibuild did not take it"
cp "$work/out.msi" "$out"
