#!/bin/sh
# haechi-agent.exe enrols and sends files of both kinds to a collector, and each event is stored once: also when the same
# is sent again, from a second host, and when the agent is killed in the middle and started anew.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../wine.sh"

wine_prefix
STATE='C:\haechi state\ünïcode'
agent() {
    seconds=$1
    shift
    wine "$seconds" "$EXE" "$@"
}

contains "version" "$(agent 60 --version)" haechi-agent
start_collector
token=$(haechi token create | tail -n 1)
agent 60 enroll --token "$token" --state "$STATE" --name WIN1 >"$TMP/enroll.log" 2>&1 || fail "enrolment: $(cat "$TMP/enroll.log")"
dir="$WINEPREFIX/drive_c/haechi state/ünïcode"
[ -s "$dir/identity" ] || fail "no identity in $dir"
[ -s "$dir/key.dpapi" ] || fail "no sealed key in $dir"
! grep -q 'PRIVATE KEY' "$dir"/* 2>/dev/null || fail "the private key lies open"
# what Wine makes of the access list: nothing for others
case $(stat -c %a "$dir") in 7[0-7]0) ;; *) fail "others can read $dir" ;; esac


# ---- files of both kinds, twice ----
count() { haechi events --host "$1" --count; }
send_exe() {
    log=$1
    shift
    agent 120 send --state "$STATE" "$@" >"$TMP/$log.log" 2>&1 || fail "send: $(cat "$TMP/$log.log")"
    say "$(grep '^sent' "$TMP/$log.log")"
}
data=$ROOT/tests/data
made=$(windows_path "$data/evtx/sysmon-made.evtx")
send_exe evtx "$made"
n=$(grep -c '<Event ' "$data/evtx/sysmon-made.xml") || fail "no events in the made file"
same "events of the file" "$n" "$(count WIN1)"
send_exe again "$made"
contains "the second time" "$(cat "$TMP/again.log")" "0 stored"
send_exe xml "$(windows_path "$data/evtx/sysmon-made.xml")"
contains "the same events as XML" "$(cat "$TMP/xml.log")" "0 stored"
same "events after three times" "$n" "$(count WIN1)"
same "holes" '' "$(haechi ledger --host WIN1 --holes)"

# ---- Sysmon under other names: the driver is known by its altitude, the service by the driver, the version by the file ----
cat >"$TMP/sysmon.reg" <<'REG'
Windows Registry Editor Version 5.00

[HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\QuietDrv]
"ImagePath"="\\SystemRoot\\quiet.sys"

[HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\QuietDrv\Instances\Sysmon Instance]
"Altitude"="385201"

[HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\Quiet]
"ImagePath"="\"C:\\windows\\quiet.exe\" -service"

[HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\Quiet\Parameters]
"DriverName"="quietdrv"
REG
cp "$EXE" "$WINEPREFIX/drive_c/windows/quiet.exe"
wine 60 reg import "$(windows_path "$TMP/sysmon.reg")" >"$TMP/import.log" 2>&1 || fail "$(cat "$TMP/import.log")"
wine 60 reg query 'HKLM\SYSTEM\CurrentControlSet\Services\QuietDrv\Instances\Sysmon Instance' /v Altitude >"$TMP/import.log" 2>&1
contains "the registry" "$(cat "$TMP/import.log")" 385201
contains "the system" "$(haechi host show WIN1)" 'Windows 10 10.0.'

# ---- a running agent, killed at four places and started anew ----
python3 "$ROOT/tests/integration/many_events.py" 20000 WIN2 >"$TMP/many.xml"
token=$(haechi token create | tail -n 1)
agent 60 enroll --token "$token" --state 'C:\WIN2' --name WIN2 >"$TMP/enroll2.log" 2>&1 || fail "$(cat "$TMP/enroll2.log")"
{
    echo 'state = "C:/WIN2"'
    echo '[sources]'
    echo 'channels = []'
    echo "xml = [\"Z:$TMP/many.xml\"]"
} >"$TMP/agent.toml"
sessions=0
is_there() { [ "$(grep -c 'host WIN2 at .*: agent ' "$TMP/collector.log")" -ge $sessions ]; }
start() { # until it is connected: Wine's server was seen gone after agents were killed while they started
    wine_bg agent "$EXE" run --config "$(windows_path "$TMP/agent.toml")"
    sessions=$((sessions + 1))
    wait_for 60 is_there
}
more_than() { [ "$(count WIN2)" -gt "$1" ]; }
for least in 0 3000 8000 14000; do
    start
    wait_for 60 more_than $least
    end agent KILL
    say "killed at $(count WIN2) events"
done
# nothing else holds the state: send says so where it has to, and works beside
start
all_there() { [ "$(count WIN2)" -ge 20000 ]; }
wait_for 60 all_there
version=$(agent 60 --version | tr -d '\r' | sed 's/.* \([0-9]*\.[0-9]*\).*/\1/')
shown=$(haechi host show WIN2 | grep -A 4 '^Sysmon')
contains "Sysmon's version" "$shown" "$version"
contains "its service and driver" "$shown" 'Quiet, driver QuietDrv'
# Wine's own cost: about 1 MB for each thread
threads=$(awk '/^Threads/ {print $2}' "/proc/$BG_PID/status")
anon_kb=$(awk '/^RssAnon/ {print $2}' "/proc/$BG_PID/status")
say "running: $threads threads, $anon_kb KB anonymous memory, $((anon_kb - 1024 * threads)) KB without Wine's for threads"
[ "$threads" -le 6 ] || fail "$threads threads, more than 6"
[ $((anon_kb - 1024 * threads)) -le 8192 ] || fail "more than 8 MB of memory"
agent 60 status --state 'C:\WIN2' >"$TMP/status.log" 2>&1 || fail "status: $(cat "$TMP/status.log")"
contains "status" "$(cat "$TMP/status.log")" "WIN2"
agent 60 run --config "$(windows_path "$TMP/agent.toml")" >"$TMP/second.log" 2>&1 && fail "two agents run with one state"
contains "the second agent" "$(cat "$TMP/second.log")" "another haechi-agent is running"
kill_collector
start_collector
send_exe beside "$made"
end agent KILL
same "events of WIN2" 20000 "$(count WIN2)"
same "events of WIN1" "$n" "$(count WIN1)"
same "holes of WIN2" '' "$(haechi ledger --host WIN2 --holes)"
same "record ids of WIN2" 20000 "$(haechi events --host WIN2 --format json |
    sed -n 's/.*"record_id":\([0-9]*\).*/\1/p' | sort -u | wc -l)"

# ---- a sealed key that was changed is refused in words, and stays where it is ----
cp "$dir/key.dpapi" "$TMP/key"
python3 -c 'import sys; f = open(sys.argv[1], "r+b"); f.seek(-20, 2); f.write(b"haechi")' "$dir/key.dpapi"
agent 60 send --state "$STATE" "$made" >"$TMP/changed.log" 2>&1 && fail "a damaged key is used"
contains "a damaged key" "$(cat "$TMP/changed.log")" "enrol this host anew"
cat "$TMP/key" >"$dir/key.dpapi"
send_exe mended "$made"
