#!/bin/sh
# A full disk at the collector stops acks with a clear line in log and status, loses nothing, and goes on by itself when there is space: first
# at the reserve that it keeps free, then at the very last byte. A full spool at the agent makes reading wait, and loses nothing either.
# timeout: 120
if [ -z "${OWN_MOUNTS:-}" ]; then
    OWN_MOUNTS=1
    export OWN_MOUNTS
    unshare -m true 2>/dev/null && exec unshare -m sh "$0"
    unshare -rm true 2>/dev/null && exec unshare -rm sh "$0"
fi
. "$(dirname "$0")/../lib.sh"
need python3
end_mounts() {
    code=$?
    set +e
    umount -l "$TMP/collector" 2>/dev/null
    sh -c "exit $code"
    lib_cleanup
}
trap end_mounts EXIT
mkdir "$TMP/collector"
mount -t tmpfs -o size=48m none "$TMP/collector" 2>/dev/null || skip 'no right to mount a small file system'

bulky() { # N FIRST HOST: events that hardly compress
    python3 - "$@" <<'PY'
import os, sys
n, first, host = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
for i in range(first, first + n):
    print("<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><Provider Name='Microsoft-Windows-Sysmon' "
          "Guid='{5770385f-c22a-43e0-bf4c-06f5698ffbd9}'/><EventID>11</EventID><Version>2</Version><Level>4</Level><Task>11</Task><Opcode>0</Opcode>"
          "<Keywords>0x8000000000000000</Keywords><TimeCreated SystemTime='2026-11-20T%02d:%02d:%02d.0000000Z'/><EventRecordID>%d</EventRecordID>"
          "<Correlation/><Execution ProcessID='1' ThreadID='2'/><Channel>Microsoft-Windows-Sysmon/Operational</Channel><Computer>%s</Computer>"
          "<Security UserID='S-1-5-18'/></System><EventData><Data Name='TargetFilename'>%s</Data></EventData></Event>"
          % (i // 3600 % 24, i // 60 % 60, i % 60, i, host, os.urandom(2000).hex()))
PY
}
count() { haechi events --host "$1" --count; }
status() { haechi status --json; }
log() { cat "$TMP/collector.log"; }
ballast() { head -c "$(($1 * 1048576))" /dev/zero >"$TMP/collector/ballast" 2>/dev/null || :; }

cat >"$TMP/haechid.toml" <<'END'
[store]
min_free = "16M"
map = "32M"
END
start_collector collector --config "$TMP/haechid.toml"
enroll A
enroll B
bulky 200 1 A >"$TMP/a1.xml"
send A "$TMP/a1.xml"
same 'before' 200 "$(count A)"

# 1. under the reserve
ballast 34
bulky 200 201 A >"$TMP/a2.xml"
run_bg a2 haechi-agent send --state "$TMP/A" "$TMP/a2.xml"
stuck() { log | grep -q 'free, less than the 16 MiB that stay reserved; .*; nothing is acknowledged, trying again every second'; }
wait_for 10 stuck
contains 'status says so' "$(status | tr -d ' \n')" '"full":true'
haechi status | grep -qi 'full *yes' || fail "status for people does not say it: $(haechi status | grep -i full)"
same 'questions are answered meanwhile' 200 "$(count A)"
is_running a2 || fail "send gave up: $(cat "$TMP/a2.log")"
same 'nothing new is stored' 200 "$(count A)"
rm "$TMP/collector/ballast"
while is_running a2; do sleep 0.1; done
grep -q ' held already' "$TMP/a2.log" || fail "send: $(cat "$TMP/a2.log")"
same 'all came' 400 "$(count A)"
contains 'the log says that it goes on' "$(log)" 'events are stored and acknowledged again'
contains 'and so does status' "$(status | tr -d ' \n')" '"full":false'

# 2. to the last byte: no reserve
stop_collector
sed -i 's/16M/1/' "$TMP/haechid.toml"
start_collector collector --config "$TMP/haechid.toml"
ballast 60
truncate -s -600K "$TMP/collector/ballast" # room for some of it
bulky 600 401 A >"$TMP/a3.xml"
run_bg a3 haechi-agent send --state "$TMP/A" "$TMP/a3.xml"
full() { status | tr -d ' \n' | grep -q '"full":true'; }
wait_for 15 full
held=$(count A)
say "$held events are held when the disk is full"
is_running collector || fail 'the collector ended'
rm "$TMP/collector/ballast"
while is_running a3; do sleep 0.1; done
grep -q ' held already' "$TMP/a3.log" || fail "send: $(cat "$TMP/a3.log")"
same 'all came' 1000 "$(count A)"
same 'no hole' '' "$(haechi ledger --host A --holes)"
# killed while it is full: it starts, and what was acked is there
ballast 60
bulky 200 1001 A >"$TMP/a4.xml"
run_bg a4 haechi-agent send --state "$TMP/A" "$TMP/a4.xml"
wait_for 15 full
kill_collector
rm "$TMP/collector/ballast"
start_collector collector --config "$TMP/haechid.toml"
while is_running a4; do sleep 0.1; done
grep -q ' held already' "$TMP/a4.log" || fail "send: $(cat "$TMP/a4.log")"
same 'all came' 1200 "$(count A)"
same 'no hole' '' "$(haechi ledger --host A --holes)"

# 3. the agent's spool: the collector is away, 16 MiB are not enough
stop_collector
umount "$TMP/collector" 2>/dev/null || skip 'the small file system is busy'
start_collector
enroll C
stop_collector
bulky 9500 1 C >"$TMP/c.xml"
start_agent C 'sources.journal = false' "sources.xml = [\"$TMP/c.xml\"]" 'spool.max = "16M"' 'uplink.retry_min = "1s"' 'uplink.retry_max = "1s"'
spool_full() { haechi-agent status --state "$TMP/C" | grep -q 'FULL: reading waits'; }
wait_for 20 spool_full
grep -qi 'spool.*full' "$TMP/C.log" || fail "the agent's log does not say it: $(cat "$TMP/C.log")"
size=$(du -sk "$TMP/C/spool" | cut -f1)
[ "$size" -le 16500 ] || fail "the spool has $size KiB"
start_collector
arrived() { [ "$(count C)" = 9500 ]; }
wait_for 30 arrived
same 'no hole' '' "$(haechi ledger --host C --holes)"
stop_agent C
