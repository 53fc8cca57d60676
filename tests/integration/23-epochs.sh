#!/bin/sh
# A log whose record ids start again, or go back, begins a new epoch; an agent that lost its state neither repeats nor skips.
# timeout: 240
. "$(dirname "$0")/../lib.sh"

many() { python3 "$ROOT/tests/integration/many_events.py" "$@"; }
count() { haechi events --host "$1" --count; }
epochs() { haechi ledger --host "$1" --json | sed 's/.*"epoch":\([0-9]*\).*"first_id":\([0-9]*\),"last_id":\([0-9]*\),"held":\([0-9]*\).*/\1: \2-\3 \4/' | sort; }

start_collector

# the agent's state folder is lost: it enrols anew in the old one's place and sends the same log
enroll LOST
many 500 LOST >"$TMP/lost.xml"
send LOST "$TMP/lost.xml"
rm -r "$TMP/LOST"
refused 'haechi host approve LOST' enroll LOST
haechi host approve LOST
haechi-agent enroll --token "$(haechi token create | tail -n 1)" --state "$TMP/LOST" --name LOST || enroll LOST
many 700 LOST >"$TMP/lost.xml"
send LOST "$TMP/lost.xml"
same 'state lost: events' 700 "$(count LOST)"
same 'state lost: one epoch' '1: 1-700 700' "$(epochs LOST)"

# a rolled-back machine: 1..1000, then the machine is what it was at 500 and goes on, days later
enroll ROLLED
many 1000 ROLLED >"$TMP/a.xml"
head -n 500 "$TMP/a.xml" >"$TMP/b.xml"
many 300 ROLLED 501 1764600000 >>"$TMP/b.xml"
send ROLLED "$TMP/a.xml"
send ROLLED "$TMP/b.xml"
same 'rolled back: events' 1300 "$(count ROLLED)"
same 'rolled back: epochs' '1: 1-1000 1000
2: 501-800 300' "$(epochs ROLLED)"
send ROLLED "$TMP/a.xml" "$TMP/b.xml"
same 'rolled back, sent again' 1300 "$(count ROLLED)"

# a re-imaged machine: record ids start at 1 again
enroll IMAGED
many 400 IMAGED >"$TMP/c.xml"
many 600 IMAGED 1 1764700000 >"$TMP/d.xml"
send IMAGED "$TMP/c.xml"
send IMAGED "$TMP/d.xml"
same 're-imaged: events' 1000 "$(count IMAGED)"
same 're-imaged: epochs' '1: 1-400 400
2: 1-600 600' "$(epochs IMAGED)"
haechi import --host IMAGED "$TMP/d.xml" "$TMP/c.xml"
same 're-imaged, imported again' 1000 "$(count IMAGED)"

# the same with a live agent whose log file is replaced while it runs
enroll LIVE
many 300 LIVE >"$TMP/live.xml"
start_agent LIVE '[sources]' 'journal = false' "xml = [\"$TMP/live.xml\"]"
has() { [ "$(count LIVE)" = "$1" ]; }
wait_for 30 has 300
many 200 LIVE 1 1764800000 >"$TMP/live.new"
mv "$TMP/live.new" "$TMP/live.xml"
wait_for 120 has 500
stop_agent LIVE
same 'live: epochs' '1: 1-300 300
2: 1-200 200' "$(epochs LIVE)"

# another computer's file never touches the host's own ids
enroll GUEST
many 100 GUEST >"$TMP/own.xml"
many 100 SOMEONE-ELSE 1 1764900000 >"$TMP/other.xml"
send GUEST "$TMP/own.xml" "$TMP/other.xml"
same 'two computers: two logs' 2 "$(haechi ledger --host GUEST --json | wc -l)"
same 'two computers: events' 200 "$(count GUEST)"
