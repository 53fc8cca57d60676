#!/bin/bash
# Rollouts to 200 simulated agents in groups: waves advance, halt when hosts fail, fall silent, lose Sysmon or change their event rate,
# are resumed, rolled back, roll back by themselves, go on after the collector is killed; hosts that were away get theirs
# later; status tells the truth of every host at each step.
# timeout: 240
. "$(dirname "$0")/../lib.sh"

printf '[session]\nheartbeat = "1s"\n' >"$TMP/haechid.toml"
COLLECTOR_OPTIONS="--config $TMP/haechid.toml"
start_collector collector $COLLECTOR_OPTIONS

# fleet GROUP AGENTS OPTION...: agents of that group that stay connected; again: the same hosts as before
fleet() {
    name=$1 n=$2
    shift 2
    set -- --agents "$n" --at-once 16 "$@"
    [ -e "$TMP/$name.state" ] || set -- --token "$(haechi token create --uses "$n" --group "$name")" --prefix "$name" "$@"
    run_bg "$name" haechi-load --state "$TMP/$name.state" --collector "127.0.0.1:$COLLECTOR_PORT" --hold --seconds 600 --quiet --json \
        --rules-delay 200 --file "$ROOT/tests/data/demo/demo.xml" "$@"
}
up() { test "$(haechi hosts --group "$1" --json | grep -c '"takes_rules":true')" = "$2"; }

configuration() { # N: revision N of base
    cat <<XML
<Sysmon schemaversion="4.50">
  <EventFiltering>
    <RuleGroup name="" groupRelation="or">
      <ProcessCreate onmatch="exclude"><Image condition="is">C:\\revision-$1.exe</Image></ProcessCreate>
    </RuleGroup>
  </EventFiltering>
</Sysmon>
XML
}
for n in 1 2 3 4 5 6; do configuration $n >"$TMP/base-$n.xml"; done
push() { # N GROUP OPTION...: sets ID
    n=$1 group=$2
    shift 2
    haechi rules push "$TMP/base-$n.xml" --name base --group "$group" "$@" >"$TMP/push.out" 2>"$TMP/push.err" || PUSH_CODE=$?
    ID=$(sed -n 's/^rollout \([0-9]*\) to group.*/\1/p' "$TMP/push.out")
    [ -n "$ID" ] || fail "push $n to $group: $(cat "$TMP/push.out" "$TMP/push.err")"
}
is() { haechi rules status "$ID" | grep -qE "^state  *$1\$"; }
because() { haechi rules status "$ID" | sed -n 's/^because  *//p'; }

# truth GROUP REVISION [REVISION...]: every host of the group has one of them, and is what its share of haechi-load makes of it
cat >"$TMP/truth.py" <<'PYTHON'
import json, subprocess, sys
group, bad, shares, allowed = sys.argv[1], int(sys.argv[2]), [int(x) for x in sys.argv[3].split(",")], [int(x) for x in sys.argv[4:]]
fates = ["failed", "silent", "drifted", "lost", "hung"]
n = 0
for line in subprocess.run(["haechi", "hosts", "--group", group, "--json"], check=True, capture_output=True).stdout.splitlines():
    h = json.loads(line)
    place, wanted, lost = (int(h["name"].rsplit("-", 1)[1]) - 1) * 37 % 100, "loaded", False
    has = h["rules"]["has"]["revision"]
    if has == bad:
        for fate, share in zip(fates, shares):
            if 0 <= place < share:
                wanted = {"failed": "failed", "drifted": "drifted", "hung": "applied"}.get(fate, "loaded")
                lost = fate == "lost"
            place -= share
    said = (h["rules"]["state"], h["sysmon"]["state"])
    if has not in allowed or said != (wanted, "stopped" if lost else "running"):
        sys.exit("%s has base@%d, %s, Sysmon %s; wanted %s %s, Sysmon %s" % (h["name"], has, said[0], said[1], allowed, wanted, "stopped" if lost else "running"))
    n += 1
print(n)
PYTHON
truth() { python3 "$TMP/truth.py" "$1" "$2" "$3" "${@:4}"; }
all_true() { # COUNT GROUP BAD SHARES REVISION...
    [ "$(truth "${@:2}")" = "$1" ] || truth "${@:2}"
}

DB="15,0,10,10,0"
fleet web 60
fleet db 40 --rules-bad 3 --rules-fail 15 --rules-drift 10 --rules-lose 10
fleet rest 84
fleet lap 8 --rules-bad 4 --rules-silent 60
fleet noisy 8 --rules-bad 4 --rules-rate 500
for g in 'web 60' 'db 40' 'rest 84' 'lap 8' 'noisy 8'; do wait_for 60 up $g; done

say '== everybody, at once'
push 1 default --waves 100 --follow
same 'hosts that have it' 200 "$(haechi hosts --rules loaded --json | wc -l | tr -d ' ')"
contains 'host show' "$(haechi host show web-00007)" 'shall have    base@1'
contains 'host show' "$(haechi host show web-00007)" 'seen by       words, event 16, copy'
contains 'status' "$(haechi status --json)" '"loaded":200'

say '== waves'
push 2 web --waves 5,25,100 --wait 1s --follow
haechi rules status "$ID" --json >"$TMP/waves"
contains 'the first wave' "$(cat "$TMP/waves")" '"wave":1,"percent":5'
same 'hosts a wave' '3 12 45' "$(python3 -c 'import json,sys; print(*[w["hosts"] for w in json.load(open(sys.argv[1]))["waves"]])' "$TMP/waves")"
python3 - "$TMP/waves" <<'PYTHON' || fail 'waves overlap'
import json, sys
w = json.load(open(sys.argv[1]))["waves"]
assert all(a["done"] < b["started"] for a, b in zip(w, w[1:])), w
PYTHON
wait_for 10 all_true 60 web 0 0 2
all_true 84 rest 0 0 1 >/dev/null

say '== failures halt it'
push 3 db --waves 10,50,100 --wait 1s --timeout 20s --max-failed 5
wait_for 30 is halted
contains 'why' "$(because)" 'hosts failed'
wait_for 10 all_true 40 db 3 $DB 1 3
beyond=$(haechi hosts --group db --json | grep -c '"has":{"ruleset":"base","revision":1')
[ "$beyond" -ge 20 ] || fail "only $beyond hosts of 40 were spared"
sleep 2
same 'while it is halted nobody gets it' "$beyond" "$(haechi hosts --group db --json | grep -c '"has":{"ruleset":"base","revision":1')"
contains 'who failed' "$(haechi rules status "$ID")" 'BECAUSE'
refused 'is halted: it cannot be halted' haechi rules halt "$ID"

say '== resumed, halted by hand, rolled back'
for _ in 1 2 3 4 5 6 7 8; do
    is done && break
    is halted && haechi rules resume "$ID" >/dev/null
    settled() { is halted || is done; }
    wait_for 30 settled
done
is done || fail "after all failures were looked at: $(because)"
wait_for 10 all_true 40 db 3 $DB 3
same 'failed ones' 7 "$(haechi hosts --group db --rules failed --json | wc -l | tr -d ' ')"
same 'drifted ones' 3 "$(haechi hosts --group db --rules drifted --json | wc -l | tr -d ' ')"
contains "Sysmon's own words" "$(haechi host show db-00001)" 'Error: Incorrect XML configuration'
haechi rules rollback "$ID" >/dev/null
wait_for 20 all_true 40 db 3 $DB 1
same 'state' 'rolled back' "$(haechi rules status "$ID" | sed -n 's/^state  *//p')"

say '== rolls back by itself'
push 3 db --waves 50,100 --wait 1s --timeout 20s --auto-rollback
wait_for 30 is 'rolled back'
contains 'why' "$(because)" 'halted and rolled back'
wait_for 20 all_true 40 db 3 $DB 1

say '== silent hosts, another event rate'
push 4 lap --waves 50,100 --wait 1s --timeout 4s --max-silent 10
wait_for 40 is halted
contains 'why' "$(because)" 'fell silent'
push 4 noisy --waves 50,100 --wait 30s --rate 0.5,3
wait_for 40 is halted
contains 'why' "$(because)" 'event rate'
haechi rules resume "$ID" >/dev/null
haechi rules halt "$ID" --reason 'looks odd' >/dev/null
contains 'why' "$(because)" 'looks odd'

say '== killed in the middle'
push 5 web --waves 5,25,100 --wait 6s --timeout 60s
second() { haechi rules status "$ID" --json | grep -q '"wave":2,"percent":25,"started":"'; }
wait_for 30 second
kill_collector
start_collector collector $COLLECTOR_OPTIONS
is running || is done || fail "after the restart: $(haechi rules status "$ID")"
haechi rules status "$ID" --follow >/dev/null 2>&1 || fail "$(haechi rules status "$ID")"
wait_for 20 all_true 60 web 0 0 5

say '== away'
end db
push 6 default --waves 100 --timeout 60s
wait_for 30 is done
contains 'away' "$(haechi rules status "$ID" | sed -n 's/^hosts  *//p')" '40 away'
fleet db 40
wait_for 40 all_true 40 db 0 0 6
case $(haechi rules status "$ID" | sed -n 's/^hosts  *//p') in *away*) fail "$(haechi rules status "$ID")" ;; esac
all_true 60 web 0 0 5 >/dev/null # its own group's
all_true 84 rest 0 0 6 >/dev/null
same 'nobody has what it shall not' '' "$(haechi hosts --rules behind --json | grep -v '"name":"lap-' | grep -v '"name":"noisy-')"
contains 'audit' "$(haechi audit --limit 500)" 'rollout rollback'
contains 'metrics' "$(haechi status --json)" '"rollouts_halted":2'
