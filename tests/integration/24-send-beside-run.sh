#!/bin/sh
# send and status work while run holds the same state directory: neither disturbs the other, nothing comes twice, and the certificate
# is the running agent's to renew.
. "$(dirname "$0")/../lib.sh"
demo=$ROOT/tests/data/demo/demo.xml
DAY=86400
off() { HAECHI_TEST_CLOCK_S=$((21 * DAY)) "$@"; }
count() { haechi events --host A --count; }

grep '^<Event ' "$demo" >"$TMP/all.xml"
head -n 40 "$TMP/all.xml" >"$TMP/first.xml"
tail -n 40 "$TMP/all.xml" >"$TMP/second.xml"

start_collector
enroll A
start_agent A 'sources.journal = false' "sources.xml = [\"$TMP/first.xml\"]"
acked_40() { haechi-agent status --state "$TMP/A" | grep -q ' 40 acknowledged'; }
wait_for 15 acked_40
same 'what run has read' 40 "$(count)"

# one after the other, and four at once
contains 'send beside run' "$(send A "$TMP/second.xml")" 'sent 40 events of 1 file in '
contains 'and it says what was new' "$(send A "$TMP/all.xml")" 's: 0 stored, 60 held already'
for i in 1 2 3 4; do run_bg "send$i" haechi-agent send --state "$TMP/A" "$TMP/all.xml"; done
for i in 1 2 3 4; do
    wait_for 15 sh -c "grep -q 's: 0 stored, 60 held already' '$TMP/send$i.log'"
    end "send$i"
done
same 'every event once' 60 "$(count)"
same 'no clone' active "$(haechi host show A | sed -n 's/^state *//p')"
is_running A || fail 'run has ended'
same 'run kept its connection' 1 "$(grep -c 'connected to' "$TMP/A.log")"
contains 'status' "$(haechi-agent status --state "$TMP/A")" ', connected'

# run's bookmarks are its own: started again it reads the file that is new to it, and not the one before
stop_agent A
before=$(cat "$TMP/A/bookmarks")
send A "$TMP/all.xml"
same 'the bookmarks' "$before" "$(cat "$TMP/A/bookmarks")"
rm "$TMP/A/status"
start_agent A 'sources.journal = false' "sources.xml = [\"$TMP/first.xml\", \"$TMP/second.xml\"]"
wait_for 15 acked_40
same 'every event once, still' 60 "$(count)"
stop_agent A
stop_collector

# three weeks on a renewal is due: by the agent that holds the directory, by send only when there is none
COLLECTOR_ENV="HAECHI_TEST_CLOCK_S=$((21 * DAY))" start_collector
before=$(cksum <"$TMP/A/identity")
start_agent A 'sources.journal = false' "collectors = [\"127.0.0.1:$(free_port)\"]"
wait_for 10 grep -q 'connection refused' "$TMP/A.log"
off haechi-agent send --state "$TMP/A" "$TMP/all.xml"
same 'not renewed beside run' "$before" "$(cksum <"$TMP/A/identity")"
stop_agent A
off haechi-agent send --state "$TMP/A" "$TMP/all.xml"
[ "$before" != "$(cksum <"$TMP/A/identity")" ] || fail 'not renewed by send alone'
off haechi-agent send --state "$TMP/A" "$TMP/all.xml"
same 'events in the end' 60 "$(count)"
