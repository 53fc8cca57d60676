"""The slow answers for 50-query-brute-force.sh: makes events, and asks both the collector and a list in memory.

    query_model.py make DIR     writes DIR/part{0,1,2}.xml and DIR/model.json
    query_model.py check DIR    compares 300 random queries; the first difference ends it with exit code 1"""
import fnmatch
import json
import random
import subprocess
import sys

N = 4000
rnd = random.Random(7)
IMAGES = ['C:\\Windows\\System32\\cmd.exe', 'C:\\WINDOWS\\system32\\CMD.EXE', 'C:\\Program Files\\a b\\x.exe', '\\Device\\HarddiskVolume2\\ünï.exe', '']
LINES = ['cmd.exe /c "echo <&>"', "powershell -enc 'AAAA'", 'tab\there', 'x' * 3000, 'control \x01 character', '%%TEMP%%\\a', '=1+1']
IPS = ['192.0.2.1', '192.0.2.10', '203.0.113.77']
GUIDS = ['{%08x-0000-0000-0000-000000000001}' % (n * 7919) for n in range(40)]
FIELDS = {1: ['RuleName', 'ProcessGuid', 'ProcessId', 'Image', 'CommandLine', 'ParentProcessGuid'],
          3: ['RuleName', 'ProcessGuid', 'ProcessId', 'Image', 'DestinationIp', 'DestinationPort'],
          10: ['SourceProcessGUID', 'TargetProcessGUID', 'GrantedAccess', 'SourceImage'],
          255: ['ID', 'Description']}


def value(field):
    if 'uid' in field.lower():
        return rnd.choice(GUIDS)
    return {'RuleName': lambda: rnd.choice(['-', '', 'T1059']), 'ProcessId': lambda: str(rnd.randrange(4, 400)),
            'CommandLine': lambda: rnd.choice(LINES), 'DestinationIp': lambda: rnd.choice(IPS),
            'DestinationPort': lambda: rnd.choice(['80', '443', '8443']),
            'GrantedAccess': lambda: rnd.choice(['0x1410', '0x1fffff', '0x1000']),
            'ID': lambda: 'DriverCommunication', 'Description': lambda: rnd.choice(['Failed', 'events dropped: 7'])
            }.get(field, lambda: rnd.choice(IMAGES))()


def escape(s):
    return ''.join({'&': '&amp;', '<': '&lt;', '>': '&gt;', "'": '&apos;', '\x01': '&#x1;'}.get(c, c) for c in s)


def make(folder):
    t, model = 0, []
    for i in range(1, N + 1):
        t += rnd.choice([0, 0, 1, 7, 1000, 60_000]) * 10000 + rnd.randrange(10)  # in 100 ns: events share times
        eid = rnd.choice([1, 1, 1, 3, 3, 10, 255])
        model.append(dict(rid=i, eid=eid, t=t, data=[(f, value(f)) for f in FIELDS[eid]]))
    for part in range(3):
        with open(f'{folder}/part{part}.xml', 'w', encoding='utf-8') as f:
            # days overlap in event time: a query has to merge partitions
            for e in model:
                if (e['rid'] * 3 // (N + 1) if e['rid'] % 10 else e['rid'] % 3) == part:
                    f.write(xml(e) + '\n')
    json.dump(model, open(f'{folder}/model.json', 'w'))


def stamp(t):
    s, frac = divmod(t, 10_000_000)
    d, s = divmod(s, 86400)
    return f'2026-11-{17 + d:02d}T{s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d}.{frac:07d}Z'


def xml(e):
    data = ''.join(f"<Data Name='{k}'>{escape(v)}</Data>" for k, v in e['data'])
    return ("<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><Provider Name='Microsoft-Windows-Sysmon' "
            f"Guid='{{5770385f-c22a-43e0-bf4c-06f5698ffbd9}}'/><EventID>{e['eid']}</EventID><Version>5</Version><Level>4</Level>"
            f"<Task>{e['eid']}</Task><Opcode>0</Opcode><Keywords>0x8000000000000000</Keywords><TimeCreated SystemTime='{stamp(e['t'])}'/>"
            f"<EventRecordID>{e['rid']}</EventRecordID><Correlation/><Execution ProcessID='9' ThreadID='8'/>"
            "<Channel>Microsoft-Windows-Sysmon/Operational</Channel><Computer>MODEL-PC</Computer><Security UserID='S-1-5-18'/></System>"
            f'<EventData>{data}</EventData></Event>')


def number(s):
    try:
        return int(s, 16) if s.lower().startswith('0x') else int(s) if s.isdigit() else None
    except ValueError:
        return None


def holds(e, field, op, want):
    values = [str(e['eid'])] if field == 'event_id' else [v for k, v in e['data'] if k.lower() == field.lower()]

    def equal(v, w):
        return v.lower() == w.lower() or (number(v) is not None and number(v) == number(w))

    def one(v):
        a, b, lv, lw = number(v), number(want), v.lower(), want.lower()
        return {'=': lambda: equal(v, want), '!=': lambda: equal(v, want), 'in': lambda: any(equal(v, w) for w in want.split(',')),
                'contains': lambda: lw in lv, '!contains': lambda: lw in lv, 'startswith': lambda: lv.startswith(lw),
                'endswith': lambda: lv.endswith(lw), 'like': lambda: fnmatch.fnmatchcase(lv, lw.replace('[', '[[]')),
                'exists': lambda: True, '!exists': lambda: True,
                '<': lambda: None not in (a, b) and a < b, '<=': lambda: None not in (a, b) and a <= b,
                '>': lambda: None not in (a, b) and a > b, '>=': lambda: None not in (a, b) and a >= b}[op]()
    return any(map(one, values)) != (op in ('!=', '!contains', '!exists'))


def condition():
    return rnd.choice([
        ('Image', rnd.choice(['endswith', 'startswith', 'contains', '!contains', '=', '!=']), rnd.choice(['\\cmd.exe', 'C:\\windows', 'sys', 'nothing', IMAGES[0]])),
        ('Image', 'like', rnd.choice(['*\\cmd.exe', '*s?stem32*', 'C:*', '*'])),
        ('DestinationPort', rnd.choice(['=', '!=', '<', '<=', '>', '>=']), rnd.choice(['443', '80', '0x1bb'])),
        ('DestinationPort', 'in', '80,8443'),
        ('DestinationIp', '=', '192.0.2.1'),
        ('GrantedAccess', rnd.choice(['=', '>', '<=']), rnd.choice(['0x1410', '5136'])),
        ('ProcessId', rnd.choice(['<', '>=']), str(rnd.randrange(400))),
        ('ParentProcessGuid', rnd.choice(['exists', '!exists']), ''),
        ('sourceprocessguid', '=', rnd.choice(GUIDS).upper()),
        ('RuleName', '=', rnd.choice(['', '-', 't1059'])),
        ('event_id', rnd.choice(['=', '!=', '>']), rnd.choice(['1', '3', '10'])),
        ('CommandLine', 'contains', rnd.choice(['<&>', 'ENC', '\t', '\x01'])),
    ])


def haechi(*args):
    r = subprocess.run(['haechi', *args], capture_output=True, text=True, timeout=100)
    assert r.returncode == 0, (args, r.stderr)
    return r.stdout


def check(folder):
    model = [dict(e, data=[tuple(d) for d in e['data']]) for e in json.load(open(f'{folder}/model.json'))]
    end = model[-1]['t']
    for n in range(300):
        args, want = [], sorted(model, key=lambda e: (e['t'], e['rid']))
        if rnd.random() < 0.5:
            a, b = sorted(rnd.randrange(end) for _ in 'ab')
            args += ['--since', stamp(a), '--until', stamp(b)]
            want = [e for e in want if a <= e['t'] <= b]
        if rnd.random() < 0.3:
            ids = rnd.sample([1, 3, 10, 255, 7], rnd.randrange(1, 4))
            args += ['--id', ','.join(map(str, ids))]
            want = [e for e in want if e['eid'] in ids]
        if rnd.random() < 0.2:
            g = rnd.choice(GUIDS)
            args += ['--guid', rnd.choice([g, g.upper()])]
            want = [e for e in want if any(v == g for _, v in e['data'])]
        for _ in range(rnd.choice([0, 0, 1, 1, 2])):
            c = condition()
            args += ['--where', ' '.join(c) if c[2] or c[1] in ('=', '!=') else ' '.join(c[:2])]
            want = [e for e in want if holds(e, *c)]
        if rnd.random() < 0.2:
            text = rnd.choice(['echo', 'ÜNÏ', 'ünï', 'aaaa', '203.0.113', 'no such thing'])
            args += ['--search', text]
            fold = lambda s: ''.join(c.lower() if c.isascii() else c for c in s)
            want = [e for e in want if any(fold(text) in fold(v) for _, v in e['data']) or fold(text) in 'model-pc']
        if rnd.random() < 0.4:
            args += ['--reverse']
            want = want[::-1]
        if rnd.random() < 0.4:
            limit = rnd.choice([1, 7, 100, 5000])
            args += ['--limit', str(limit)]
            want = want[:limit]
        rows = [json.loads(l) for l in haechi('events', '--host', 'MODEL-PC', '--format', 'json', *args).splitlines()]
        got = [r['record_id'] for r in rows]
        if got != [e['rid'] for e in want]:
            extra, lost = set(got) - {e['rid'] for e in want}, {e['rid'] for e in want} - set(got)
            sys.exit(f'query {n} {args}: {len(got)} for {len(want)} events; too many {sorted(extra)[:5]}, missing {sorted(lost)[:5]}')
        for r, e in zip(rows, want):
            assert list(r['data'].items()) == e['data'] and r['time'] == stamp(e['t']), (args, r, e)
        count = int(haechi('events', '--host', 'MODEL-PC', '--count', *args))
        assert count == len(want), (args, count, len(want))
    print('300 queries agree')


if __name__ == '__main__':
    {'make': make, 'check': check}[sys.argv[1]](sys.argv[2])
