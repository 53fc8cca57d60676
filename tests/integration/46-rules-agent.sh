#!/bin/bash
# Rules on a Linux host: Sysmon's stand-in takes them, refuses them, drops a part, hangs, crashes, lies; offers that are forged, old or damaged;
# drift and healing; the agent killed at each point.
# timeout: 240
. "$(dirname "$0")/../lib.sh"
need openssl python3

SYSMON=$TMP/sysmon
WORK=$TMP/work
mkdir -p "$SYSMON" "$WORK"
chmod 700 "$SYSMON"
gcc -std=gnu11 -Wall -Wextra -Werror -O1 -I"$ROOT/agent" -I"$ROOT/proto" -I"$ROOT/proto/base" "$ROOT"/tests/fake/sysmon/*.c \
    "$ROOT/agent/filehash.c" -o "$SYSMON/sysmon"
chmod 755 "$SYSMON/sysmon"

control() { # LINE...
    { printf '%s\n' "events $TMP/events.log" "$@"; } >"$SYSMON/sysmon.control.new"
    mv "$SYSMON/sysmon.control.new" "$SYSMON/sysmon.control"
}
rules() { # NAME: a configuration of its own
    cat <<XML
<Sysmon schemaversion="4.50">
  <!-- $1 -->
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
offer() { # RULESET [WORD...]: the next order
    serial=$((serial + 1))
    ruleset=$1
    shift
    rules "$ruleset" >"$WORK/$ruleset.xml"
    echo "serial=$serial name=$ruleset revision=1 file=$WORK/$ruleset.xml $*" >>"$WORK/offers"
}
last() { grep '^status ' "$WORK/statuses" | tail -n 1; }
is_now() { # STATE: of the last order
    case $(last) in *"serial=$serial "*" state=$1 "*) ;; *) last && return 1 ;; esac
}
becomes() { # STATE [SECONDS]
    wait_for "${2:-40}" is_now "$1"
}
reason() { last | sed 's/.*reason="\([^"]*\)".*/\1/'; }
states() { grep "^status serial=$serial " "$WORK/statuses" | sed 's/.* state=\([a-z]*\) .*/\1/' | tr '\n' ' ' | sed 's/ $//'; }

# ---- a host, and a collector that says what we want ----
start_collector
enroll HOST >/dev/null
stop_collector
run_bg peer python3 "$ROOT/tests/integration/rules_peer.py" "$COLLECTOR_PORT" "$TMP/collector/ca" "$WORK"
wait_for 10 grep -q listening "$TMP/peer.log"
control
: >"$TMP/events.log"
start_sysmon() { run_bg sysmon "$SYSMON/sysmon" -i "$SYSMON/config.xml" -service; }
start_sysmon
start() {
    start_agent HOST 'sources.journal = false' "sources.syslog = [\"$TMP/events.log\"]" 'sources.unproven = true' "sysmon.directory = \"$SYSMON\"" \
        'uplink.retry_max = "1s"' 'rules.apply_limit = "6s"' 'rules.proof_limit = "4s"' 'rules.check_every = "1s"'
}
start
hello() { grep -q '^hello' "$WORK/statuses" 2>/dev/null; }
wait_for 20 hello

# ---- taken ----
offer base
becomes loaded
same 'states on the way' 'received applied loaded' "$(states)"
contains 'evidence words, event 16 and copy' "$(last)" 'evidence=7 '
cmp "$WORK/base.xml" "$SYSMON/config.xml" || fail 'the rules in force are others'
same 'rights of the file' '600' "$(stat -c %a "$TMP"/HOST/rules/*.xml)"
same 'rights of its folder' '700' "$(stat -c %a "$TMP/HOST/rules")"
contains 'status' "$(haechi-agent status --state "$TMP/HOST")" 'certificate'
status_says() { haechi-agent status --state "$TMP/HOST" | grep -q "$1"; }
wait_for 10 status_says 'rules: *base revision 1, loaded'

offer canaried canary=canaried
becomes loaded
contains 'evidence with the canary' "$(last)" 'evidence=15 '
offer misnamed canary=other
becomes failed
contains 'the canary says another name' "$(reason)" "bears the RuleName 'misnamed', not 'other'"

control 'hash MD5,SHA1,SHA256'
offer hashes
becomes loaded
control 'hash none'
offer unhashed # as Sysmon for Linux before 2025: its event 16 is no evidence, and not waited for
becomes loaded
contains 'evidence without event 16' "$(last)" 'evidence=5 '
control 'wait 2000'
offer late
becomes loaded
control utf16
control 'behave utf16'
offer wide
becomes loaded

# ---- not taken ----
not_taken() { # NAME REASON CONTROL-LINE...
    what=$1 why=$2
    shift 2
    control "$@"
    offer "$what"
    becomes failed 30
    case $(reason) in *"$why"*) ;; *) fail "$what: no \"$why\" in: $(reason)" ;; esac
    say "$what: $(reason)"
}
not_taken msxml "Element 'Proces' is unexpected" 'behave refuse-msxml'
contains 'words' "$(last)" '|Reason: Element'
not_taken libxml2 'validity error' 'behave refuse-libxml2'
not_taken pugixml 'Failed to load or parse xml configuration' 'behave refuse-pugixml'
not_taken dropped 'Incorrect field NewName' 'behave drop-field'
contains 'words with the success' "$(last)" 'Configuration file validated.'
not_taken skipped 'specifiy the onmatch' 'behave skip-block'
not_taken usage 'Usage' 'behave usage'
not_taken rights 'run Sysmon as root' 'behave not-elevated' 'exit 228'
not_taken crash 'Sysmon crashed (signal 0xb)' 'behave crash'
not_taken exit 'ended with 3' 'exit 3'
not_taken lie "the system's copy of the rules is not theirs; no event 16" 'behave lie'
not_taken lie16 "the system's copy of the rules is not theirs" 'behave lie-16'
before=$(date +%s)
not_taken hang 'did not end within 6 s' 'behave hang'
[ $(($(date +%s) - before)) -lt 25 ] || fail 'a hanging Sysmon was waited for too long'
for d in /proc/[0-9]*; do
    ! { tr '\0' ' ' <"$d/cmdline"; } 2>/dev/null | grep -q "^$SYSMON/sysmon -c" || fail 'a hanging Sysmon was left behind'
done

# ---- offers that are refused, and what was loaded before stays ----
control
offer good
becomes loaded
good=$serial
refused_offer() { # REASON OFFER-WORD...
    why=$1
    shift
    rules good >"$WORK/good.xml"
    echo "name=forged revision=1 file=$WORK/good.xml $*" >>"$WORK/offers"
    is_refused() { case $(last) in *"name=forged"*"state=refused "*"$why"*) ;; *) last && return 1 ;; esac }
    wait_for 10 is_refused
    say "$*: $(reason)"
    echo >>"$WORK/statuses" "status none"
}
openssl ecparam -name prime256v1 -genkey -noout -out "$TMP/other.key" 2>/dev/null
refused_offer 'no CA that this host trusts' "serial=90 key=$TMP/other.key"
refused_offer 'no CA that this host trusts' 'serial=90 break=signature'
refused_offer 'not those that were signed' 'serial=90 break=xml'
refused_offer 'their manifest says' 'serial=90 break=length'
refused_offer 'no zstd frame' 'serial=90 break=zstd'
refused_offer 'the limit is' 'serial=90 break=claim'
refused_offer "older than serial $good" "serial=$((good - 1))"
stop_agent HOST # what was refused left nothing behind
: >"$WORK/statuses"
start
wait_for 20 hello
contains 'after a restart' "$(cat "$WORK/statuses")" "serial=$good name=good revision=1 state=loaded"
runs() { grep -c '<EventID>16<' "$TMP/events.log"; }
before=$(runs)
sleep 2
same 'Sysmon was run again' "$before" "$(runs)"

# ---- drift: seen, told, healed when the order says so ----
rules mallory >"$TMP/mallory.xml"
cp "$TMP/mallory.xml" "$SYSMON/config.xml" # without a word in event 16
becomes drifted
contains 'drift' "$(reason)" "the system's copy of the rules has changed; no event 16 tells who did it"
cp "$WORK/good.xml" "$SYSMON/config.xml"
becomes loaded
"$SYSMON/sysmon" -c "$TMP/mallory.xml" >/dev/null
becomes drifted
told_who() { case $(reason) in *"event 16 at "*"$TMP/mallory.xml"*) ;; *) reason && return 1 ;; esac }
wait_for 10 told_who
offer healing heal=1
becomes loaded
"$SYSMON/sysmon" -c "$TMP/mallory.xml" >/dev/null
becomes drifted
becomes loaded
cmp "$WORK/healing.xml" "$SYSMON/config.xml" || fail 'not healed'
same 'states' 'received applied loaded drifted applied loaded' "$(states | sed 's/drifted drifted/drifted/')"
"$SYSMON/sysmon" -c "$TMP/mallory.xml" >/dev/null # again at once: no fight
becomes drifted
sleep 5
is_now drifted || fail 'whoever fights us is fought'

# ---- Sysmon stops, goes, comes back ----
offer host
becomes loaded
end sysmon
becomes failed
contains 'stopped' "$(reason)" 'Sysmon (sysmon) is stopped'
start_sysmon
becomes loaded
same 'not asked again' 'received applied loaded failed loaded' "$(states)"
end sysmon
mv "$SYSMON/sysmon" "$TMP/sysmon.away"
gone() { case $(reason) in *'not installed'*) ;; *) return 1 ;; esac }
wait_for 10 gone
offer absent
becomes failed
mv "$TMP/sysmon.away" "$SYSMON/sysmon"
start_sysmon
becomes loaded
chmod 777 "$SYSMON/sysmon"
offer unsafe
becomes failed
contains 'a program that anybody could change' "$(reason)" 'can be changed by others'
chmod 755 "$SYSMON/sysmon"

# ---- stopped while Sysmon hangs: in time, and begun again ----
control 'behave hang'
offer stopped
running_it() { grep -q "rules stopped revision 1: received" "$TMP/HOST.log"; }
wait_for 10 running_it
before=$(date +%s%N)
stop_agent HOST
ms=$((($(date +%s%N) - before) / 1000000))
[ $ms -lt 5500 ] || fail "stopping took $ms ms"
say "stopped in $ms ms"
control
start
becomes loaded

# ---- killed at each point ----
for point in rules-file rules-kept rules-applied rules-kept:2; do
    kill_agent HOST
    AGENT_ENV="HAECHI_CRASH_AT=$point"
    start
    AGENT_ENV=
    offer "crash-${point/:/-}"
    dead() { ! is_running HOST; }
    wait_for 20 dead
    rm -f "$TMP/.pid/HOST"
    start
    becomes loaded
    cmp "$WORK/$ruleset.xml" "$SYSMON/config.xml" || fail "$point: other rules are in force"
done
same 'files that are kept' 1 "$(find "$TMP/HOST/rules" -name '*.xml' | wc -l)"

# ---- a damaged memory, and a file that was changed on disk ----
stop_agent HOST
echo nonsense >"$TMP/HOST/rules/state"
: >"$WORK/statuses"
start
wait_for 20 grep -q '^hello none' "$WORK/statuses"
offer anew
becomes loaded
say "all of it in $SECONDS s"
