#!/bin/sh
# Peers that send garbage, speak out of turn, promise too much, flood, dawdle, lie or say nothing: each is turned away with a
# clear word in time, the collector's memory stays what it was, and an honest agent is served all the while.
# timeout: 120
. "$(dirname "$0")/../lib.sh"
need python3 openssl
python3 -c 'import ctypes; ctypes.CDLL("libxxhash.so.0")' 2>/dev/null || skip 'libxxhash.so.0 is not installed'
demo=$ROOT/tests/data/demo/demo.xml
rss() { sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$COLLECTOR_PID/status"; }

cat >"$TMP/haechid.toml" <<END
[session]
heartbeat = "1s"
END
start_collector collector --config "$TMP/haechid.toml"
enroll HONEST
enroll EVIL
# batches of EVIL that never went out: its collector is away
mkdir "$TMP/unsent"
cp -a "$TMP/EVIL/." "$TMP/unsent"
start_agent unsent 'collectors = ["127.0.0.1:9"]' 'sources.journal = false' "sources.xml = [\"$demo\"]"
is_spooled() { [ -n "$(find "$TMP/unsent/spool" -size +1k)" ]; }
wait_for 10 is_spooled
sleep 0.2
stop_agent unsent

peer() { TMP=$TMP PYTHONPATH=$ROOT/tests/integration python3 "$ROOT/tests/integration/peer.py" "127.0.0.1:$COLLECTOR_PORT" "$TMP/EVIL" "$TMP/unsent/spool" "$@"; }
# the honest one stays connected, and beside that its events arrive in time
start_agent HONEST 'sources.journal = false'
honest() {
    grep '^<Event ' "$demo" | head -n "$1" >"$TMP/live.xml"
    timeout 5 haechi-agent send --state "$TMP/HONEST" "$TMP/live.xml"
    same 'events of HONEST' "$1" "$(haechi events --host HONEST --count)"
    same 'connections of HONEST that broke' '' "$(grep -v -e connected -e 'no source' "$TMP/HONEST.log" || :)"
}

peer oversize unknown_type wrong_way malformed batch_first enroll_then_agent garbage no_alpn wrong_alpn no_certificate
honest 5
before=$(rss)
for i in 1 2 3; do peer garbage no_alpn oversize malformed batch_first wrong_digest >"$TMP/peer.out" || fail "$(cat "$TMP/peer.out")"; done
peer slow_reader flood
honest 10
peer wrong_digest broken_header lying
peer bytewise bytewise_handshake
honest 15
run_bg silent env TMP="$TMP" PYTHONPATH="$ROOT/tests/integration" python3 "$ROOT/tests/integration/peer.py" "127.0.0.1:$COLLECTOR_PORT" "$TMP/EVIL" "$TMP/unsent/spool" silent
run_bg half env TMP="$TMP" PYTHONPATH="$ROOT/tests/integration" python3 "$ROOT/tests/integration/peer.py" "127.0.0.1:$COLLECTOR_PORT" "$TMP/EVIL" "$TMP/unsent/spool" half_open
honest 20
for name in silent half; do
    while is_running $name; do sleep 0.1; done
    grep -q ': ok' "$TMP/$name.log" || fail "$(cat "$TMP/$name.log")"
done
after=$(rss)
say "resident memory: $before KiB before, $after KiB after"
[ $((after - before)) -lt 8192 ] || fail "the collector grew from $before to $after KiB"

# what is refused is set aside, reported and audited
[ -n "$(ls "$TMP/collector/quarantine")" ] || fail 'nothing is in quarantine'
grep -q 'rejected and set aside: .*digest' "$TMP/collector.log" || fail 'the log does not tell of a wrong digest'
haechi audit --json | grep -q '"action":"batch.rejected".*digest' || fail 'the audit log does not tell of a wrong digest'
# the lie that only the columns tell
told() { haechi audit --json | grep -q '"action":"block.unreadable".*span of time' && grep -q 'digest: block .* of host 2 is skipped' "$TMP/collector.log"; }
wait_for 5 told
grep -q 'span of time' "$TMP"/collector/quarantine/*.txt || fail 'the block that lies is not set aside'
# EVIL has its own events once, HONEST has its own, and nothing is left in flight
same 'events of HONEST' 20 "$(haechi events --host HONEST --count)"
events=$(haechi events --host EVIL --format json)
same 'true events of EVIL' 60 "$(printf '%s\n' "$events" | grep -vc '"Lies"')"
same 'record ids of EVIL that are there twice' '' "$(haechi events --host EVIL --format json |
    sed 's/.*"epoch":\([0-9]*\),"record_id":\([0-9]*\).*/\1 \2/' | sort | uniq -d)"

TOKEN=$(haechi token create)
export TOKEN
peer foreign_subject
same 'hosts' 'EVIL HONEST MALLORY' "$(haechi hosts --json | sed 's/.*"name":"\([^"]*\)".*/\1/' | sort | tr '\n' ' ' | sed 's/ $//')"
contains 'audit of bad requests' "$(haechi audit --json)" '"action":"enrolment refused","object":"MALLORY"'
stop_agent HONEST
stop_collector
same 'orderly stop' 0 "$END_CODE"
