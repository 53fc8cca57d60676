#!/usr/bin/env python3
"""Compare rendered events with a reference reading of the same file.

usage: evtx_compare.py REF.jsonl DUMP

DUMP: per event a line "<record id of the header> <written FILETIME>", then the event's XML on one line.
REF.jsonl: one object a line: the System fields, and data ([[name, value], ...]) or tree ([tag, {attributes}, text or
[child, ...]]). Case of GUIDs and leading zeros of hexadecimal numbers do not count, nor CR LF against LF: the reference
was read through an XML parser, which folds them. Exit 1 and a line for each difference.
"""
import json, re, sys
import xml.etree.ElementTree as ET

NS = '{http://schemas.microsoft.com/win/2004/08/events/event}'
HEX = re.compile(r'^0x0+(?=[0-9a-fA-F])')
GUID = re.compile(r'^\{[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\}$')
BAD = re.compile('[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]')
PUA = 0xF0000  # where characters that XML 1.0 cannot hold are carried through the parser


def back(s):
    return ''.join(chr(ord(c) - PUA) if PUA <= ord(c) < PUA + 0x10000 else c for c in s or '')


def norm(v):
    if isinstance(v, str):
        v = HEX.sub('0x', v).replace('\r\n', '\n').replace('\r', '\n')
        return v.lower() if GUID.match(v) else v
    if isinstance(v, list):
        return [norm(x) for x in v]
    if isinstance(v, dict):
        return {k: norm(x) for k, x in v.items() if x is not None}
    return v


def tree(e):
    tag = e.tag.split('}')[-1]
    return [tag, dict(e.attrib), [tree(k) for k in e] if len(e) else back(e.text)]


def facts(line):
    e = ET.fromstring(BAD.sub(lambda m: chr(PUA + ord(m.group(0))), line))
    if e.tag != NS + 'Event':
        raise ValueError('root element is ' + e.tag)
    s = e.find(NS + 'System')
    text = lambda t: s.findtext(NS + t)
    attr = lambda t, k: s.find(NS + t).get(k) if s.find(NS + t) is not None else None
    num = lambda v: int(v) if v not in (None, '') else None
    r = dict(rid=num(text('EventRecordID')), prov=attr('Provider', 'Name'), guid=attr('Provider', 'Guid'),
             src=attr('Provider', 'EventSourceName'), eid=num(text('EventID')), qual=num(attr('EventID', 'Qualifiers')),
             ver=num(text('Version')), level=num(text('Level')), task=num(text('Task')), op=num(text('Opcode')),
             kw=text('Keywords'), time=attr('TimeCreated', 'SystemTime'), activity=attr('Correlation', 'ActivityID'),
             pid=num(attr('Execution', 'ProcessID')), tid=num(attr('Execution', 'ThreadID')), chan=text('Channel'),
             host=text('Computer'), sid=attr('Security', 'UserID'))
    body = [k for k in e if k.tag != NS + 'System']
    r['body'] = body[0].tag.split('}')[-1] if body else None
    if body and r['body'] == 'EventData' and all(len(d) == 0 for d in body[0]):
        r['data'] = [[d.get('Name') if d.tag == NS + 'Data' else d.tag.replace(NS, '<') + '>', back(d.text)] for d in body[0]]
        if body[0].get('Name'):
            r['data_name'] = body[0].get('Name')
    elif body:
        r['tree'] = tree(body[0])
    return r


def main(ref_path, dump_path):
    with open(ref_path, encoding='utf-8', errors='surrogatepass', newline='\n') as f:
        want = [json.loads(x) for x in f.read().split('\n') if x]
    with open(dump_path, encoding='utf-8', errors='surrogatepass', newline='\n') as f:
        lines = f.read().split('\n')
    bad = 0
    n = (len(lines) - 1) // 2
    if n != len(want):
        print(f'{ref_path}: {len(want)} records, read {n}')
        bad += 1
    for i, w in enumerate(want[:n]):
        hdr, written = lines[2 * i].split()
        try:
            got = norm(dict(hdr_id=int(hdr), written=int(written), **facts(lines[2 * i + 1])))
        except (ET.ParseError, ValueError) as e:
            print(f'{ref_path}:{i + 1}: {e}: {lines[2 * i + 1][:300]}')
            bad += 1
            continue
        w = norm(w)
        for k in sorted(set(w) | set(got)):
            if w.get(k) != got.get(k):
                print(f'{ref_path}:{i + 1}: {k}: want {str(w.get(k))[:300]!r} got {str(got.get(k))[:300]!r}')
                bad += 1
    return 1 if bad else 0


sys.exit(main(sys.argv[1], sys.argv[2]))
