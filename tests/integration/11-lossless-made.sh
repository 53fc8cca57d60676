#!/bin/sh
# What goes in comes out: made .evtx and XML, with control characters, lone surrogates, unnamed and repeated Data, UserData and long
# command lines, is rendered again as it was, and a JSON export read in again changes nothing.
. "$(dirname "$0")/../lib.sh"

start_collector
enroll LOSSLESS
for f in sysmon-made odd-made; do
    send LOSSLESS "$ROOT/tests/data/evtx/$f.evtx"
    haechi events --host LOSSLESS --format xml >"$TMP/$f.out"
    # the expected file is what the reader gives; System's and the data's order and values must be equal line by line
    # (a lone surrogate, three bytes inside, is written for others as a reference)
    python3 -c 'import re, sys
text = sys.stdin.buffer.read().decode("utf-8", "surrogatepass")
sys.stdout.buffer.write(re.sub("[\ud800-\udfff]", lambda m: "&#x%X;" % ord(m.group()), text).encode())' \
        <"$ROOT/tests/data/evtx/$f.xml" | grep -a '^<Event ' >"$TMP/$f.want"
    while IFS= read -r line; do
        grep -aqxF -e "$line" "$TMP/$f.out" || fail "$f: not rendered as it came: $(printf %s "$line" | cut -c 1-600)"
    done <"$TMP/$f.want"
done
before=$(haechi events --host LOSSLESS --count)
haechi events --host LOSSLESS --format json >"$TMP/export.json"
same 'JSON has every event' "$before" "$(wc -l <"$TMP/export.json")"
out=$(haechi import --host LOSSLESS "$TMP/export.json")
contains 'the export is recognised whole' "$out" ": 0 stored, $before held already"
same 'events' "$before" "$(haechi events --host LOSSLESS --count)"

# into an empty collector it gives the same events
enroll OTHER
haechi import --host OTHER "$TMP/export.json"
haechi events --host OTHER --format json | sed 's/"host":"OTHER"/"host":"LOSSLESS"/; s/"epoch":[0-9]*/E/' | sort >"$TMP/a"
sed 's/"epoch":[0-9]*/E/' "$TMP/export.json" | sort >"$TMP/b"
cmp "$TMP/a" "$TMP/b" || fail "an export that is read in again differs: $(diff "$TMP/a" "$TMP/b" | head -n 4 | cut -c 1-800)"
