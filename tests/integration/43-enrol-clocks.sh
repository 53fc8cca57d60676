#!/bin/sh
# Clocks and certificates: an expired certificate, a clock that is wrong by a day at either end, at enrolment and at a connection; a
# certificate that is renewed at two thirds of its life.
. "$(dirname "$0")/../lib.sh"
demo=$ROOT/tests/data/demo/demo.xml
DAY=86400
token() { haechi token create | tail -n 1; }
# DAYS COMMAND...: with the clock that far ahead
off() {
    days=$1
    shift
    HAECHI_TEST_CLOCK_S=$((days * DAY)) "$@"
}
says() { # WHAT PATTERN: of the last command's stderr
    grep -qE -e "$2" "$TMP/err" || fail "$1: no \"$2\" in: $(cat "$TMP/err")"
}
log() { tail -n "${1:-3}" "$TMP/collector.log"; }

start_collector
enroll A
send A "$demo"

# a day ahead: it works, and both ends say so
off 1 haechi-agent enroll --token "$(token)" --state "$TMP/ahead" --name AHEAD 2>"$TMP/err"
says 'enrolment, a day ahead' "this host's clock says .*, the collector's .*: set the one that is wrong"
contains 'the log' "$(log)" "host AHEAD: the clock of this machine is 14"
off 1 haechi-agent send --state "$TMP/A" "$demo" 2>"$TMP/err"
says 'connection, a day ahead' "this host's clock and the collector's are 14[0-9][0-9] minutes apart"
contains 'the log' "$(log)" "host A: its clock is 86"

# a day behind, the collector's authority is not born yet: nothing is trusted, and both ends name the clock
refused 'is not yet valid: .* one of the two clocks is probably wrong' off -1 haechi-agent enroll --token "$(token)" --state "$TMP/behind" --name BEHIND
contains 'the log' "$(log)" 'TLS alert certificate_expired: to its clock our certificate has expired or is not yet valid: compare the clocks'
refused 'is not yet valid: .* one of the two clocks is probably wrong' off -1 haechi-agent send --state "$TMP/A" "$demo"
contains 'the log' "$(log)" 'compare the clocks'
wait_for 3 sh -c 'haechi audit --json | grep -q "connection refused.*compare the clocks"'
same 'hosts' 'A AHEAD' "$(haechi hosts --json | sed 's/.*"name":"\([^"]*\)".*/\1/' | sort | tr '\n' ' ' | sed 's/ $//')"

# three weeks on: two thirds of its life are over, it is renewed over the connection and kept
stop_collector
before=$(cksum <"$TMP/A/identity")
cp -a "$TMP/A" "$TMP/idle"
COLLECTOR_ENV="HAECHI_TEST_CLOCK_S=$((21 * DAY))" start_collector
AGENT_ENV="HAECHI_TEST_CLOCK_S=$((21 * DAY))" start_agent A 'sources.journal = false'
renewed() { [ "$(cksum <"$TMP/A/identity")" != "$before" ]; }
wait_for 10 renewed
off 21 haechi-agent send --state "$TMP/A" "$demo"
stop_agent A

# forty days on: one has expired, the renewed one has not; an agent whose own clock is right is told the same by its own
stop_collector
COLLECTOR_ENV="HAECHI_TEST_CLOCK_S=$((40 * DAY))" start_collector
refused 'TLS alert certificate_expired: to its clock our certificate has expired' haechi-agent send --state "$TMP/idle" "$demo"
contains 'the log' "$(log)" 'the peer'"'"'s certificate "CN=host:1" has expired: it was good from'
wait_for 3 sh -c 'haechi audit --json | grep -q "connection refused.*has expired"'
off 40 haechi-agent send --state "$TMP/A" "$demo"
same 'events' 60 "$(haechi events --host A --count)"
# and it comes back by a new token, which an admin approves
refused 'pending|enrolled already' off 40 haechi-agent enroll --token "$(token)" --state "$TMP/idle" --name AHEAD
