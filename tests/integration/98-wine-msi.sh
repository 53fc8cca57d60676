#!/bin/sh
# The installer, silently and without a display: it refuses words that are no good before it changes anything; a token given to it enrols
# the service whenever the collector comes, and lies nowhere else; events arrive; upgrades keep state, settings and account; downgrades are
# refused; uninstalling leaves the state, or nothing.
# timeout: 300
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../wine.sh"
need x86_64-w64-mingw32-gcc wixl msibuild

built=$(dirname "$EXE")
MSI=$(ls "$built"/haechi-agent-*.msi 2>/dev/null | head -n 1) || :
[ -n "$MSI" ] || skip "the installer is not built (make msi)"
VERSION=${MSI##*-}
VERSION=${VERSION%.msi}

wine_prefix
C=$WINEPREFIX/drive_c
DIR="$C/Program Files/Haechi"
STATE=$C/ProgramData/Haechi
LOG=$DIR/channels/Microsoft-Windows-Sysmon%Operational
CHANNEL=Microsoft-Windows-Sysmon/Operational
mkdir -p "$DIR/channels" # the stand-in lies where the program will be
x86_64-w64-mingw32-gcc -std=gnu11 -O2 -shared -static-libgcc -D_WIN32_WINNT=0x0A00 -D__USE_MINGW_ANSI_STDIO=1 \
    "$ROOT/tests/fake/wevtapi/wevtapi.c" "$ROOT/tests/fake/wevtapi/wevtapi.def" -s -o "$DIR/wevtapi.dll"

# Two more versions: the same program with another number in its resources, which is what an installer compares
other_version() {
    python3 - "$EXE" "$TMP/agent-$1.exe" "$1" <<'PY'
import struct, sys
data = bytearray(open(sys.argv[1], 'rb').read())
major, minor, patch = map(int, sys.argv[3].split('.'))
at = data.index(struct.pack('<II', 0xfeef04bd, 0x10000)) + 8
struct.pack_into('<IIII', data, at, major << 16 | minor, patch << 16, major << 16 | minor, patch << 16)
open(sys.argv[2], 'wb').write(data)
PY
    "$ROOT/deploy/windows/msi.sh" "$TMP/agent-$1.exe" "$built/haechi-setup.dll" "$1" "$TMP/haechi-agent-$1.msi"
}
other_version 0.0.9
other_version 9.0.0
OLD=$TMP/haechi-agent-0.0.9.msi
NEW=$TMP/haechi-agent-9.0.0.msi

REFUSED=67 # 1603, cut to eight bits
msi_log() { tr -d '\0' <"$C/msi.log"; }
msi() { # WANTED-CODE WORD...
    want=$1
    shift
    rm -f "$C/msi.log"
    set +e
    wine 90 msiexec "$@" /qn /l*v 'C:\msi.log' >"$TMP/msiexec.out" 2>&1
    got=$?
    set -e
    [ $got = "$want" ] || fail "msiexec $*: exit code $got, wanted $want: $(msi_log | tail -n 20)"
}
install() { # WANTED-CODE MSI WORD...
    code=$1 file=$2
    shift 2
    msi "$code" /i "$(windows_path "$file")" "$@"
}
product() { msiinfo export "$1" Property | tr -d '\r' | sed -n 's/^ProductCode	//p'; }
agent() { wine 60 'C:\Program Files\Haechi\haechi-agent.exe' "$@"; }
logged() { grep -q -e "$1" "$STATE/agent.log" 2>/dev/null; }
log_count() { grep -c -e "$1" "$STATE/agent.log" || :; }
connections() { log_count 'connected to'; }
says() { agent status 2>&1 | grep -q -e "$1"; }
account() { wine 60 reg query 'HKLM\System\CurrentControlSet\Services\HaechiAgent' /v ObjectName | tr -d '\r' | sed -n 's/.*REG_SZ *//p'; }
runs() { [ -n "$(wine_pids haechi-agent)" ]; }
no_service() {
    ! runs || fail "$1: the service runs"
    wine 60 sc query HaechiAgent >"$TMP/sc.out" 2>&1 && fail "$1: the service is still there"
    [ ! -e "$DIR/haechi-agent.exe" ] || fail "$1: the program is still there"
}
stops() {
    before=$(date +%s%N)
    agent service stop
    ms=$((($(date +%s%N) - before) / 1000000))
    [ $ms -lt 5000 ] || fail "stopping took $ms ms"
}
is_program() { cmp -s "$1" "$DIR/haechi-agent.exe" || fail "it is another program than that of $1"; }
next=1
append() {
    head -n $((next + $1 - 1)) "$TMP/all.xml" | tail -n "$1" >>"$LOG"
    next=$((next + $1))
}
host() { haechi hosts --json | sed -n 's/.*"name":"\([^"]*\)".*/\1/p'; }
events() { haechi events --host "$(host | head -n 1)" --count; }
stored() { [ "$(events)" -ge "$1" ]; }
twice() { haechi events --host "$(host)" --format json | sed 's/.*"epoch":\([0-9]*\),"record_id":\([0-9]*\).*/\1 \2/' | sort | uniq -d; }

python3 "$ROOT/tests/integration/many_events.py" 2000 PC >"$TMP/all.xml"
start_collector
token=$(haechi token create | tail -n 1)

# ---- words that are no good ----
bad() { # WORDS MESSAGE
    install $REFUSED "$MSI" "$1"
    msi_log | grep -q -e "Haechi agent: $2" || fail "$1: the log does not say \"$2\": $(msi_log | grep -a 'Haechi agent:')"
    no_service "$1"
    [ ! -e "$STATE" ] || fail "$1: there is a state directory"
}
bad 'TOKEN=hello' 'TOKEN: not an enrolment token'
bad "TOKEN=${token%????}" 'TOKEN: the token is cut off or mistyped'
bad 'SERVER=a/b' 'SERVER: a/b: a collector.s address is HOST:PORT'
bad 'SERVER=collector.example:99999' 'SERVER: .*the port'
bad 'CHANNELS=Sys*tem' "CHANNELS: Sys\*tem: a channel's name has no '\*'"
bad 'CHANNELS=Security; security' 'SERVER and CHANNELS: sources.channels: security is there twice'
bad 'CHANNELS=;' 'CHANNELS names no channel'

# ---- an old version, while the collector is away ----
kill_collector
rm -f "$C/msi.log"
wine 90 msiexec /i "$(windows_path "$OLD")" /qn "TOKEN=$token" "SERVER=127.0.0.1:$COLLECTOR_PORT" \
    "CHANNELS=$CHANNEL; System: *[System[(EventID=104)]]" || fail "the installation: exit code $?"
is_program "$TMP/agent-0.0.9.exe"
wait_for 20 logged 'no answer from the collector.*asking again until it works'
wait_for 10 says 'not enrolled. The agent said at .*asking again'
contains 'agent.toml' "$(cat "$STATE/agent.toml")" "channels = [\"$CHANNEL\", \"System: *[System[(EventID=104)]]\"]"
contains 'agent.toml' "$(cat "$STATE/agent.toml")" "collectors = [\"127.0.0.1:$COLLECTOR_PORT\"]"
for f in "$STATE" "$STATE/enroll.conf" "$STATE/agent.toml"; do # what Wine makes of the access list: nothing for others
    case $(stat -c %a "$f") in 7[0-7]0) ;; *) fail "others can read $f" ;; esac
done
stops
runs && fail 'it still runs'
agent service start
same 'the token lies in one place' "$STATE/enroll.conf" "$(grep -rlaF -e "$token" "$WINEPREFIX" 2>/dev/null || :)"
utf16=$(printf '%s' "$token" | iconv -t utf-16le | head -c 80 | od -An -v -tx1 | tr -d ' \n')
for f in "$WINEPREFIX"/*.reg "$STATE"/*; do
    [ -d "$f" ] || od -An -v -tx1 "$f" | tr -d ' \n' | grep -q "$utf16" && fail "the token lies in $f"
done
printf '%s\n' "$token" >"$TMP/token"
for f in $(grep -laF -f "$TMP/token" /proc/[0-9]*/cmdline 2>/dev/null || :); do
    { tr '\0' '\n' <"${f%cmdline}environ" | grep -qxF "WINEPREFIX=$WINEPREFIX"; } 2>/dev/null || continue
    fail "the token is on the command line of $(tr '\0' ' ' <"$f")"
done
start_collector
wait_for 40 logged 'connected to'
[ ! -e "$STATE/enroll.conf" ] || fail 'enroll.conf is still there'
same 'hosts' 1 "$(host | wc -l)"
append 500
wait_for 30 stored 500
same 'its account' LocalSystem "$(account)"
id=$(cksum <"$STATE/identity")

# ---- upgrade: state and settings stay ----
sed -i 's/^# Written.*/# the admin was here/' "$STATE/agent.toml"
settings=$(cksum <"$STATE/agent.toml")
install 0 "$MSI" "CHANNELS=Application" 'ACCOUNT=NT AUTHORITY\LocalService'
contains 'the log' "$(msi_log)" 'there is an agent.toml already: SERVER and CHANNELS were left out of it'
is_program "$EXE"
wait_for 20 sh -c "[ \$(grep -c 'connected to' '$STATE/agent.log') -ge 2 ]"
append 500
wait_for 30 stored 1000
same 'its identity' "$id" "$(cksum <"$STATE/identity")"
same 'its settings' "$settings" "$(cksum <"$STATE/agent.toml")"
wait_for 10 logged "account is NT AUTHORITY.LocalService: .*cannot push Sysmon's rules"
install 0 "$NEW"
is_program "$TMP/agent-9.0.0.exe"
same 'its account' 'NT AUTHORITY\LocalService' "$(account)"
append 500
wait_for 30 stored 1500
same 'the account, said again after the next upgrade' 2 "$(log_count 'cannot push')"

# ---- downgrade: refused, and nothing changes ----
for older in "$MSI" "$OLD"; do
    install $REFUSED "$older" "SERVER=192.0.2.1"
    msi_log | grep -q '^Property(S): WIX_DOWNGRADE_DETECTED = {' || fail 'it was refused for something else'
    msiinfo export "$older" LaunchCondition | grep -q '^NOT WIX_DOWNGRADE_DETECTED	A later version of Haechi Agent is installed' ||
        fail 'it does not say why' # Wine logs no launch conditions
    is_program "$TMP/agent-9.0.0.exe"
    runs || fail 'the service was stopped by a downgrade'
done
append 100
wait_for 30 stored 1600
same 'ids that are there twice' '' "$(twice)"

# ---- uninstalled: the state stays; installed again it is the same host ----
msi 0 /x "$(product "$NEW")"
no_service 'uninstalled'
same 'its identity' "$id" "$(cksum <"$STATE/identity")"
same 'its settings' "$settings" "$(cksum <"$STATE/agent.toml")"
wine 60 reg query 'HKLM\SYSTEM\CurrentControlSet\Services\EventLog\Application\Haechi Agent' >"$TMP/reg.out" 2>&1 && fail 'the source of the Application log is still there'
append 100
install 0 "$MSI"
wait_for 30 stored 1700
same 'hosts' 1 "$(host | wc -l)"
same 'holes' '' "$(haechi ledger --holes | grep -v System || :)"

# ---- the state goes too, by choice ----
msi 0 /x "$(product "$MSI")" REMOVESTATE=1
no_service 'uninstalled'
[ ! -e "$STATE" ] || fail "the state is still there: $(ls "$STATE")"

# ---- nothing to enrol with: it waits, and a person enrols it ----
install 0 "$MSI" "SERVER=127.0.0.1:$COLLECTOR_PORT"
wait_for 20 logged 'this host is not enrolled: waiting for'
stops
agent service start
agent enroll --token "$(haechi token create | tail -n 1)" --name BYHAND >"$TMP/enroll.log" 2>&1 || fail "enrolment beside the service: $(cat "$TMP/enroll.log")"
wait_for 20 logged 'connected to .* as host BYHAND'
msi 0 /x "$(product "$MSI")" REMOVESTATE=1

# ---- a token that was used up: the reason is kept, the service runs, the collector is left alone ----
install 0 "$MSI" "TOKEN=$token"
wait_for 20 logged 'this token is used up.*The token is of no use here'
wait_for 10 says 'this token is used up'
[ ! -e "$STATE/enroll.conf" ] || fail 'the refused token is still there'
sleep 2
same 'asked once' 1 "$(log_count 'token is used up')"
stops
msi 0 /x "$(product "$MSI")" REMOVESTATE=1
no_service 'uninstalled'

# ---- a package that carries its properties ----
haechi token create | tail -n 1 | "$ROOT/deploy/windows/preset.sh" "$MSI" "$TMP/preset.msi" TOKEN=- "SERVER=127.0.0.1:$COLLECTOR_PORT" "CHANNELS=$CHANNEL"
refused 'one of TOKEN' "$ROOT/deploy/windows/preset.sh" "$MSI" "$TMP/no.msi" PATH=x
install 0 "$TMP/preset.msi"
wait_for 30 logged 'pending' # this machine is known by that name
contains 'agent.toml' "$(cat "$STATE/agent.toml")" "channels = [\"$CHANNEL\"]"
stops
haechi host approve "$(haechi hosts --pending | sed -n 's/^ *\([0-9a-f]\{16\}\).*/\1/p' | tail -n 1)"
agent service start
wait_for 60 logged 'connected to'
msi 0 /x "$(product "$MSI")" REMOVESTATE=1

# ---- by hand, with an account that has few rights ----
wine 60 "$EXE" service install --account 'NT AUTHORITY\LocalService' >"$TMP/install.log" 2>&1 || fail "service install: $(cat "$TMP/install.log")"
contains 'what it says' "$(cat "$TMP/install.log")" "cannot push Sysmon's rules"
same 'its account' 'NT AUTHORITY\LocalService' "$(account)"
wine 60 "$EXE" service start
wait_for 20 logged "cannot push Sysmon's rules"
wait_for 20 logged 'this host is not enrolled: waiting for'
wine 60 "$EXE" service uninstall
