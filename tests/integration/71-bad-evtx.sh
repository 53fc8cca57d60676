#!/bin/sh
# A damaged .evtx gives every readable record, and one clear line for each thing that was skipped; the good file closes the holes.
. "$(dirname "$0")/../lib.sh"
need python3
damage() { python3 "$ROOT/tests/integration/damage.py" "$@"; }
made=$ROOT/tests/data/evtx/sysmon-made.evtx
damage chunks "$made" 5 "$TMP/good.evtx"
count() { haechi events --host "$1" --count; }

start_collector
enroll GOOD
send GOOD "$TMP/good.evtx"
all=$(count GOOD)
each=$((all / 5))
[ $((each * 5)) = "$all" ] && [ "$each" -gt 1 ] || fail "the made log has $all events"
same 'holes of the good one' '' "$(haechi ledger --host GOOD --holes)"

# HOW WANTED LINE [WHERE]: sent and imported to hosts of their own
check() {
    name=$(echo "$1$4" | tr a-z A-Z)
    damage "$1" "$TMP/good.evtx" "$TMP/$name.evtx" $4
    enroll "$name" >/dev/null
    send "$name" "$TMP/$name.evtx" >"$TMP/$name.out" 2>"$TMP/$name.err" || fail "$name: $(cat "$TMP/$name.err")"
    same "$name: events" "$2" "$(count "$name")"
    lines=1
    [ -n "$3" ] || lines=0
    same "$name: lines ($(cat "$TMP/$name.err"))" $lines "$(wc -l <"$TMP/$name.err")"
    grep -qE -e "$3" "$TMP/$name.err" || [ -z "$3" ] || fail "$name: no \"$3\" in: $(cat "$TMP/$name.err")"
    [ -z "$3" ] || contains "$name: the sum" "$(cat "$TMP/$name.out")" '1 damaged parts'
    haechi import --host "$name" "$TMP/$name.evtx" >"$TMP/$name.out" 2>"$TMP/$name.err" || :
    contains "$name: import reads the same" "$(cat "$TMP/$name.out")" "$2 events of 1 file: 0 stored, $2 held already"
    [ -z "$3" ] || grep -qE -e "$3" "$TMP/$name.err" || fail "$name: import says not \"$3\""
}
check head "$all" '' ''
check chunk $((all - each)) 'chunk at byte 135168: .*65536 bytes skipped' 2
check cut $((all - each)) 'the file is cut off: of the 5 chunks that its header counts 4 are there' $((4096 + 4 * 65536))
check cut $((all - each)) "chunk at byte 266240: .*the file ends inside a chunk's header; 200 bytes skipped" $((4096 + 4 * 65536 + 200))
check flip "$all" 'chunk at byte 4096: .*checksum of the chunk.s header' $((4096 + 40))
# the size of a chunk's first record: beside the checksum's line, one says which record is lost
damage flip "$TMP/good.evtx" "$TMP/size.evtx" $((4096 + 65536 + 512 + 5))
enroll SIZE
send SIZE "$TMP/size.evtx" 2>"$TMP/size.err"
same 'a damaged size: events' $((all - 1)) "$(count SIZE)"
same 'a damaged size: lines' 2 "$(wc -l <"$TMP/size.err")"
grep -q 'chunk at byte 69632: record 107, byte 512 of the chunk: the size of the record is damaged; 3472 bytes skipped' "$TMP/size.err" || fail "$(cat "$TMP/size.err")"

same 'the hole' 1 "$(haechi ledger --host CHUNK2 --holes | grep -c open)"
send CHUNK2 "$TMP/good.evtx"
same 'the good file closes it' '' "$(haechi ledger --host CHUNK2 --holes)"
same 'all are there once' "$all" "$(count CHUNK2)"

# what is no log at all is said by name, and does not keep the others from being sent
echo 'not a log' >"$TMP/text.evtx"
: >"$TMP/empty.evtx"
enroll LAST
refused 'text.evtx: no event was found in it' send LAST "$TMP/text.evtx" "$TMP/good.evtx"
same 'the file behind it' "$all" "$(count LAST)"
refused 'text.evtx: no event was found in it' haechi import --host LAST "$TMP/text.evtx"
refused 'cannot open .*/nothing.evtx: No such file' send LAST "$TMP/nothing.evtx"
send LAST "$TMP/empty.evtx"
