#!/bin/sh
# The Event Log through the Windows service: 20,000 events exactly once with the agent killed and the collector restarted in between,
# then each known fault of the Event Log in turn, and a log that is cleared, wrapped, deleted, or not there yet.
# timeout: 420
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../wine.sh"
need x86_64-w64-mingw32-gcc

CHANNEL=Microsoft-Windows-Sysmon/Operational
wine_prefix
DIR=$WINEPREFIX/drive_c/agent
LOGS=$DIR/channels
LOG=$LOGS/Microsoft-Windows-Sysmon%Operational
STATE=$WINEPREFIX/drive_c/haechi
mkdir -p "$LOGS"
cp "$EXE" "$DIR/haechi-agent.exe"
x86_64-w64-mingw32-gcc -std=gnu11 -Wall -Wextra -Werror -O2 -shared -static-libgcc -D_WIN32_WINNT=0x0A00 -D__USE_MINGW_ANSI_STDIO=1 \
    "$ROOT/tests/fake/wevtapi/wevtapi.c" "$ROOT/tests/fake/wevtapi/wevtapi.def" -s -o "$DIR/wevtapi.dll"

agent() { wine 60 'C:\agent\haechi-agent.exe' "$@"; }
events() { haechi events --host EVT "$@" --count; }
has() { [ "$(events --where "Image ~ made")" -ge "$1" ]; }
count() { events; }
at_least() { [ "$(count)" -ge "$1" ]; }
twice() { haechi events --host EVT --format json | sed 's/.*"channel":"\([^"]*\)","epoch":\([0-9]*\),"record_id":\([0-9]*\).*/\1 \2 \3/' | sort | uniq -d; }
agent_log() { cat "$STATE/agent.log" 2>/dev/null; }
logged() { agent_log | grep -q -e "$1"; }
# $1 more events at the end of the log
next=1
append() {
    head -n $((next + $1 - 1)) "$TMP/all.xml" | tail -n "$1" >>"$LOG"
    next=$((next + $1))
}
inject() {
    : >"$LOGS/injected"
    echo "$1" >"$LOGS/control"
    sleep 0.1
}
injected() { [ "$(grep -c "^$1 " "$LOGS/injected")" -ge "${2:-1}" ]; }

python3 "$ROOT/tests/integration/many_events.py" 40000 EVT >"$TMP/all.xml"
start_collector
agent enroll --token "$(haechi token create | tail -n 1)" --state 'C:\haechi' --name EVT >"$TMP/enroll.log" 2>&1 || fail "enrol: $(cat "$TMP/enroll.log")"
cat >"$DIR/agent.toml" <<CONF
state = "C:/haechi"
[uplink]
retry_max = "1s"
[sources]
channels = ["$CHANNEL", "System: *[System[(EventID=104)]]", "Not-There/Yet"]
CONF

# ---- the service, 20,000 events ----
append 4000
agent service install --config 'C:\agent\agent.toml' --state 'C:\haechi'
refused 'installed already' agent service install
agent service start
refused 'runs already' agent service start
wait_for 60 at_least 4000
wait_for 10 logged 'Not-There/Yet: there is no such channel'
feed() { # in pieces, as a busy host writes
    pieces=$1
    while [ "$pieces" -gt 0 ]; do
        append 400
        sleep 0.1
        pieces=$((pieces - 1))
    done
}
feed 10
for pid in $(wine_pids haechi-agent 2>/dev/null); do kill -KILL "$pid"; done
feed 5
agent service start || { sleep 1; agent service start; }
feed 5
wait_for 60 at_least 9000
kill_collector
feed 10
start_collector
feed 10
for pid in $(wine_pids haechi-agent 2>/dev/null); do kill -KILL "$pid"; done
agent service start || { sleep 1; agent service start; }
wait_for 90 at_least 20000
same 'events' 20000 "$(count)"
same 'ids that are there twice' '' "$(twice)"
same 'holes' '' "$(haechi ledger --host EVT --holes)"
say "20,000 events once, the agent killed twice, the collector once"

# ---- stop in time, and nothing is read again ----
before=$(date +%s%N)
agent service stop
ms=$((($(date +%s%N) - before) / 1000000))
say "stopped in $ms ms"
[ $ms -lt 5000 ] || fail "stopping took $ms ms"
refused 'does not run' agent service stop
append 100
agent service start
wait_for 30 at_least 20100
contains 'its position is kept' "$(cat "$STATE/bookmarks")" 'evtlog:Microsoft-Windows-Sysmon/Operational'

# ---- each fault in turn ----
want=20100
fault() { # CONTROL-LINE KIND TIMES SECONDS [LOGGED]
    inject "$1"
    append 300
    want=$((want + 300))
    wait_for "$4" at_least $want
    injected "$2" "$3" || fail "\"$1\" did not happen: $(cat "$LOGS/injected")"
    [ -z "${5:-}" ] || logged "$5" || fail "\"$1\": the log says nothing of \"$5\""
    same "\"$1\": events" $want "$(count)"
}
fault "next $CHANNEL 259 1" next 1 20
fault "next $CHANNEL 1460 2" next 2 20
fault "next $CHANNEL 0 2" next 2 20
fault "next $CHANNEL 1722 2" next 2 20 'service is not there'
fault "next $CHANNEL 1726" next 1 20 'service went away'
fault "next $CHANNEL 1818" next 1 20 'ended the call'
fault "next $CHANNEL 15011
subscribe $CHANNEL 1722 2" subscribe 2 20
fault "next $CHANNEL 1734 3" next 3 20
fault "next $CHANNEL 4317" next 1 20
fault "next $CHANNEL 15011" next 1 20 'cleared or rolled over'
fault "next $CHANNEL 15012 2" next 2 20 'cleared or rolled over'
fault "next $CHANNEL 15002" next 1 20 'publisher is being updated'
fault "next $CHANNEL 6" next 1 20 'subscription is gone'
fault "next $CHANNEL 31" next 1 20 'error 31'
inject "strict $CHANNEL 3
next $CHANNEL 15011"
append 300
want=$((want + 300))
wait_for 20 at_least $want
injected strict || fail 'strict was not refused'
fault 'render small 3' render 3 20
fault 'render 122 2' render 2 20
fault "silent $CHANNEL" silent 1 40
fault "dead $CHANNEL" dead 1 40 'subscription is dead'
inject "next $CHANNEL 15011
subscribe $CHANNEL 5"
append 300
want=$((want + 300))
wait_for 20 logged 'access is denied'
agent service stop
: >"$LOGS/control" # a new process would begin with the same faults
agent service start
wait_for 20 at_least $want
same 'events after all faults' $want "$(count)"
same 'ids that are there twice, after all faults' '' "$(twice)"
same 'holes after all faults' '' "$(haechi ledger --host EVT --holes)"
say 'each fault in turn: nothing lost, nothing twice'

# ---- a channel that comes later; a query ----
sed -n '1,50p' "$TMP/all.xml" | sed 's|<Channel>[^<]*|<Channel>Not-There/Yet|' >"$LOGS/Not-There%Yet"
sed -n '1,50p' "$TMP/all.xml" | sed 's|<Channel>[^<]*|<Channel>System|; 10s/<EventID>11/<EventID>104/; 40s/<EventID>11/<EventID>104/' >"$LOGS/System"
want=$((want + 52))
wait_for 100 at_least $want
holes() { haechi ledger --host EVT --holes; }
explained() { holes | grep -q -i -e "$1"; }
wait_for 20 explained 'System.*11.*39.*filter'

# ---- what happens to logs ----
: >"$LOGS/control"
cut() { # the records before number $1 are gone
    awk -F'[<>]' -v from="$1" '{ match($0, /<EventRecordID>[0-9]+/); if (substr($0, RSTART + 15, RLENGTH - 15) + 0 >= from) print }' "$LOG" >"$LOG.new"
}
agent service stop
lost=$next
append 100
append 200
cut $((lost + 100))
mv "$LOG.new" "$LOG" # cleared while nobody read: 100 records are gone
want=$((want + 200))
agent service start
wait_for 30 at_least $want
wait_for 20 explained "$lost.*$((lost + 99)).*clear"

# killed as soon as the event behind a hole is there: what the hole is goes with the next start at the latest
agent service stop
lost=$next
append 30
append 40
cut $((lost + 30))
mv "$LOG.new" "$LOG"
want=$((want + 40))
agent service start
wait_for 30 at_least $want
for pid in $(wine_pids haechi-agent 2>/dev/null); do kill -KILL "$pid"; done
agent service start || { sleep 1; agent service start; }
wait_for 20 explained "$lost.*$((lost + 29)).*clear"

agent service stop
lost=$next
append 50
append 100
cut $((lost + 50))
mv "$LOG.new" "$LOG"
echo "size $CHANNEL 67000000 67108864" >"$LOGS/control" # a full log: it has wrapped
want=$((want + 100))
agent service start
wait_for 30 at_least $want
wait_for 20 explained "$lost.*$((lost + 49)).*\(wrap\|overwritten\)"
: >"$LOGS/control"

python3 "$ROOT/tests/integration/many_events.py" 70 EVT 1 1900000000 >"$LOG.new" # deleted while it is read
mv "$LOG.new" "$LOG"
want=$((want + 70))
wait_for 40 at_least $want
same 'a new epoch for the new log' '2: 70' "$(haechi ledger --host EVT --json | grep Sysmon | sed 's/.*"epoch":\([0-9]*\).*"held":\([0-9]*\).*/\1: \2/' | sort | tail -n 1)"
same 'events at the end' $want "$(count)"
same 'ids that are there twice, at the end' '' "$(twice)"

# ---- the state is lost: the collector's position is used, and its epoch ----
agent service stop
rm -r "$STATE/bookmarks" "$STATE/spool"
agent service start
python3 "$ROOT/tests/integration/many_events.py" 90 EVT 1 1900000000 | tail -n 20 >>"$LOG"
want=$((want + 20))
wait_for 40 at_least $want
same 'without bookmarks' $want "$(count)"

pid=$(wine_pids haechi-agent 2>/dev/null | head -n 1)
awk '/^RssAnon/ {anon = $2} /^Threads/ {threads = $2} END {printf "memory: RssAnon %d KiB with %d threads, %d KiB without 1 MiB a thread\n", anon, threads, anon - 1024 * threads}' "/proc/$pid/status"
agent service uninstall
refused 'not installed' agent service start
