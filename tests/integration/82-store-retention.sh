#!/bin/sh
# Retention by age and by size removes whole days of arrival, the oldest first, never the newest; questions and ledger stay right, and what was
# held is not stored again.
. "$(dirname "$0")/../lib.sh"
need python3
DAY=86400
many() { python3 "$ROOT/tests/integration/many_events.py" "$@"; }
count() { haechi events --host A --count; }
days() { ls "$TMP/collector/events" | tr '\n' ' ' | sed 's/ $//'; }
on_day() { # N [OPTION...]: the collector N days from now
    COLLECTOR_ENV="HAECHI_TEST_CLOCK_S=$(($1 * DAY))"
    shift
    start_collector collector "$@"
}
first=$(date -u +%Y-%m-%d)
on_day 0
enroll A
for i in 0 1 2 3; do
    [ $i = 0 ] || on_day $i
    many 1000 A $((i * 1000 + 1)) $((1764000000 + i * 1000)) >"$TMP/$i.xml"
    send A "$TMP/$i.xml" 2>/dev/null
    stop_collector
done
set -- $(days)
same 'days' 4 $#
on_day 3
same 'over all days' 4000 "$(count)"
same 'in order' "$(haechi events --host A --format json | sed 's/.*"record_id":\([0-9]*\).*/\1/')" "$(seq 4000)"
ledger=$(haechi ledger --host A --json)
contains 'the ledger' "$(haechi ledger --host A)" 'received 4000 of 4000'
stop_collector

printf '[retention]\ndays = 2\n' >"$TMP/age.toml"
on_day 3 --config "$TMP/age.toml"
gone() { grep -q 'retention removed' "$TMP/collector.log"; }
wait_for 12 gone
left=$(count)
say "by age: $left events on $(days)"
[ ! -e "$TMP/collector/events/$1" ] || fail "$1 is still there"
[ ! -e "$TMP/collector/index/$1" ] || fail "the index of $1 is still there"
[ -e "$TMP/collector/events/$4" ] || fail "the newest day is gone"
same 'whole days' 0 $((left % 1000))
same 'the newest ones are left' "$(seq $((4001 - left)) 4000)" "$(haechi events --host A --format json | sed 's/.*"record_id":\([0-9]*\).*/\1/')"
contains 'audit' "$(haechi audit --json)" '"action":"retention.expire"'
same 'the ledger' "$ledger" "$(haechi ledger --host A --json)"
send A "$TMP/0.xml" 2>/dev/null
same 'what was held is not stored again' "$left" "$(count)"
stop_collector

# by size: room for about the newest day
bytes=$(($(du -sb "$TMP/collector/events" "$TMP/collector/index" | awk '{n += $1} END {print n}') / $(days | wc -w)))
printf '[retention]\nbytes = "%s"\n' "$((bytes + 10000))" >"$TMP/size.toml"
before=$(days)
: >"$TMP/collector.log"
on_day 3 --config "$TMP/size.toml"
wait_for 12 gone
say "by size: $(count) events on $(days)"
contains 'the newest day stays' "$(days)" "$4"
[ "$(days | wc -w)" -lt "$(echo "$before" | wc -w)" ] || fail 'nothing was removed'
same 'answers' "$(count)" "$(haechi events --host A --format json | wc -l)"
stop_collector
# and never the last one
printf '[retention]\nbytes = "1K"\ndays = 1\n' >"$TMP/none.toml"
on_day 30 --config "$TMP/none.toml"
sleep 7
contains 'the newest day stays' "$(days)" "$4"
send A "$TMP/3.xml" 2>/dev/null || :
same 'day one' "$first" "$1"
