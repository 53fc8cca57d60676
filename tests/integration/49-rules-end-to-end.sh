#!/bin/bash
# From a push to loaded rules and back: 200 simulated hosts, a real Linux agent and, where Wine is, a real Windows agent whose Sysmon was
# renamed, against stand-ins for Sysmon that take rules, refuse them, and lie; drift is seen and healed; status says the truth of each.
# timeout: 420
. "$(dirname "$0")/../lib.sh"

WITH_WINDOWS=
if [ -e "${HAECHI_EXE:-$(dirname "$BIN")/windows/haechi-agent.exe}" ] && dpkg -s wine64 >/dev/null 2>&1; then
    . "$(dirname "$0")/../wine.sh"
    WITH_WINDOWS=yes
fi

printf '[session]\nheartbeat = "1s"\n' >"$TMP/haechid.toml"
start_collector collector --config "$TMP/haechid.toml"

# ---- 200 hosts that are not there ----
run_bg fleet haechi-load --state "$TMP/fleet.state" --collector "127.0.0.1:$COLLECTOR_PORT" --hold --seconds 600 --quiet --json --rules-delay 200 \
    --file "$ROOT/tests/data/demo/demo.xml" --agents 200 --at-once 16 --token "$(haechi token create --uses 200 --group many)" --prefix many

# ---- a Linux host ----
SYSMON=$TMP/sysmon
mkdir -m 700 "$SYSMON"
gcc -std=gnu11 -Wall -Wextra -Werror -O1 -I"$ROOT/agent" -I"$ROOT/proto" -I"$ROOT/proto/base" "$ROOT"/tests/fake/sysmon/*.c \
    "$ROOT/agent/filehash.c" -o "$SYSMON/sysmon"
linux() { printf '%s\n' "events $TMP/events.log" "$@" >"$SYSMON/sysmon.control"; }
linux
: >"$TMP/events.log"
run_bg sysmon "$SYSMON/sysmon" -i "$SYSMON/config.xml" -service
enroll LINUX "$(haechi token create --group real | tail -n 1)" >/dev/null
start_agent LINUX 'sources.journal = false' "sources.syslog = [\"$TMP/events.log\"]" 'sources.unproven = true' "sysmon.directory = \"$SYSMON\"" \
    'uplink.retry_max = "1s"' 'rules.apply_limit = "10s"' 'rules.proof_limit = "5s"' 'rules.check_every = "1s"'
REAL=1

# ---- a Windows host ----
windows() { :; }
if [ -n "$WITH_WINDOWS" ]; then
    REAL=2
    wine_prefix
    DIR=$WINEPREFIX/drive_c/agent
    mkdir -p "$DIR/channels"
    : >"$DIR/channels/Microsoft-Windows-Sysmon%Operational"
    cp "$EXE" "$DIR/haechi-agent.exe"
    x86_64-w64-mingw32-gcc -std=gnu11 -O2 -shared -static-libgcc -D_WIN32_WINNT=0x0A00 -D__USE_MINGW_ANSI_STDIO=1 \
        "$ROOT/tests/fake/wevtapi/wevtapi.c" "$ROOT/tests/fake/wevtapi/wevtapi.def" -s -o "$DIR/wevtapi.dll"
    x86_64-w64-mingw32-windres -DMAJOR=15 -DMINOR=15 -O coff "$ROOT/tests/fake/sysmon/sysmon.rc" "$TMP/sysmon.res"
    x86_64-w64-mingw32-gcc -std=gnu11 -O1 -D_WIN32_WINNT=0x0A00 -D__USE_MINGW_ANSI_STDIO=1 -static-libgcc -I"$ROOT/agent" -I"$ROOT/proto" \
        -I"$ROOT/proto/base" "$ROOT"/tests/fake/sysmon/*.c "$ROOT/agent/filehash.c" "$TMP/sysmon.res" -s -o "$WINEPREFIX/drive_c/windows/quiet.exe"
    windows() {
        printf '%s\n' 'events C:\agent\channels\Microsoft-Windows-Sysmon%Operational' 'driver QuietDrv' "$@" \
            >"$WINEPREFIX/drive_c/windows/sysmon.control"
    }
    windows
    DRIVER='HKLM\SYSTEM\CurrentControlSet\Services\QuietDrv'
    wine 60 reg add "$DRIVER\\Instances\\Sysmon Instance" /v Altitude /t REG_SZ /d 385201 /f >/dev/null 2>&1
    wine 60 sc create Quiet 'binPath=' 'C:\windows\quiet.exe -service' >/dev/null 2>&1 || fail 'no service'
    wine 60 reg add 'HKLM\SYSTEM\CurrentControlSet\Services\Quiet\Parameters' /v DriverName /t REG_SZ /d QuietDrv /f >/dev/null 2>&1
    wine 60 sc start Quiet >/dev/null 2>&1 || fail 'the service does not start'
    wine 60 'C:\agent\haechi-agent.exe' enroll --token "$(haechi token create --group real | tail -n 1)" --state 'C:\haechi' --name WINDOWS \
        >"$TMP/enroll.log" 2>&1 || fail "enrol: $(cat "$TMP/enroll.log")"
    printf '%s\n' 'state = "C:/haechi"' '[uplink]' 'retry_max = "1s"' '[sources]' 'channels = ["Microsoft-Windows-Sysmon/Operational"]' \
        '[rules]' 'apply_limit = "20s"' 'proof_limit = "10s"' 'check_every = "1s"' >"$DIR/agent.toml"
    wine_bg agent 'C:\agent\haechi-agent.exe' run --config 'C:\agent\agent.toml'
else
    say 'without a Windows host: Wine, or haechi-agent.exe (make windows), is not here'
fi
up() { test "$(haechi hosts --json | grep -c '"takes_rules":true')" = $((200 + REAL)); }
wait_for 90 up

configuration() { # N
    cat <<XML
<Sysmon schemaversion="4.50">
  <EventFiltering>
    <RuleGroup name="" groupRelation="or">
      <ProcessCreate onmatch="include"><Image condition="is">C:\\revision-$1.exe</Image></ProcessCreate>
    </RuleGroup>
  </EventFiltering>
</Sysmon>
XML
}
for n in 1 2 3 4; do configuration $n >"$TMP/base-$n.xml"; done
push() { # N OPTION...: sets ID
    n=$1
    shift
    haechi rules push "$TMP/base-$n.xml" --name base --canary "$@" >"$TMP/push.out" 2>"$TMP/push.err" || PUSH_CODE=$?
    ID=$(sed -n 's/^rollout \([0-9]*\) to group.*/\1/p' "$TMP/push.out")
    [ -n "$ID" ] || fail "push $n: $(cat "$TMP/push.out" "$TMP/push.err")"
}
is() { haechi rules status "$ID" | grep -qE "^state  *$1\$"; }
has() { haechi host show "$1" | grep -q "$2" || { haechi host show "$1" && return 1; }; }
real_hosts() { [ -z "$WITH_WINDOWS" ] && echo LINUX || echo LINUX WINDOWS; }

say '== everybody'
push 1 --group default --waves 5,25,100 --wait 1s --timeout 60s --follow
is done || fail "$(haechi rules status "$ID")"
same 'hosts that have loaded it' $((200 + REAL)) "$(haechi hosts --rules loaded --json | wc -l | tr -d ' ')"
for h in $(real_hosts); do has "$h" 'words, event 16, copy, canary'; done
contains 'what the agent says' "$(haechi-agent status --state "$TMP/LINUX")" 'base revision 1, loaded'
contains 'in force' "$(cat "$SYSMON/config.xml")" 'revision-1.exe'

say '== refused, and rolled back by itself'
linux 'behave refuse-libxml2'
windows 'behave drop-field'
push 2 --group real --waves 100 --timeout 60s --auto-rollback
failed() { haechi rules status "$ID" | grep -q 'validity error'; }
wait_for 40 failed
[ -z "$WITH_WINDOWS" ] || wait_for 40 has WINDOWS 'Incorrect field NewName'
linux
windows
wait_for 60 is 'rolled back'
for h in $(real_hosts); do wait_for 60 has "$h" 'shall have *base@1'; done
loaded_again() { [ "$(haechi hosts --group real --rules loaded --json | wc -l | tr -d ' ')" = $REAL ]; }
wait_for 60 loaded_again
contains 'in force' "$(cat "$SYSMON/config.xml")" 'revision-1.exe'

say '== a lie is no loaded ruleset'
linux 'behave lie'
windows 'behave lie-16'
push 3 --group real --waves 100 --timeout 60s
wait_for 60 is halted
for h in $(real_hosts); do wait_for 40 has "$h" "the system's copy of the rules is not theirs"; done
linux
windows
push 4 --group real --waves 100 --timeout 60s --follow
is done || fail "$(haechi rules status "$ID")"
wait_for 30 loaded_again

say '== drift, and healing'
sed 's/revision-4/mallory/' "$SYSMON/config.xml" >"$TMP/mallory.xml"
cp "$TMP/mallory.xml" "$SYSMON/config.xml"
wait_for 20 has LINUX 'drifted'
[ -z "$WITH_WINDOWS" ] || wine 60 reg add "$DRIVER\\Parameters" /v Rules /t REG_BINARY /d 00112233 /f >/dev/null 2>&1
[ -z "$WITH_WINDOWS" ] || wait_for 20 has WINDOWS 'drifted'
haechi group set real --heal yes >/dev/null
wait_for 60 loaded_again
contains 'healed' "$(cat "$SYSMON/config.xml")" 'revision-4.exe'
"$SYSMON/sysmon" -c "$TMP/mallory.xml" >/dev/null
wait_for 20 has LINUX 'drifted'
wait_for 90 loaded_again
same 'the others' 200 "$(haechi hosts --group many --rules loaded --json | wc -l | tr -d ' ')"
[ -z "$WITH_WINDOWS" ] || for pid in $(wine_pids haechi-agent 2>/dev/null); do kill -KILL "$pid"; done
say "all of it in $SECONDS s"
