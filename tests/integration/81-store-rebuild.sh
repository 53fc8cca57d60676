#!/bin/sh
# Derived data can go at any time: haechid --rebuild, index/ removed by hand, index/ damaged: the answers (events, trees, ledger, hosts) are the
# same as before.
. "$(dirname "$0")/../lib.sh"
need python3
demo=$ROOT/tests/data/demo/demo.xml
start_collector
enroll A
enroll B
send A "$demo" "$ROOT/tests/data/evtx/sysmon-made.evtx" "$ROOT/tests/data/evtx/odd-made.evtx"
python3 "$ROOT/tests/integration/many_events.py" 5000 B >"$TMP/b.xml"
send B "$TMP/b.xml"
guid=$(haechi events --host A --id 1 --where 'Image endswith \rundll32.exe' --format json | sed -n 's/.*"ProcessGuid":"\({[^}]*}\)".*/\1/p' | head -n 1)
[ -n "$guid" ] || fail 'no process in the sample'

answers() { # everything that a person may ask
    for h in A B; do
        haechi events --host $h --format xml
        haechi events --host $h --format json --reverse
        haechi events --host $h --guid "$guid" --format json
        haechi events --host $h --id 1,3,11 --count
        haechi ledger --host $h --json
    done
    haechi tree --host A --guid "$guid" --format json
    haechi events --host B --where 'Image endswith made7.exe' --count
}
answers >"$TMP/before"
same 'lines of the tree' 1 "$([ "$(haechi tree --host A --guid "$guid" | wc -l)" -gt 2 ] && echo 1)"
check() {
    answers >"$TMP/after"
    cmp -s "$TMP/before" "$TMP/after" || fail "$1: other answers: $(diff "$TMP/before" "$TMP/after" | head -n 5 | cut -c 1-300)"
}
check 'asked again'
stop_collector
same 'orderly stop' 0 "$END_CODE"
start_collector
check 'after a restart'
stop_collector
start_collector collector --rebuild
grep -q 'building derived data anew' "$TMP/collector.log" || fail 'the log does not tell of the rebuild'
check 'rebuilt'
stop_collector
rm -rf "$TMP/collector/index"
start_collector
check 'index removed'
sleep 1
check 'index removed, a moment later'
stop_collector
for f in "$TMP"/collector/index/*/data.mdb; do head -c 50000 /dev/urandom >"$f"; done
start_collector
sleep 1
check 'index damaged'
kill_collector
start_collector collector --rebuild
check 'killed, then rebuilt'
