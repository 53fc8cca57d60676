#!/bin/sh
# What `rules volume` counts is what the events say, by rule, event id, host, day, group, before and after a time, right after the
# ack, after a restart and a rebuild; `rules noisy` names the loudest programs, and its exclude leaves out exactly what it says.
# timeout: 120
. "$(dirname "$0")/../lib.sh"

cat >"$TMP/make.py" <<'PY'
import random, sys
seed, first, n, start_s, out = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), sys.argv[5]
import datetime
r = random.Random(seed)
t = datetime.datetime.fromtimestamp(start_s, datetime.timezone.utc)
rules = ['-', 'technique_id=T1059.001,technique_name=PowerShell', 'Downloads &amp; more', '', 'Alert &lt;x&gt;', '4711']
images = ['C:\\Program Files\\Noisy\\agent.exe', 'C:\\Windows\\System32\\svchost.exe', 'C:\\Users\\u\\AppData\\Local\\x.exe']
with open(out, 'w') as f:
    for i in range(n):
        t += datetime.timedelta(milliseconds=r.randrange(1, 20000))
        image = images[0] if r.random() < .7 else r.choice(images)
        k = images.index(image)
        eid = r.choice([11, 11, 11, 13, 3, 22, 5]) if k else r.choice([11, 11, 11, 11, 3])
        utc = t.strftime('%Y-%m-%d %H:%M:%S.') + '%03d' % (t.microsecond // 1000)
        data = [('RuleName', r.choice(rules)), ('UtcTime', utc), ('ProcessGuid', '{%08x-1111-2222-3333-444444444444}' % (k + 1)),
                ('ProcessId', str(100 + k)), ('Image', image)]
        if eid == 11: data += [('TargetFilename', 'C:\\ProgramData\\Noisy\\log\\%d.tmp' % r.randrange(400) if k == 0 else 'C:\\Windows\\Temp\\%d' % i)]
        if eid == 13: data += [('EventType', 'SetValue'), ('TargetObject', 'HKLM\\Software\\A\\B\\%d' % i), ('Details', 'x')]
        if eid == 3: data += [('DestinationIp', '10.0.0.%d' % r.randrange(250)), ('DestinationPort', '443')]
        if eid == 22: data += [('QueryName', 'host%d.example.org' % r.randrange(300))]
        body = ''.join("<Data Name='%s'>%s</Data>" % d for d in data)
        f.write("<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><Provider Name='Microsoft-Windows-Sysmon' "
                "Guid='{5770385f-c22a-43e0-bf4c-06f5698ffbd9}'/><EventID>%d</EventID><Version>2</Version><Level>4</Level><Task>%d</Task>"
                "<Opcode>0</Opcode><Keywords>0x8000000000000000</Keywords><TimeCreated SystemTime='%s.%06d0Z'/><EventRecordID>%d</EventRecordID>"
                "<Correlation/><Execution ProcessID='9' ThreadID='8'/><Channel>Microsoft-Windows-Sysmon/Operational</Channel>"
                "<Computer>V</Computer><Security UserID='S-1-5-18'/></System><EventData>%s</EventData></Event>\n"
                % (eid, eid, t.strftime('%Y-%m-%dT%H:%M:%S'), t.microsecond, first + i, body))
PY

# check.py WHAT ARGUMENTS...: what rules volume --json says against a count over the events of all hosts
cat >"$TMP/check.py" <<'PY'
import collections, json, subprocess, sys
def ask(*words):
    return subprocess.run(['haechi'] + list(words), check=True, capture_output=True, text=True).stdout
what, args, hosts = sys.argv[1], sys.argv[2:], ['V1', 'V2']
if '--host' in args: hosts = [args[args.index('--host') + 1]]
if '--group' in args: hosts = ['V2'] if args[args.index('--group') + 1] == 'loud' else hosts
answer = json.loads(ask('rules', 'volume', '--json', '--limit', '100000', *args))
def count(span):
    got = collections.Counter()
    for host in hosts:
        for line in ask('events', '--host', host, '--since', span['since'], '--until', span['until'], '--format', 'json').splitlines():
            e = json.loads(line)
            if e['time'] >= span['until'][:-1]: continue
            rule = e['data'].get('RuleName', '') if 'Sysmon' in e['provider'] else ''
            key = {'rule': '' if rule == '-' else rule, 'id': e['event_id'], 'host': host, 'channel': e['channel'], 'day': e['time'][:10]}
            got[tuple(key[b] for b in answer['by'])] += 1
    return got
spans = [(answer['before'], 'before'), (answer['after'], 'after')] if 'before' in answer else [(answer, None)]
total = 0
for span, name in spans:
    want, got = count(span), collections.Counter()
    for row in answer['rows']:
        s = row[name] if name else row
        got[tuple(row[b] for b in answer['by'])] += s['events']
        if s['events'] and not s['bytes']: sys.exit('FAILED: %s: a row without bytes: %r' % (what, row))
    got = +got
    if got != want: sys.exit('FAILED: %s: %r' % (what, (want - got, got - want)))
    if span['events'] != sum(want.values()): sys.exit('FAILED: %s: sum %d' % (what, span['events']))
    if span['bytes'] != sum((r[name] if name else r)['bytes'] for r in answer['rows']): sys.exit('FAILED: %s: bytes' % what)
    total += span['events']
if len(spans) == 2 and spans[0][0]['seconds'] != spans[1][0]['seconds']: sys.exit('FAILED: %s: spans differ' % what)
if not total: sys.exit('FAILED: %s: nothing counted' % what)
print(what, total)
PY

now=$(date +%s)
python3 "$TMP/make.py" 1 1 3000 $((now - 40000)) "$TMP/a.xml"
python3 "$TMP/make.py" 2 1 2000 $((now - 140000)) "$TMP/b.xml"
python3 "$TMP/make.py" 3 2001 500 $((now - 9000)) "$TMP/c.xml"
start_collector
enroll V1
enroll V2
haechi host tag V2 --add loud >/dev/null
send V1 "$TMP/a.xml"
send V2 "$TMP/b.xml" "$TMP/c.xml"

check() { python3 "$TMP/check.py" "$@" || exit 1; }
check 'right after the ack' --since 7d
check 'a day' --since 24h --by rule
check 'one host' --host V1 --since 30h --by rule,id,day,channel
check 'by host' --since 7d --by host,id
check 'a group' --group loud --since 7d --by host,rule
check 'around' --around 5h --span 3h
check 'around, as long as there is' --around 2h --by id,rule,host
haechi rules volume --since 7d --by id,rule,host,day --limit 100000 --json >"$TMP/before"

# bytes: all of the blocks', so all that the ledger counts
bytes=$(sed 's/,"rows".*//; s/.*"bytes":\([0-9]*\).*/\1/' "$TMP/before")
ledger=$(haechi ledger --json | python3 -c 'import json,sys; print(sum(json.loads(l)["bytes"] for l in sys.stdin))')
same 'bytes of all events' "$ledger" "$bytes"

# sent again: counted once; after a restart and a rebuild: the same
send V1 "$TMP/a.xml"
stop_collector
start_collector
haechi rules volume --since 7d --by id,rule,host,day --limit 100000 --json >"$TMP/after"
sed 's/.*"rows"//' "$TMP/before" >"$TMP/rows.1"
sed 's/.*"rows"//' "$TMP/after" >"$TMP/rows.2"
cmp "$TMP/rows.1" "$TMP/rows.2" || fail 'after a restart and the same events again'
stop_collector
rm -rf "$TMP/collector/index"
start_collector
check 'rebuilt' --since 7d --by id,rule,host,day
haechi rules volume --since 7d --by id,rule,host,day --limit 100000 --json | sed 's/.*"rows"//' >"$TMP/rows.3"
cmp "$TMP/rows.1" "$TMP/rows.3" || fail 'after a rebuild'

# for people
text=$(haechi rules volume --since 7d)
contains 'a rule' "$text" 'technique_id=T1059.001,technique_name=PowerShell'
contains 'rates' "$text" 'events/s'
contains 'before and after' "$(haechi rules volume --around 5h)" 'BEFORE/S'
contains 'rows that are not shown' "$(haechi rules volume --since 7d --limit 1)" 'more rows'
refused 'do not go together' haechi rules volume --host V1 --group g
refused 'of its own' haechi rules volume --around 5h --since 7d
refused 'by=nonsense' haechi rules volume --by nonsense
refused 'over at' haechi rules volume --around 1s
refused 'no host' haechi rules volume --host nobody

# the noise
text=$(haechi rules noisy --host V1)
contains 'the loudest program' "$text" 'C:\Program Files\Noisy\agent.exe'
contains 'its ids' "$text" '11: '
refused '--host HOST is needed' haechi rules noisy
haechi rules noisy --host V1 --propose "$TMP/proposed.xml" >"$TMP/said"
haechi rules check "$TMP/proposed.xml" >"$TMP/checked" || fail "the proposal does not pass: $(cat "$TMP/checked")"
contains 'what it proposes' "$(cat "$TMP/said")" 'FileCreate: Image is C:\Program Files\Noisy\agent.exe and TargetFilename begin with C:\ProgramData\Noisy\log\'
contains 'what could hide' "$(cat "$TMP/said")" 'beware: '
contains 'the file' "$(cat "$TMP/proposed.xml")" '<TargetFilename condition="begin with">C:\ProgramData\Noisy\log\</TargetFilename>'
refused 'there already' haechi rules noisy --host V1 --propose "$TMP/proposed.xml"

# what the simulation says of it: exactly the events that the proposal names are dropped
haechi rules simulate "$TMP/proposed.xml" --host V1 --since 7d --json >"$TMP/simulated"
python3 - "$TMP/proposed.xml" "$TMP/simulated" <<'PY' || exit 1
import json, re, sys
named = sum(int(n) for n in re.findall(r'haechi: (\d+) of the host', open(sys.argv[1]).read()))
summary = next(o for o in map(json.loads, open(sys.argv[2])) if o['kind'] == 'summary')
if summary['dropped'] != named: sys.exit('FAILED: the excludes name %d events; simulated: %r' % (named, summary))
PY

# a host that has a ruleset: its ruleset with the exclude in it
cat >"$TMP/base.xml" <<'XML'
<Sysmon schemaversion="4.50">
  <HashAlgorithms>SHA256</HashAlgorithms>
  <EventFiltering>
    <!-- ours -->
    <RuleGroup name="" groupRelation="or">
      <FileCreate onmatch="exclude">
        <Image condition="is">C:\quiet.exe</Image>
      </FileCreate>
    </RuleGroup>
  </EventFiltering>
</Sysmon>
XML
haechi rules push "$TMP/base.xml" --name base --group default --waves 100 >"$TMP/pushed" 2>&1 || fail "$(cat "$TMP/pushed")"
refused 'over at' haechi rules volume --rollout 1
wanted() { haechi host show V1 --json | grep -q '"want":{"ruleset":"base","revision":1'; }
wait_for 20 wanted
haechi rules noisy --host V1 --propose "$TMP/mine.xml" >"$TMP/said"
contains 'whose ruleset' "$(cat "$TMP/said")" 'base revision 1 with 1 exclude'
contains 'the rest is as it was' "$(cat "$TMP/mine.xml")" '<!-- ours -->'
same 'one exclude block' 1 "$(grep -c '<FileCreate ' "$TMP/mine.xml")"

# an hour later: before and after that rollout
stop_collector
COLLECTOR_ENV=HAECHI_TEST_CLOCK_S=3600 start_collector
haechi rules volume --rollout 1 --json | grep -q '"after":{.*"seconds":[1-9]' || fail 'before and after a rollout'
contains 'of its group' "$(haechi rules volume --rollout 1)" 'before  '
