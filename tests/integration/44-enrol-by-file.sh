#!/bin/sh
# An agent that is not enrolled waits, and says so; a protected enroll.conf is enough to enrol it, whenever the collector comes, and is gone
# afterwards. A token that is refused for good is not asked with again, a file that others could have written is not used. It stops at
# once in each of these states.
. "$(dirname "$0")/../lib.sh"
token() { haechi token create | tail -n 1; }
quick='uplink.retry_min = "1s"
uplink.retry_max = "1s"
sources.journal = false'
begin() { start_agent "$1" "$quick"; }
log_has() { grep -q -e "$1" "$TMP/$2.log"; }
log_count() { grep -c -e "$1" "$TMP/$2.log" || :; }
says() { haechi-agent status --state "$TMP/$1" 2>&1 | grep -q -e "$2"; }
put() { # HOST LINE...: as an installer would
    mkdir -p -m 700 "$TMP/$1"
    (
        umask 077
        host=$1
        shift
        printf '%s\n' "$@" >"$TMP/$host/enroll.conf"
    )
}
stops() { # HOST: in time, and without an error
    before=$(date +%s%N)
    stop_agent "$1"
    ms=$((($(date +%s%N) - before) / 1000000))
    same "$1: exit code" 0 "$END_CODE"
    [ $ms -lt 5000 ] || fail "$1: stopping took $ms ms"
}
gone() { [ ! -e "$TMP/$1/enroll.conf" ]; }
connected() { log_has connected "$1"; }

start_collector

# ---- nothing to enrol with: it waits, and takes what comes ----
begin A
wait_for 5 log_has 'not enrolled: waiting for' A
wait_for 5 says A 'not enrolled. The agent said at .*waiting for'
stops A
begin A
wait_for 5 log_has 'not enrolled: waiting for' A
haechi-agent enroll --token "$(token)" --state "$TMP/A" --name A # a person, beside it
wait_for 10 connected A
[ ! -e "$TMP/A/enrolment" ] || fail 'the note of the time before enrolment is still there'
stops A

# ---- the collector comes later; the file is used once ----
once=$(token)
kill_collector
put B "token = \"$once\"" 'name = "B"'
begin B
wait_for 5 log_has 'no answer from the collector' B
wait_for 5 says B 'asking again'
sleep 2
same 'said once' 1 "$(log_count 'asking again until it works' B)"
stops B
begin B
gone B && fail 'the file is gone too early'
start_collector
wait_for 15 connected B
gone B || fail 'the file is still there'
! grep -q -e "$once" "$TMP/B.log" || fail 'the token is in the log'
stops B
put B "$once" # left there once more, as by a crash before it was removed
begin B
wait_for 10 gone B
wait_for 10 sh -c "[ \$(grep -c connected '$TMP/B.log') = 2 ]"
stops B
same 'hosts' 'A B' "$(haechi hosts --json | sed 's/.*"name":"\([^"]*\)".*/\1/' | sort | tr '\n' ' ' | sed 's/ $//')"

# ---- refused for good ----
put C "token = \"$once\"" 'name = "C"'
begin C
wait_for 10 log_has 'this token is used up.*The token is of no use here' C
wait_for 5 gone C
wait_for 5 says C 'this token is used up'
asked() { haechi audit --json | grep -c '"action":"enrolment refused","object":"C"'; }
sleep 2
same 'asked once' 1 "$(asked)"
put C "$(token)
" # a new token alone, with an empty line behind it
wait_for 10 connected C
stops C

# ---- an admin has to approve it ----
put second "token = \"$(token)\"" 'name = "B"' "collectors = [\"127.0.0.1:1\", \"127.0.0.1:$COLLECTOR_PORT\"]"
begin second
wait_for 10 says second 'pending: .*haechi host approve B'
log_has 'trying the next collector' second || fail 'the first collector was not asked'
refused 'another haechi-agent is running' haechi-agent enroll --token "$once" --state "$TMP/second"
stops second
gone second && fail 'the file went while the host was pending'
begin second
wait_for 10 says second 'pending: .*haechi host approve B'
haechi host approve B
wait_for 40 connected second
gone second || fail 'the file of the approved host is still there'
stops second

# ---- files that are not used ----
put D "token = \"$(token)\"" 'name = "D"'
chmod 644 "$TMP/D/enroll.conf"
begin D
wait_for 5 log_has 'can be read or changed by others' D
sleep 2
same 'said once' 1 "$(log_count 'can be read or changed by others' D)"
put D 'tokn = "x"'
chmod 600 "$TMP/D/enroll.conf"
wait_for 5 log_has 'enroll.conf.*did you mean token' D
put D 'token = "haechi-enroll.v1.AAAA"'
wait_for 5 log_has 'cut off or mistyped' D
gone D && fail 'a file that a person has to mend was removed'
wait_for 5 says D 'cut off or mistyped'
stops D
put D "token = \"$(token)\"" 'name = "D"'
begin D
wait_for 10 connected D
stops D

# ---- of another collector: this one stays ----
start_collector other
foreign=$(token)
HAECHI_API=unix:$TMP/collector.sock
put D "$foreign"
begin D
wait_for 10 log_has 'belongs to host D of another collector.*is removed' D
wait_for 10 sh -c "[ \$(grep -c connected '$TMP/D.log') = 2 ]"
gone D || fail 'the token of another collector is still there'
stops D
