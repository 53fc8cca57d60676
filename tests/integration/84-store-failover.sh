#!/bin/sh
# An agent goes to the next collector of its list when the first is down, and nothing is lost on the way. (The second one shares the first's
# authority and hosts.)
. "$(dirname "$0")/../lib.sh"
need python3
log_has() { grep -qE "$1" "$TMP/A.log"; }
start_collector one
one=$COLLECTOR_PORT
enroll A
stop_collector one
cp -a "$TMP/one" "$TMP/two"
start_collector two
two=$COLLECTOR_PORT
second=$HAECHI_API
start_collector one
first=$HAECHI_API

python3 "$ROOT/tests/integration/many_events.py" 3000 A >"$TMP/x.xml"
start_agent A 'sources.journal = false' "sources.xml = [\"$TMP/x.xml\"]" "collectors = [\"127.0.0.1:$one\", \"127.0.0.1:$two\"]" \
    'uplink.retry_min = "1s"' 'uplink.retry_max = "1s"'
wait_for 10 log_has "connected to 127.0.0.1:$one"
there() { [ "$(haechi --api "$1" events --host A --count)" = "$2" ]; }
wait_for 10 there "$first" 3000
kill_collector one
wait_for 10 log_has "connected to 127.0.0.1:$two"
python3 "$ROOT/tests/integration/many_events.py" 500 A 3001 1764100000 >"$TMP/y.xml"
wait_for 10 there "$second" 0
haechi-agent send --state "$TMP/A" --collector "127.0.0.1:$one" --collector "127.0.0.1:$two" "$TMP/y.xml"
wait_for 10 there "$second" 500
says_where() { haechi-agent status --state "$TMP/A" | grep -q "collector: *127.0.0.1:$two, connected"; }
wait_for 10 says_where
start_collector one
stop_agent A
