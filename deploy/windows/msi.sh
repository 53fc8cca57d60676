#!/bin/sh
# Builds the agent's package: the same inputs give the same bytes, wherever and whenever.
#
#   msi.sh HAECHI-AGENT.EXE HAECHI-SETUP.DLL VERSION OUT.MSI
#
# The product code belongs to the version, the package code to the content. Needs wixl and msitools.
set -eu
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
exe=$1 dll=$2 version=$3 out=$4

die() {
    echo "msi: $*" >&2
    exit 1
}
for program in wixl msibuild msiinfo sha256sum; do
    command -v $program >/dev/null || die "$program is not installed; \"make setup SETUP=msi\" installs it"
done
case $version in
*[!0-9.]* | *.*.*.* | .* | *.) die "the version is three numbers, not $version" ;;
*.*.*) ;;
*) die "the version is three numbers, not $version" ;;
esac

work=$(mktemp -d "${TMPDIR:-/tmp}/msi.XXXXXX")
trap 'rm -rf "$work"' EXIT
when=2026-01-01
cp "$exe" "$work/haechi-agent.exe"
cp "$dll" "$work/haechi-setup.dll"
cp "$here/haechi-agent.wxs" "$work/"
touch -d "${when}T00:00:00Z" "$work"/haechi-*

# An UUID of the given text, in the form of a name-based one.
uuid() { printf '%s' "$1" | sha256sum | tr a-f A-F | sed 's/^\(.\{8\}\)\(.\{4\}\).\(.\{3\}\).\(.\{3\}\)\(.\{12\}\).*/\1-\2-8\3-A\4-\5/'; }
product=$(uuid "haechi-agent product $version")
package=$(uuid "haechi-agent package $version $(cat "$work"/haechi-* "$0" | sha256sum)")

msi=$work/out.msi
(cd "$work" && wixl -a x64 -D ProductCode="$product" -D Version="$version" -D Agent=haechi-agent.exe -D Setup=haechi-setup.dll \
    -o "$msi" haechi-agent.wxs) >"$work/log" 2>&1 || { cat "$work/log" >&2; die "wixl failed"; }
[ -s "$msi" ] || { cat "$work/log" >&2; die "wixl made nothing"; }

# Kinds of actions: 51 sets a property; 1 of a library, +64 goes on when it fails, +256 when all is undone, +1024 within the transaction, +2048 as
# SYSTEM, +8192 with its data hidden from logs.
msibuild "$msi" \
    -q "UPDATE CustomAction SET Type = 1 WHERE Action = 'Check'" \
    -q "UPDATE CustomAction SET Type = 3393 WHERE Action = 'UndoEnrolment'" \
    -q "UPDATE CustomAction SET Type = 11265 WHERE Action = 'WriteEnrolment'" \
    -q "UPDATE CustomAction SET Type = 3073 WHERE Action = 'GrantState'" \
    -q "UPDATE CustomAction SET Type = 51 WHERE Action = 'SetAwaitEnd'" \
    -q "UPDATE CustomAction SET Type = 3137 WHERE Action = 'AwaitEnd'" \
    -q "UPDATE CustomAction SET Type = 3137 WHERE Action = 'RemoveToken'" \
    -q "UPDATE CustomAction SET Type = 3137 WHERE Action = 'RemoveState'" \
    -q "UPDATE InstallExecuteSequence SET Sequence = 1501 WHERE Action = 'RemoveExistingProducts'" \
    -q "UPDATE Property SET Value = 'ACCOUNT;CHANNELS;REMOVESTATE;SERVER;TOKEN;WIX_DOWNGRADE_DETECTED;WIX_UPGRADE_DETECTED' WHERE Property = 'SecureCustomProperties'" \
    -q "INSERT INTO Property (Property, Value) VALUES ('MsiHiddenProperties', 'TOKEN;WriteEnrolment')" \
    -q "UPDATE File SET Version = '$version.0', Language = '1033' WHERE File = 'AgentExe'" \
    -q "DELETE FROM MsiFileHash WHERE File_ = 'AgentExe'" >"$work/log" 2>&1 || { cat "$work/log" >&2; die "msibuild failed"; }

# Package code, times, and who made it.
msiinfo export "$msi" _SummaryInformation | tr -d '\r' | sed "s/^9	.*/9	{$package}/
    s|^1\([23]\)	.*|1\1	$(echo $when | tr - /) 00:00:00|
    s/^18	.*/18	Haechi/" >"$work/_SummaryInformation.idt"
msibuild "$msi" -i "$work/_SummaryInformation.idt" >"$work/log" 2>&1 || { cat "$work/log" >&2; die "msibuild failed"; }

# msibuild is silent about rows that are not there.
has() { msiinfo export "$msi" "$1" | tr -d '\r' | grep -q "$2" || die "table $1 has no $2"; }
has CustomAction '^WriteEnrolment	11265	'
has CustomAction '^UndoEnrolment	3393	'
has CustomAction '^SetAwaitEnd	51	AwaitEnd	\[#AgentExe\]'
has InstallExecuteSequence '^RemoveExistingProducts		1501$'
has Property '^SecureCustomProperties	ACCOUNT;.*;TOKEN;'
has Property '^MsiHiddenProperties	TOKEN;WriteEnrolment$'
has File "	$version.0	1033	"
has _SummaryInformation "^9	{$package}"
cp "$msi" "$out.tmp"
mv "$out.tmp" "$out"
