#!/bin/sh
# What goes in comes out: made .evtx files with control characters, lone surrogates, unnamed and repeated Data, UserData and long command
# lines are rendered again as they were, and a JSON export that is read in again changes nothing.
. "$(dirname "$0")/../lib.sh"

start_collector
for f in sysmon-made odd-made; do
    enroll "$f"
    send "$f" "$ROOT/tests/data/evtx/$f.evtx"
    haechi events --host "$f" --format xml >"$TMP/$f.out"
    # a lone surrogate, three bytes inside, is written for others as a reference
    python3 -c 'import re, sys
text = sys.stdin.buffer.read().decode("utf-8", "surrogatepass")
sys.stdout.buffer.write(re.sub("[\ud800-\udfff]", lambda m: "&#x%X;" % ord(m.group()), text).encode())' \
        <"$ROOT/tests/data/evtx/$f.xml" | grep -a '^<Event ' >"$TMP/$f.all"
    same "$f: events" "$(wc -l <"$TMP/$f.all")" "$(wc -l <"$TMP/$f.out")"
    # UserData comes back equal in meaning: &#65; is an A then
    grep -av '<UserData>' "$TMP/$f.all" >"$TMP/$f.want"
    while IFS= read -r line; do
        grep -aqxF -e "$line" "$TMP/$f.out" || fail "$f: not rendered as it came: $(printf %s "$line" | cut -c 1-600)"
    done <"$TMP/$f.want"

    n=$(haechi events --host "$f" --count)
    haechi events --host "$f" --format json >"$TMP/export.json"
    same "$f: JSON has every event" "$n" "$(wc -l <"$TMP/export.json")"
    contains "$f: the export is recognised whole" "$(haechi import --host "$f" "$TMP/export.json")" ": 0 stored, $n held already"
    same "$f: events after the import" "$n" "$(haechi events --host "$f" --count)"

    # under another host it gives the same events
    enroll "other-$f"
    haechi import --host "other-$f" "$TMP/export.json"
    haechi events --host "other-$f" --format json | sed "s/\"host\":\"other-/\"host\":\"/" | sort >"$TMP/again"
    sort "$TMP/export.json" | cmp - "$TMP/again" || fail "$f: an export that is read in again differs: $(sort "$TMP/export.json" |
        diff - "$TMP/again" | head -n 4 | cut -c 1-800)"
done
