#!/bin/sh
# A large answer: its first row at once, all rows in memory that does not grow with them, cut short without harm; an
# import of any length likewise. Over a slow reader the collector waits and keeps little.
. "$(dirname "$0")/../lib.sh"

N=${N:-200000}
python3 "$ROOT/tests/integration/many_events.py" "$N" STREAM >"$TMP/log.xml"
start_collector
enroll stream
send stream "$TMP/log.xml" >/dev/null

peak() { sed -n 's/^VmHWM: *\([0-9]*\) kB/\1/p' "/proc/$COLLECTOR_PID/status"; }
reset_peak() { echo 5 >"/proc/$COLLECTOR_PID/clear_refs" 2>/dev/null || skip "the peak of memory cannot be reset here"; }

haechi events --host stream --format json --limit 1000 >/dev/null
reset_peak
before=$(peak)
same "rows" "$N" "$(haechi events --host stream --format json | wc -l)"
after=$(peak)
grown=$((after - before))
say "$N rows cost $grown KiB"
[ $grown -lt 32768 ] || fail "$N rows cost $grown KiB of memory"

python3 - "$TMP/collector.sock" "$N" <<'PY'
import socket, sys, time

def ask(path):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(30)
    s.connect(sys.argv[1])
    s.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    return s

events = b"/api/v1/hosts/stream/events"
t = time.monotonic()
s = ask(events)
got = b""
while got.count(b"\n") < 12:
    got += s.recv(4096)
first = time.monotonic() - t
print("the first row after %.0f ms" % (first * 1000))
assert first < 2, "the first row took %.1f s" % first
s.close() # most of the answer is not wanted any more

slow = ask(events) # takes a little at a time; others are served meanwhile
for _ in range(20):
    assert slow.recv(1000)
    time.sleep(0.02)
s = ask(events + b"?count=1")
assert b'{"count":%s}' % sys.argv[2].encode() in s.recv(10000)
slow.close()
PY
later=$(peak)
[ $((later - before)) -lt 65536 ] || fail "readers that go away or take their time cost $((later - before)) KiB"
same "rows after that" 5 "$(haechi events --host stream --format json --limit 5 | wc -l)"
haechi hosts | grep -q stream || fail "the API does not answer any more"
stop_collector
same "end of the collector" 0 "$END_CODE"
