#!/bin/sh
# A name that is known is never enrolled over: the request waits for an admin, who is told; once approved it gets the old host's id, and
# the old certificate ends at once. Revocation cuts the live connection and refuses the next one, with a word at both ends.
. "$(dirname "$0")/../lib.sh"
demo=$ROOT/tests/data/demo/demo.xml
token() { haechi token create | tail -n 1; }
audit() { haechi audit --json | head -n "${1:-3}"; }
id() { haechi hosts --json | grep "\"name\":\"$1\"" | sed 's/.*"id":\([0-9]*\).*/\1/'; }
log_has() { grep -q "$1" "$TMP/$2.log"; }

start_collector
enroll BYSTANDER
enroll A
send A "$demo"
send BYSTANDER "$demo"
id=$(id A)

start_agent A 'sources.journal = false' 'uplink.retry_min = "1s"' 'uplink.retry_max = "1s"'
wait_for 10 log_has connected A
refused 'pending: a host called A is known already; its records are not touched.* haechi host approve A \(key [0-9a-f]{16}\)' \
    haechi-agent enroll --token "$(token)" --state "$TMP/second" --name A
contains 'the log' "$(tail -n 2 "$TMP/collector.log")" "enrolment of 'A' from 127.0.0.1:"
contains 'the log' "$(tail -n 2 "$TMP/collector.log")" 'that name is known; haechi host approve A'
contains 'the audit log' "$(audit 1)" '"action":"enrolment pending","object":"A"'
contains 'it is listed' "$(haechi hosts --pending)" ' A '
# asking again changes nothing, and neither does another case of the name
refused 'pending' haechi-agent enroll --token "$(token)" --state "$TMP/second" --name A
same 'one request' 2 "$(haechi hosts --pending | wc -l)"
refused 'pending' haechi-agent enroll --token "$(token)" --state "$TMP/third" --name a
is_running A || fail 'the host that is known was cut'
send A "$demo"
same 'events meanwhile' 60 "$(haechi events --host A --count)"

# a request may be refused by doing nothing; the one that is meant is approved by its key
refused 'pending|approve|key' haechi host approve A # two wait
key=$(haechi hosts --pending | grep ' A ' | head -n 1 | sed 's/^ *\([0-9a-f]\{16\}\).*/\1/')
haechi host approve "$key"
contains 'the audit log' "$(audit 1)" '"action":"host approve"'
haechi-agent enroll --token "$(token)" --state "$TMP/second" --name A
same 'the host keeps its id' "$id" "$(id A)"
contains 'the audit log' "$(audit 2)" '"action":"enrolment approved","object":"A"'
wait_for 3 log_has 'enrolled anew with another key' A
stop_agent A
refused 'our certificate is revoked: enrol this host again' haechi-agent send --state "$TMP/A" "$demo"
contains 'the log' "$(tail -n 3 "$TMP/collector.log")" "of \"host:$id\" is revoked"
wait_for 3 sh -c 'haechi audit --json | grep -q "connection refused.*is revoked"'
send second "$demo"
same 'events afterwards' 60 "$(haechi events --host A --count)"

# revoked: cut at once, refused afterwards, records stay; the state folder's owner is told what to do
start_agent second 'sources.journal = false' 'uplink.retry_min = "1s"' 'uplink.retry_max = "1s"'
wait_for 10 log_has connected second
began=$(date +%s%N)
haechi host revoke A --reason 'stolen laptop'
wait_for 3 log_has 'revoked' second
say "cut after $((($(date +%s%N) - began) / 1000000)) ms"
contains 'the audit log' "$(audit 2)" '"action":"host revoke","object":"A","detail":"stolen laptop"'
grep -q 'host A at .*revoked.*closing the connection' "$TMP/collector.log" || fail 'the log does not tell of the cut'
same 'state' '"state":"revoked","state_reason":"stolen laptop"' \
    "$(haechi hosts --json | grep '"name":"A"' | grep -o '"state":"[a-z]*","state_reason":"[^"]*"')"
stop_agent second
same 'its records stay' 60 "$(haechi events --host A --count)"
# its old key does not come in by another token
refused 'this key belongs to a revoked host|this key is enrolled already' haechi-agent enroll --again --token "$(token)" --state "$TMP/second" --name A
refused 'this key belongs to a revoked host|this key is enrolled already' haechi-agent enroll --again --token "$(token)" --state "$TMP/second" --name NEWNAME

# a restart forgets nothing of that
stop_collector
start_collector
refused 'our certificate is revoked' haechi-agent send --state "$TMP/second" "$demo"
refused 'our certificate is revoked' haechi-agent send --state "$TMP/A" "$demo"
send BYSTANDER "$demo"
same 'events of the bystander' 60 "$(haechi events --host BYSTANDER --count)"
same 'hosts' 2 "$(haechi hosts --json | wc -l)"
