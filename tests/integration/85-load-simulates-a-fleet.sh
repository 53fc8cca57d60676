#!/bin/sh
# The fleet simulator: many agents enrol, send at a pace and as fast as they can, outlive a collector that dies, go on as
# the same hosts in a second run; the collector then has exactly what was acknowledged, without a hole. What goes wrong
# is said and counted.
# timeout: 120
. "$(dirname "$0")/../lib.sh"
demo=$ROOT/tests/data/demo/demo.xml
of() { sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p" "$2"; }
total() { # events of all hosts, by the ledger
    haechi ledger --json | sed -n 's/.*"held":\([0-9]*\).*/\1/p' | awk '{n += $1} END {print n + 0}'
}

start_collector
token=$(haechi token create --uses 20)
load() { haechi-load --collector "127.0.0.1:$COLLECTOR_PORT" --file "$demo" --quiet --json "$@"; }

load --token "$token" --state "$TMP/st" --prefix box --agents 20 --batch 20 --events 10000 >"$TMP/flat" || fail "flat out: $(cat "$TMP/flat")"
same 'acked' 10000 "$(of events_acked "$TMP/flat")"
same 'hosts' 20 "$(haechi hosts --json | wc -l | tr -d ' ')"
same 'the ledger has them' 10000 "$(total)"

# the same hosts, no token; the collector dies in the middle
run_bg paced haechi-load --state "$TMP/st" --collector "127.0.0.1:$COLLECTOR_PORT" --file "$demo" --quiet --json --agents 20 \
    --batch 20 --rate 4000 --seconds 5
sleep 2.5
kill_collector
start_collector
end paced 0 || :
same 'exit code' 0 "$END_CODE"
acked=$(of events_acked "$TMP/paced.log")
same 'nothing is lost' 0 "$(of events_lost "$TMP/paced.log")"
[ "$(of reconnects "$TMP/paced.log")" -gt 0 ] || fail "no agent saw the collector die"
same 'each event once' "$((10000 + acked))" "$(total)"
same 'no holes' '' "$(haechi ledger --holes)"
contains 'labels are true' "$(haechi events --host box-00007 --limit 1 --format json)" '"computer":"box-00007"'

refused 'no hosts are kept' haechi-load --state "$TMP/none" --file "$demo"
refused 'did you mean --agents' haechi-load --agent 3
load --state "$TMP/st" --agents 21 --events 210 >"$TMP/more" && fail 'a host without a certificate went unnoticed'
same 'one is refused' 1 "$(of refused "$TMP/more")"
