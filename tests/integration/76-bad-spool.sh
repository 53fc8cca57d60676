#!/bin/sh
# A damaged spool segment is set aside, not deleted, and reported; all that is readable in it and behind it is delivered, and what it lost is read
# again from the source while that is there.
. "$(dirname "$0")/../lib.sh"
need python3
many() { python3 "$ROOT/tests/integration/many_events.py" "$@"; }
count() { haechi events --host "$1" --count; }
start_collector
for host in FLIP HEAD JUNK TORN; do enroll $host; done
stop_collector

for host in FLIP HEAD JUNK TORN; do
    many 6000 $host >"$TMP/$host.xml"
    start_agent $host 'sources.journal = false' "sources.xml = [\"$TMP/$host.xml\"]" 'uplink.retry_min = "1s"' 'uplink.retry_max = "1s"'
    spooled() { haechi-agent status --state "$TMP/$host" 2>/dev/null | grep -q '6,000 events since the start' || grep -q 'read all' "$TMP/$host.log"; }
    wait_for 15 spooled
    kill_agent $host
done
damage() { # HOST: flips, wipes, adds or cuts in its first segment
    python3 - "$TMP/$1/spool" "$1" <<'PY'
import glob, sys
path = sorted(glob.glob(sys.argv[1] + '/*.seg'))[0]
data = bytearray(open(path, 'rb').read())
if sys.argv[2] == 'FLIP':
    data[len(data) // 2] ^= 0xff
elif sys.argv[2] == 'HEAD':
    data[:16] = b'\xff' * 16
elif sys.argv[2] == 'JUNK':
    data[3000:3000] = b'junk' * 500
else:
    data = data[:-50]
open(path, 'wb').write(data)
PY
}
for host in FLIP HEAD JUNK TORN; do damage $host; done
start_collector
for host in FLIP HEAD JUNK TORN; do
    start_agent $host 'sources.journal = false' "sources.xml = [\"$TMP/$host.xml\"]" 'uplink.retry_min = "1s"' 'uplink.retry_max = "1s"'
    all_there() { [ "$(count $host)" = 6000 ]; }
    wait_for 20 all_there
    same "holes of $host" '' "$(haechi ledger --host $host --holes)"
    stop_agent $host
    bad=$(find "$TMP/$host/spool" -name '*.bad' | wc -l)
    if [ $host = TORN ]; then # what a crash tears is no damage
        same 'a torn end is cut off' 0 "$bad"
        continue
    fi
    same "$host: segments set aside" 1 "$bad"
    grep -qE 'spool.*\.bad' "$TMP/$host.log" || fail "$host: nothing is reported: $(cat "$TMP/$host.log")"
done

# the source is gone: what is readable is delivered, and the hole is told
start_agent FLIP 'sources.journal = false'
stop_agent FLIP
enroll GONE
stop_collector
many 6000 GONE >"$TMP/GONE.xml"
host=GONE
start_agent GONE 'sources.journal = false' "sources.xml = [\"$TMP/GONE.xml\"]"
wait_for 15 spooled
kill_agent GONE
mv "$TMP/GONE.xml" "$TMP/away.xml"
python3 - "$TMP/GONE/spool" <<'PY'
import glob, sys
path = sorted(glob.glob(sys.argv[1] + '/*.seg'))[0]
data = bytearray(open(path, 'rb').read())
data[len(data) // 2] ^= 0xff
open(path, 'wb').write(data)
PY
start_collector
start_agent GONE 'sources.journal = false' "sources.xml = [\"$TMP/GONE.xml\"]" 'uplink.retry_min = "1s"' 'uplink.retry_max = "1s"'
some() { [ "$(count GONE)" -gt 3000 ]; }
wait_for 15 some
sleep 0.5
n=$(count GONE)
say "$n of 6000 events were in readable entries"
[ "$n" -lt 6000 ] || fail 'nothing was damaged'
haechi ledger --host GONE --holes | grep -q . || fail 'the ledger shows no hole'
stop_agent GONE
send GONE "$TMP/away.xml"
same 'the source came back' 6000 "$(count GONE)"
same 'no hole' '' "$(haechi ledger --host GONE --holes)"
