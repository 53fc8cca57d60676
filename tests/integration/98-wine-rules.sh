#!/bin/bash
# Rules on Windows: a Sysmon that was renamed is found by its altitude and given them; its words, event 16, the registry and the canary prove
# them; refusals, lies and hanging are told; a registry write is seen and healed; another version is given them anew.
# timeout: 420
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../wine.sh"
need x86_64-w64-mingw32-gcc x86_64-w64-mingw32-windres openssl python3

wine_prefix
DIR=$WINEPREFIX/drive_c/agent
WORK=$TMP/work
LOGS=$DIR/channels
LOG=$LOGS/Microsoft-Windows-Sysmon%Operational
STATE=$WINEPREFIX/drive_c/haechi
WINDOWS=$WINEPREFIX/drive_c/windows
mkdir -p "$LOGS" "$WORK"
: >"$LOG"
cp "$EXE" "$DIR/haechi-agent.exe"
x86_64-w64-mingw32-gcc -std=gnu11 -O2 -shared -static-libgcc -D_WIN32_WINNT=0x0A00 -D__USE_MINGW_ANSI_STDIO=1 \
    "$ROOT/tests/fake/wevtapi/wevtapi.c" "$ROOT/tests/fake/wevtapi/wevtapi.def" -s -o "$DIR/wevtapi.dll"
build_sysmon() { # MAJOR MINOR FILE
    x86_64-w64-mingw32-windres -DMAJOR="$1" -DMINOR="$2" -O coff "$ROOT/tests/fake/sysmon/sysmon.rc" "$TMP/sysmon.res"
    x86_64-w64-mingw32-gcc -std=gnu11 -Wall -Wextra -Werror -O1 -D_WIN32_WINNT=0x0A00 -D__USE_MINGW_ANSI_STDIO=1 -static-libgcc \
        -I"$ROOT/agent" -I"$ROOT/proto" -I"$ROOT/proto/base" "$ROOT"/tests/fake/sysmon/*.c "$ROOT/agent/filehash.c" "$TMP/sysmon.res" -s -o "$3"
}
build_sysmon 15 15 "$WINDOWS/quiet.exe"
build_sysmon 15 20 "$TMP/quiet-15.20.exe"

PARAMETERS='HKLM\SYSTEM\CurrentControlSet\Services\QuietDrv\Parameters'
cat >"$TMP/sysmon.reg" <<'REG'
Windows Registry Editor Version 5.00

[HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\QuietDrv]
"ImagePath"="\\SystemRoot\\quiet.sys"

[HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\QuietDrv\Instances\Sysmon Instance]
"Altitude"="385201"
REG
control() { # LINE...
    { printf '%s\n' 'events C:\agent\channels\Microsoft-Windows-Sysmon%Operational' 'driver QuietDrv' "$@"; } >"$WINDOWS/sysmon.control"
}
control
wine 60 reg import "$(windows_path "$TMP/sysmon.reg")" >/dev/null 2>&1 || fail 'the registry was not written'
wine 60 sc create Quiet 'binPath=' 'C:\windows\quiet.exe -service' >/dev/null 2>&1 || fail 'no service'
wine 60 reg add 'HKLM\SYSTEM\CurrentControlSet\Services\Quiet\Parameters' /v DriverName /t REG_SZ /d QuietDrv /f >/dev/null 2>&1
wine 60 sc start Quiet >/dev/null 2>&1 || fail 'the service does not start'

rules() { # NAME [COMMENT]
    cat <<XML
<Sysmon schemaversion="4.50">
  <!-- ${2:-} -->
  <EventFiltering>
    <RuleGroup name="" groupRelation="or">
      <ProcessCreate onmatch="include">
        <CommandLine name="$1" condition="contains">haechi-canary</CommandLine>
      </ProcessCreate>
    </RuleGroup>
  </EventFiltering>
</Sysmon>
XML
}
serial=0
offer() { # RULESET [WORD...]
    serial=$((serial + 1))
    ruleset=$1
    shift
    [ -e "$WORK/$ruleset.xml" ] || rules "$ruleset" >"$WORK/$ruleset.xml"
    echo "serial=$serial name=$ruleset revision=1 file=$WORK/$ruleset.xml $*" >>"$WORK/offers"
}
last() { grep '^status ' "$WORK/statuses" | tail -n 1; }
is_now() { case $(last) in *"serial=$serial "*" state=$1 "*) ;; *) last && return 1 ;; esac }
becomes() { wait_for "${2:-60}" is_now "$1"; }
reason() { last | sed 's/.*reason="\([^"]*\)".*/\1/'; }

# ---- a host, and a collector that says what we want ----
start_collector
wine 60 'C:\agent\haechi-agent.exe' enroll --token "$(haechi token create | tail -n 1)" --state 'C:\haechi' --name WIN >"$TMP/enroll.log" 2>&1 ||
    fail "enrol: $(cat "$TMP/enroll.log")"
stop_collector
run_bg peer python3 "$ROOT/tests/integration/rules_peer.py" "$COLLECTOR_PORT" "$TMP/collector/ca" "$WORK"
wait_for 10 grep -q listening "$TMP/peer.log"
cat >"$DIR/agent.toml" <<CONF
state = "C:/haechi"
[uplink]
retry_max = "1s"
[sources]
channels = ["Microsoft-Windows-Sysmon/Operational"]
[rules]
apply_limit = "15s"
proof_limit = "10s"
check_every = "1s"
CONF
wine_bg agent 'C:\agent\haechi-agent.exe' run --config 'C:\agent\agent.toml'
wait_for 30 grep -q '^hello none' "$WORK/statuses"

# ---- taken ----
offer base
becomes loaded
contains 'evidence words, event 16, copy' "$(last)" 'evidence=7 '
contains 'words' "$(last)" 'Configuration updated.'
find "$STATE/rules" -name '*.xml' -exec cmp {} "$WORK/base.xml" \; || fail 'other rules lie on disk'
offer canaried canary=canaried
becomes loaded
contains 'evidence with the canary' "$(last)" 'evidence=15 '
rules canaried 'a comment makes no other rules' >"$WORK/commented.xml"
offer commented
becomes loaded
offer canaried # the same file again
becomes loaded
control 'hash MD5,SHA1,SHA256'
offer hashes
becomes loaded
control 'behave utf16'
offer wide
becomes loaded
contains 'words' "$(last)" 'Configuration updated.'
pid=$(wine_pids haechi-agent | head -n 1)
threads=$(awk '/^Threads/ {print $2}' "/proc/$pid/status")
say "$threads threads"
[ "$threads" -le 6 ] || fail "$threads threads, more than 6"

# ---- not taken ----
not_taken() { # NAME REASON CONTROL-LINE...
    what=$1 why=$2
    shift 2
    control "$@"
    offer "$what"
    becomes failed 60
    case $(reason) in *"$why"*) ;; *) fail "$what: no \"$why\" in: $(reason)" ;; esac
    say "$what: $(reason)"
}
not_taken msxml "Element 'Proces' is unexpected" 'behave refuse-msxml'
not_taken libxml2 'validity error' 'behave refuse-libxml2'
not_taken dropped 'Incorrect field NewName' 'behave drop-field'
contains 'words with the success' "$(last)" 'Configuration updated.'
not_taken rights 'has not the rights' 'behave not-elevated'
not_taken driver 'its driver is not reachable' 'behave no-driver'
not_taken silent "without 'Configuration updated.'" 'behave silent'
not_taken crash 'Sysmon crashed (exception 0xc0000005)' 'behave crash'
not_taken lie "the system's copy of the rules is not theirs; no event 16" 'behave lie'
not_taken lie16 "the system's copy of the rules is not theirs" 'behave lie-16'
not_taken hang 'did not end within 15 s' 'behave hang'
control

# ---- drift ----
offer good heal=1
becomes loaded
wine 60 reg add "$PARAMETERS" /v Rules /t REG_BINARY /d 00112233 /f >/dev/null 2>&1
becomes drifted
contains 'a registry write' "$(reason)" 'has changed; no event 16 tells who did it'
becomes loaded
offer watched
becomes loaded
wine 60 reg add "$PARAMETERS" /v FieldSizes /t REG_SZ /d CommandLine:1 /f >/dev/null 2>&1 # the rules are ours, their events say nothing
becomes drifted
contains 'other settings' "$(reason)" 'settings beside the rules have changed'
wine 60 reg delete "$PARAMETERS" /v FieldSizes /f >/dev/null 2>&1
becomes loaded
rules mallory >"$WINEPREFIX/drive_c/mallory.xml"
wine 60 'C:\windows\quiet.exe' -c 'C:\mallory.xml' >/dev/null 2>&1
becomes drifted
told_who() { case $(reason) in *'event 16 at '*'mallory.xml'*'S-1-5-21-1-2-3-500'*) ;; *) reason && return 1 ;; esac }
wait_for 10 told_who

# ---- stopped, and replaced by another version ----
offer version heal=1
becomes loaded
wine 60 sc stop Quiet >/dev/null 2>&1
becomes failed
contains 'stopped' "$(reason)" 'Sysmon (Quiet) is stopped'
sleep 1
cp --remove-destination "$TMP/quiet-15.20.exe" "$WINDOWS/quiet.exe"
control 'version 15.20'
wine 60 sc start Quiet >/dev/null 2>&1
becomes loaded 60
case $(grep "^status serial=$serial " "$WORK/statuses" | sed 's/.* state=\([a-z]*\) .*/\1/' | tr '\n' ' ') in
*'failed applied loaded ') ;;
*) fail "a new version was not given them again: $(grep "^status serial=$serial " "$WORK/statuses")" ;;
esac
for pid in $(wine_pids haechi-agent 2>/dev/null); do kill -KILL "$pid"; done
say "all of it in $SECONDS s"
