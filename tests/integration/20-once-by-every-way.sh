#!/bin/sh
# The same events once, by whatever way and however often they come: the file twice, two overlapping files, as .evtx, as event XML on
# one line or many, as UTF-16, by send and by import, from two state folders.
. "$(dirname "$0")/../lib.sh"

count() { haechi events --host "$1" --count; }
complete() { # HOST: no open hole, each record id once
    same "holes of $1" '' "$(haechi ledger --host "$1" --holes)"
    same "record ids of $1 that are there twice" '' "$(haechi events --host "$1" --format json |
        sed 's/.*"channel":"\([^"]*\)","epoch":\([0-9]*\),"record_id":\([0-9]*\).*/\1 \2 \3/' | sort | uniq -d)"
}
demo=$ROOT/tests/data/demo/demo.xml

start_collector
enroll DEMO-PC
contains 'send says that all is new' "$(send DEMO-PC "$demo")" 's: 60 stored, 0 held already'
same 'first time' 60 "$(count DEMO-PC)"
contains 'send says that nothing is new' "$(send DEMO-PC "$demo" "$demo")" 's: 0 stored, 120 held already'
same 'the same file twice' 60 "$(count DEMO-PC)"
contains 'import recognises it' "$(haechi import --host DEMO-PC "$demo")" ': 0 stored, 60 held already'
complete DEMO-PC

enroll OVERLAP
grep '^<Event ' "$demo" | sed 's/DEMO-PC.corp.example/OVERLAP/' >"$TMP/all.xml"
head -n 40 "$TMP/all.xml" >"$TMP/first.xml"
tail -n 40 "$TMP/all.xml" >"$TMP/second.xml"
send OVERLAP "$TMP/second.xml" "$TMP/first.xml"
same 'two overlapping files' 60 "$(count OVERLAP)"
sed -n '10,50p' "$TMP/all.xml" >"$TMP/middle.xml"
haechi import --host OVERLAP "$TMP/middle.xml"
same 'and a third one between' 60 "$(count OVERLAP)"
complete OVERLAP

# other renderings of the same events: many lines, double quotes, GUIDs in upper case, UTF-16
enroll FORMS
sed 's/OVERLAP/FORMS/' "$TMP/all.xml" >"$TMP/forms.xml"
send FORMS "$TMP/forms.xml"
python3 - "$TMP" <<'PY'
import re, sys
text = open(sys.argv[1] + '/forms.xml', encoding='utf-8').read()
pretty = re.sub(r"='([^'\"<>]*)'", r'="\1"', text)
pretty = re.sub(r'\{[0-9a-f-]{36}\}', lambda m: m.group(0).upper(), pretty)
pretty = re.sub(r'(</[A-Za-z]+>|/>)(?=<)', r'\1\r\n  ', pretty)
pretty = re.sub(r'(SystemTime="[^"]*?)Z"', r'\g<1>00Z"', pretty)       # nine digits, as older Windows prints
open(sys.argv[1] + '/pretty.xml', 'w', encoding='utf-16').write('<?xml version="1.0" encoding="UTF-16"?>\r\n<Events>' + pretty + '</Events>')
PY
send FORMS "$TMP/pretty.xml"
same 'as wevtutil exports it' 60 "$(count FORMS)"
complete FORMS

for f in sysmon-made odd-made; do
    send DEMO-PC "$ROOT/tests/data/evtx/$f.evtx"
done
n=$(count DEMO-PC)
for f in sysmon-made odd-made; do
    send DEMO-PC "$ROOT/tests/data/evtx/$f.xml" || :
    haechi import --host DEMO-PC "$ROOT/tests/data/evtx/$f.evtx"
done
same '.evtx, then its XML, then imported' "$n" "$(count DEMO-PC)"

# two different events that claim one record id: both are kept, and it is reported
sed -n '30p' "$TMP/forms.xml" | sed "s/<Data Name='UtcTime'>/<Data Name='Extra'>forged<\/Data>&/" >"$TMP/forged.xml"
send FORMS "$TMP/forged.xml"
same 'a different event under a held record id is kept' 61 "$(count FORMS)"
same 'the forged one' 1 "$(haechi events --host FORMS --where 'Extra = forged' --count)"
