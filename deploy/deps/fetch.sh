#!/bin/sh
# Prints the path of one pinned source tarball of Debian, fetched when it is not there yet.
#
#   fetch.sh DIR SUITE PACKAGE FILE SHA256 [LATER]
#
# DIR keeps the tarball and apt's private state (the lists of the system stay as they are). The mirror is the one that this
# machine already uses; apt checks the archive's signature, the sha256 is checked on top. apt's exit code says nothing: a
# pool drops the other parts of a package at each update. HAECHI_SOURCES=FOLDER names a folder that has the tarballs.
# LATER: patterns, in one word; when the pool has dropped the pinned file, the newest that fits one is taken, which apt's own chain vouches for.
set -eu
dir=$1 suite=$2 package=$3 file=$4 sha=$5 later=${6:-}

die() {
    echo "deps: $package: $*" >&2
    exit 1
}
is_pinned() { [ -r "$1" ] && [ "$(sha256sum <"$1" | cut -d ' ' -f 1)" = "$sha" ]; }

mkdir -p "$dir"
exec 8>"$dir/.lock" # apt's state is one run's at a time
flock 8
for place in "${HAECHI_SOURCES:-}" "$dir"; do
    if [ -n "$place" ] && is_pinned "$place/$file"; then
        echo "$place/$file"
        exit 0
    fi
done

# The first Debian archive that the system's own lists came from, or would come from where there are none.
uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' 2>/dev/null | head -n 1)
[ -n "$uri" ] || uri=$(apt-get --print-uris update 2>/dev/null |
    sed -nE "s#^'([^']*)/dists/(bookworm|trixie|stable|oldstable)/InRelease'.*#\1#p" | head -n 1)
[ -n "$uri" ] || die "no Debian mirror is known to apt; put $file into a folder and set HAECHI_SOURCES=FOLDER"
apt=$dir/apt-$suite
mkdir -p "$apt/parts" "$apt/lists/partial" "$apt/cache/archives/partial"
printf 'Types: deb-src\nURIs: %s\nSuites: %s %s-updates\nComponents: main\nSigned-By: %s\n' "$uri" "$suite" "$suite" \
    /usr/share/keyrings/debian-archive-keyring.gpg >"$apt/parts/$suite.sources"
set -- -q -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$apt/parts" -o "Dir::State::lists=$apt/lists" \
    -o "Dir::Cache=$apt/cache" -o Acquire::Languages=none -o Acquire::Retries=3 -o APT::Sandbox::User=
if [ ! -e "$apt/updated" ] || [ -n "$(find "$apt/updated" -mmin +60)" ]; then
    apt-get "$@" update >"$apt/log" 2>&1 || { cat "$apt/log" >&2; die "apt-get update failed"; }
    touch "$apt/updated"
fi
(cd "$dir" && apt-get "$@" source --only-source --download-only "$package" >>"$apt/log" 2>&1) || :
if [ ! -e "$dir/$file" ] && [ -n "$later" ]; then
    newest=$(cd "$dir" && ls $later 2>/dev/null | sort -V | tail -n 1)
    if [ -n "$newest" ]; then
        echo "deps: $package: newer than the pinned version: $newest, sha256 $(sha256sum <"$dir/$newest" | cut -d ' ' -f 1)" >&2
        echo "$dir/$newest"
        exit 0
    fi
fi
[ -e "$dir/$file" ] || { tail -n 5 "$apt/log" >&2; die "$file did not come; set HAECHI_SOURCES=FOLDER"; }
is_pinned "$dir/$file" || die "$dir/$file is not the pinned one"
echo "$dir/$file"
