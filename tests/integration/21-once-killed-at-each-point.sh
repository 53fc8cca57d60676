#!/bin/sh
# Agent and collector end as by kill -9 at each named point, at its first and a later passage, and are started again: every event is
# there once, the ledger has no hole and agrees with the store. (Acks are gathered: their points are passed less often.)
# timeout: 400
. "$(dirname "$0")/../lib.sh"

python3 "$ROOT/tests/integration/many_events.py" 3000 KILLED >"$TMP/log.xml"
settled() { [ "$(haechi events --host "$host" --count 2>/dev/null)" = 3000 ] && [ "$(held)" = 3000 ]; }
held() { haechi ledger --host "$host" --json | sed -n 's/.*"held":\([0-9]*\).*/\1/p'; }
check() {
    wait_for 60 settled
    stop_agent "$host"
    same "$point: holes" '' "$(haechi ledger --host "$host" --holes)"
    same "$point: record ids once, in order" "$(seq 1 3000 | md5sum)" "$(haechi events --host "$host" --format json |
    sed 's/.*"record_id":\([0-9]*\).*/\1/' | md5sum)"
}

start_collector
n=0
for at in spool-written:1 spool-written:3 batch-sent:1 batch-sent:3 after-ack:1; do
    point=${at%:*} nth=${at#*:}
    n=$((n + 1))
    host=AGENT$n
    sed "s/KILLED/$host/" "$TMP/log.xml" >"$TMP/$host.xml"
    enroll "$host"
    AGENT_ENV="HAECHI_CRASH_AT=$point:$nth"
    start_agent "$host" '[sources]' 'journal = false' "xml = [\"$TMP/$host.xml\"]"
    dead() { ! is_running "$host"; }
    wait_for 30 dead
    end "$host"
    same "$point: ended as by SIGKILL" 137 "$END_CODE"
    AGENT_ENV=
    start_agent "$host" '[sources]' 'journal = false' "xml = [\"$TMP/$host.xml\"]"
    check
done
stop_collector
more=3000
for at in before-commit:1 before-commit:2 after-commit:1 after-commit:2 committed:1 before-ack:1 ack-sent:1; do
    point=${at%:*} nth=${at#*:}
    n=$((n + 1))
    host=COLLECTOR$n
    sed "s/KILLED/$host/" "$TMP/log.xml" >"$TMP/$host.xml"
    start_collector
    enroll "$host"
    stop_collector
    COLLECTOR_ENV="HAECHI_CRASH_AT=$point:$nth"
    start_collector
    start_agent "$host" '[sources]' 'journal = false' "xml = [\"$TMP/$host.xml\"]"
    dead() { # a fast collector takes all in one commit: the second one is then another host's
        is_running collector || return 0
        [ "$nth" = 1 ] && return 1
        more=$((more + 1))
        head -n 1 "$TMP/AGENT1.xml" | sed "s|<EventRecordID>[0-9]*<|<EventRecordID>$more<|" >"$TMP/more.xml"
        haechi import --host AGENT1 "$TMP/more.xml" || :
        ! is_running collector
    }
    wait_for 30 dead
    end collector
    same "$point: ended as by SIGKILL" 137 "$END_CODE"
    COLLECTOR_ENV=
    start_collector
    check
    stop_collector
done
