#!/bin/sh
# --follow shows what arrives, once and at once: without --since from now on, with it behind what is held; a filter holds; events of an
# older time than those shown before come too.
. "$(dirname "$0")/../lib.sh"

many() { python3 "$ROOT/tests/integration/many_events.py" "$@"; }
ids() { sed 's/.*"record_id":\([0-9]*\).*/\1/' "$1" | tr '\n' ' '; }
start_collector
enroll FOLLOW
many 10 FOLLOW >"$TMP/a.xml"
send FOLLOW "$TMP/a.xml"

haechi events --host FOLLOW --follow --format json >"$TMP/new.out" 2>"$TMP/new.err" </dev/null &
echo $! >"$TMP/.pid/new"
haechi events --host FOLLOW --follow --since 2000-01-01 --format json >"$TMP/all.out" 2>"$TMP/all.err" </dev/null &
echo $! >"$TMP/.pid/all"
haechi events --host FOLLOW --follow --where 'Image endswith made3.exe' >"$TMP/some.out" 2>"$TMP/some.err" </dev/null &
echo $! >"$TMP/.pid/some"
sleep 1
many 5 FOLLOW 11 >"$TMP/b.xml"
send FOLLOW "$TMP/b.xml"
lines() { [ "$(wc -l <"$1")" -ge "$2" ]; }
wait_for 5 lines "$TMP/new.out" 5
wait_for 5 lines "$TMP/all.out" 15
many 3 OLDER 1 1500000000 >"$TMP/c.xml"
send FOLLOW "$TMP/c.xml"
wait_for 5 lines "$TMP/new.out" 8
wait_for 5 lines "$TMP/all.out" 18
wait_for 5 lines "$TMP/some.out" 2
sleep 0.3
same 'what arrived' '11 12 13 14 15 1 2 3 ' "$(ids "$TMP/new.out")"
same 'what was held and what arrived' '1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 1 2 3 ' "$(ids "$TMP/all.out")"
contains 'a filter' "$(cat "$TMP/some.out")" 'made3.exe'
same 'a filter: heading and one event' 2 "$(wc -l <"$TMP/some.out")"

# the collector goes down: an error, not a silent end
run_bg watcher haechi events --host FOLLOW --follow
sleep 0.5
kill_collector
gone() { ! is_running watcher; }
wait_for 10 gone
grep -q 'broke off' "$TMP/watcher.log" || fail "no word of it: $(cat "$TMP/watcher.log")"
