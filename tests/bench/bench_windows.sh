#!/bin/sh
# What an event costs the Windows agent, under Wine: CPU of the whole process, TLS, spool and Wine's part of it included, less what a
# program takes that reads the same events with EvtNext and EvtRender and drops them. The least of three rounds each, for what else
# runs takes its share of the caches. `bench_windows.sh [EVENTS [MOST_US]]` fails when it is more than that many µs an event.
BENCH=$(cd "$(dirname "$0")" && pwd)
. "$BENCH/../lib.sh"
command -v x86_64-w64-mingw32-gcc >/dev/null && [ -e "${HAECHI_EXE:-$(dirname "$BIN")/windows/haechi-agent.exe}" ] || {
    echo 'haechi-agent.exe is not built (make setup SETUP="windows wine"; make windows)'
    exit 0
}
. "$BENCH/../wine.sh"
N=${1:-50000}
MOST=${2:-}
CHANNEL=Microsoft-Windows-Sysmon/Operational

# Real events where they are, by time and numbered as those of one host; else made ones.
real=$HAECHI_SHARED/data/bench/sysmon-100k.xml.zst
if [ -e "$real" ] && command -v zstd >/dev/null; then
    zstd -dqc "$real" | grep '<Event ' | sed "s/^.*SystemTime=['\"]\([^'\"]*\).*/\1\t&/" | LC_ALL=C sort -s -k 1,1 | cut -f 2- | head -n "$N" |
        awk -v channel="$CHANNEL" '{
            sub(/<EventRecordID>[0-9]*</, "<EventRecordID>" NR "<")
            sub(/<Computer>[^<]*</, "<Computer>BENCH<")
            sub(/<Channel>[^<]*</, "<Channel>" channel "<")
            print
        }' >"$TMP/events.xml"
else
    python3 "$ROOT/tests/integration/many_events.py" "$N" BENCH >"$TMP/events.xml"
fi
ALL=$(wc -l <"$TMP/events.xml")
N=$((ALL / 3))

# CPU of a process, all threads that there ever were, in ns
cpu_ns() {
    sum=0
    for t in /proc/"$1"/task/*/schedstat; do
        read -r ns rest <"$t" && sum=$((sum + ns))
    done
    echo $sum
}

wine_prefix
x86_64-w64-mingw32-gcc -std=gnu11 -O2 -shared -static-libgcc -D_WIN32_WINNT=0x0A00 -D__USE_MINGW_ANSI_STDIO=1 \
    "$ROOT/tests/fake/wevtapi/wevtapi.c" "$ROOT/tests/fake/wevtapi/wevtapi.def" -s -o "$TMP/wevtapi.dll"
x86_64-w64-mingw32-gcc -std=gnu11 -O2 -D_WIN32_WINNT=0x0A00 "$BENCH/windows_drain.c" -lwevtapi -s -o "$TMP/windows_drain.exe"
for d in agent drain; do
    mkdir -p "$WINEPREFIX/drive_c/$d/channels"
    cp "$TMP/wevtapi.dll" "$WINEPREFIX/drive_c/$d/"
    : >"$WINEPREFIX/drive_c/$d/channels/Microsoft-Windows-Sysmon%Operational"
done
cp "$EXE" "$WINEPREFIX/drive_c/agent/haechi-agent.exe"
cp "$TMP/windows_drain.exe" "$WINEPREFIX/drive_c/drain/"
log() { echo "$WINEPREFIX/drive_c/$1/channels/Microsoft-Windows-Sysmon%Operational"; }

start_collector
wine 60 'C:\agent\haechi-agent.exe' enroll --token "$(haechi token create | tail -n 1)" --state 'C:\state' --name BENCH >"$TMP/enroll.log" 2>&1
printf 'state = "C:/state"\n[sources]\nchannels = ["%s"]\n' "$CHANNEL" >"$WINEPREFIX/drive_c/agent/agent.toml"
wine_bg agent 'C:\agent\haechi-agent.exe' run --config 'C:\agent\agent.toml'
agent=$BG_PID
connected() { haechi hosts --json | grep -q '"connected":true\|"online":true'; }
wait_for 30 connected
sleep 2
come() { [ "$(haechi events --host BENCH --count)" -ge "$1" ]; }
least() { # PROCESS LOG-OF COMMAND: the CPU of that process for N more events, until COMMAND with their number succeeds
    best=
    for round in 1 2 3; do
        before=$(cpu_ns "$1")
        head -n $((round * N)) "$TMP/events.xml" | tail -n "$N" >>"$(log "$2")"
        wait_for 120 "$3" $((round * N))
        ns=$(($(cpu_ns "$1") - before))
        [ -n "$best" ] && [ "$best" -le "$ns" ] || best=$ns
        sleep 0.5
    done
    echo "$best"
}
whole=$(least "$agent" agent come)
end agent KILL

wine_bg drain 'C:\drain\windows_drain.exe' "$CHANNEL" "$N"
wait_for 30 grep -q ready "$TMP/drain.log"
sleep 1
drained() { [ "$(tr -d '\r' <"$TMP/drain.log" | grep -c "^$1\$")" = 1 ]; }
reading=$(least "$BG_PID" drain drained)
awk -v n="$N" -v whole="$whole" -v reading="$reading" -v most="${MOST:-0}" 'BEGIN {
    own = (whole - reading) / n / 1000
    printf "the agent: %.2f µs CPU an event, of which reading and rendering %.2f: its own %.2f\n", whole / n / 1000, reading / n / 1000, own
    exit most > 0 && own > most
}' || fail "more than $MOST µs"
