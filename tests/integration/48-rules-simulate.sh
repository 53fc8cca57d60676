#!/bin/sh
# What `haechi rules simulate` counts agrees with a slow evaluator over the same events: made configurations and events, by event id,
# rule, RuleName and host, alone and against the rules that a group has assigned; real ones where they are here.
# timeout: 240
. "$(dirname "$0")/../lib.sh"

model() { python3 "$ROOT/tests/integration/rules_model.py" "$@"; }
post() { curl -sS --fail-with-body --unix-socket "${HAECHI_API#unix:}" -H "Content-Type: $1" --data-binary "$2" "http://x/api/v1/$3"; }
simulate() { haechi rules simulate --since 2000-01-01 --json "$@" >"$TMP/result.jsonl"; }
need curl

model make "$TMP"
start_collector
for i in 0 1; do
    enroll "PC-$i"
    haechi import --host "PC-$i" "$TMP/events$i.xml"
    haechi events --host "PC-$i" --format json >"$TMP/PC-$i.jsonl"
done

say 'no rules assigned'
for i in 0 1 2 3; do
    simulate "$TMP/made$i.xml"
    model check "$TMP/made$i.xml" "$TMP/result.jsonl" "PC-0=$TMP/PC-0.jsonl" "PC-1=$TMP/PC-1.jsonl"
done
simulate "$TMP/made0.xml" --host PC-1
model check "$TMP/made0.xml" "$TMP/result.jsonl" "PC-1=$TMP/PC-1.jsonl"
haechi events --host PC-0 --since 2026-03-05 --until 2026-03-20T10:30:00Z --format json >"$TMP/part.jsonl"
haechi rules simulate --json --since 2026-03-05 --until 2026-03-20T10:30:00Z --host PC-0 "$TMP/made1.xml" >"$TMP/result.jsonl"
model check "$TMP/made1.xml" "$TMP/result.jsonl" "PC-0=$TMP/part.jsonl"

say 'a group and what it has assigned'
post application/xml "@$TMP/made3.xml" rulesets/base/revisions >/dev/null
post application/json '{"group":"lab","ruleset":"base","revision":1,"waves":[100]}' rollouts >/dev/null
haechi host tag PC-0 --add other
simulate "$TMP/made2.xml" --group other
model check "$TMP/made2.xml" "$TMP/result.jsonl" "PC-0=$TMP/PC-0.jsonl"
haechi host tag PC-0 --add lab
is_assigned() { haechi rules simulate --since 2000-01-01 --json --group lab "$TMP/made2.xml" | grep -q '"ruleset":"base@1"'; }
wait_for 20 is_assigned
for i in 0 1 2 3; do
    simulate "$TMP/made$i.xml" --group lab
    model check "$TMP/made$i.xml" "$TMP/result.jsonl" --now "$TMP/made3.xml" "PC-0=$TMP/PC-0.jsonl"
done

say 'what people see'
haechi rules simulate --since 2000-01-01 --group lab "$TMP/made0.xml" >"$TMP/table"
for part in 'judged as Sysmon 15' 'against the rules assigned now' 'Rules that keep most' 'lower bound' 'What these numbers cannot say'; do
    contains 'tables' "$(cat "$TMP/table")" "$part"
done
for by in host rule id; do haechi rules simulate --since 2000-01-01 --by $by - <"$TMP/made0.xml" >"$TMP/by-$by"; done
contains 'by host' "$(cat "$TMP/by-host")" 'PC-1'
same 'samples' 2 "$(haechi rules simulate --json --since 2000-01-01 --samples 2 "$TMP/made1.xml" | python3 -c '
import collections, json, sys
n = collections.Counter()
for line in sys.stdin:
    x = json.loads(line)
    if x["kind"] == "sample":
        assert x["event"]["event_id"] == x["event_id"] and x["event"]["host"].startswith("PC-")
        n[x["event_id"], x["verdict"], x["line"], x["what"], x["rule_name"]] += 1
print(max(n.values()))')"
same 'nothing in the last hour' 0 "$(haechi rules simulate --json --since 1h "$TMP/made1.xml" | sed -n 's/.*"kind":"summary".*"events":\([0-9]*\).*/\1/p')"

say 'refusals'
refused 'no host is in group nobody' haechi rules simulate --group nobody "$TMP/made0.xml"
refused 'do not go together' haechi rules simulate --group lab --host PC-0 "$TMP/made0.xml"
refused 'host, rule and id are known' haechi rules simulate --by day "$TMP/made0.xml"
refused 'No such file' haechi rules simulate "$TMP/none.xml"
echo '<Sysmon' >"$TMP/bad.xml"
refused 'line 1' haechi rules simulate "$TMP/bad.xml"

say 'a client that goes away'
for i in 0 1 2; do
    run_bg gone haechi rules simulate --since 2000-01-01 "$TMP/made1.xml"
    end gone
done
simulate "$TMP/made1.xml" --host PC-1
model check "$TMP/made1.xml" "$TMP/result.jsonl" "PC-1=$TMP/PC-1.jsonl"

real=$HAECHI_SHARED/data
if [ -e "$real/bench/sysmon-100k.xml.zst" ] && command -v zstd >/dev/null; then
    say 'real events and rules'
    zstd -dcq "$real/bench/sysmon-100k.xml.zst" | head -n 20000 >"$TMP/real.xml" || :
    enroll REAL
    haechi import --host REAL "$TMP/real.xml"
    haechi events --host REAL --format json >"$TMP/REAL.jsonl"
    for config in swiftonsecurity/sysmonconfig-export sysmon-modular/sysmonconfig sysmon-modular/sysmonconfig-excludes-only; do
        simulate --host REAL "$real/configs/$config.xml"
        model check "$real/configs/$config.xml" "$TMP/result.jsonl" "REAL=$TMP/REAL.jsonl"
    done
else
    say "no real events in $real: made ones only"
fi
stop_collector
same 'the collector ends well' 0 "$END_CODE"
