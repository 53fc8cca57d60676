#!/bin/sh
# deploy/demo.sh runs through, shows the whole path, and leaves neither a process nor a folder; KEEP=1 leaves what it says; a log of one's own
# works; what is no log fails and leaves nothing either.
. "$(dirname "$0")/../lib.sh"
mkdir "$TMP/t"
demo() { env HAECHI_BIN="$BIN" TMPDIR="$TMP/t" "$@" sh "$ROOT/deploy/demo.sh" >"$TMP/demo.out" 2>&1; }
running() { # processes that were started in the demo's folder
    for p in /proc/[0-9]*; do
        tr '\0' ' ' <"$p/cmdline" 2>/dev/null | grep -q "$TMP/t" && echo "${p#/proc/}"
    done || :
}
began=$(date +%s)
demo A=1 || fail "$(tail -n 20 "$TMP/demo.out")"
say "took $(($(date +%s) - began)) s"
out=$(cat "$TMP/demo.out")
contains 'hosts' "$out" 'DEMO-PC'
contains 'events' "$out" 'sent 60 events of 1 file'
contains 'ledger' "$out" 'received 60 of 60'
contains 'tree' "$out" 'rundll32.exe'
contains 'how to go on' "$out" 'KEEP=1'
same 'processes' '' "$(running)"
same 'folders' '' "$(ls -A "$TMP/t")"

demo EVTX="$ROOT/tests/data/evtx/sysmon-made.evtx" || fail "EVTX=: $(tail -n 20 "$TMP/demo.out")"
contains 'a log of one'"'"'s own' "$(cat "$TMP/demo.out")" 'sysmon-made.evtx'
same 'folders' '' "$(ls -A "$TMP/t")"

echo 'no log' >"$TMP/nothing.txt"
demo EVTX="$TMP/nothing.txt" && fail 'what is no log was taken'
demo EVTX="$TMP/absent.evtx" && fail 'an absent file was taken'
contains 'says so' "$(cat "$TMP/demo.out")" 'cannot read'
same 'processes' '' "$(running)"
same 'folders' '' "$(ls -A "$TMP/t")"

demo KEEP=1 || fail "KEEP=1: $(tail -n 20 "$TMP/demo.out")"
pid=$(sed -n 's/^To end it: *kill \([0-9]*\);.*/\1/p' "$TMP/demo.out")
[ -n "$pid" ] || fail 'it does not say how to end it'
echo "$pid" >"$TMP/.pid/kept"
api=$(sed -n 's/^ *export HAECHI_API=//p' "$TMP/demo.out")
haechi --api "$api" hosts | grep -q DEMO-PC || fail 'the collector that was kept does not answer'
end kept
