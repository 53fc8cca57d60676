#!/usr/bin/env python3
"""Make the small .evtx samples in tests/data/evtx/. All events are made up.

usage: make_evtx.py OUTPUT-FOLDER

sysmon-made.evtx  a Sysmon log: a process, its child, a network connection, a DNS query, hard text
odd-made.evtx     other shapes: every value type, UserData, unnamed and repeated Data, absent values, text tokens
"""
import os, struct, sys, zlib

NULL, STRING, ANSI, I8, U8, I16, U16, I32, U32, I64, U64, F32, F64, BOOL, BIN, GUID, SIZE, FT, ST, SID, X32, X64 = range(22)
BXML, ARRAY = 0x21, 0x80
EVENT_NS = 'http://schemas.microsoft.com/win/2004/08/events/event'
T0 = 133_770_096_000_000_000  # 2024-11-25T12:00:00Z


def utf16(s):
    return s.encode('utf-16-le', 'surrogatepass')


def guid(text):
    a, b, c, d, e = text.strip('{}').split('-')
    return bytes.fromhex(a)[::-1] + bytes.fromhex(b)[::-1] + bytes.fromhex(c)[::-1] + bytes.fromhex(d + e)


def sid(*subs, authority=5):
    return bytes([1, len(subs)]) + authority.to_bytes(6, 'big') + b''.join(struct.pack('<I', s) for s in subs)


class Sub:
    """A substitution: value number n, left out with its element or attribute when absent if optional."""
    def __init__(self, n, kind, optional=False):
        self.n, self.kind, self.optional = n, kind, optional


class Raw(bytes):
    """A token as bytes."""


class E:
    def __init__(self, tag, attrs=(), *content, needs=0xffff):
        self.tag, self.attrs, self.content, self.needs = tag, list(attrs), content, needs


class Chunk:
    def __init__(self):
        self.b = bytearray(512)
        self.names, self.templates, self.ids = {}, {}, []
        self.last = 0

    def u(self, fmt, *v):
        self.b += struct.pack('<' + fmt, *v)

    def name(self, s):
        if s in self.names:
            return self.u('I', self.names[s])
        self.u('I', len(self.b) + 4)
        self.names[s] = len(self.b)
        h = 0
        for c in struct.unpack('<%dH' % len(s), utf16(s)):
            h = (h * 65599 + c) & 0xffffffff
        bucket = 128 + 4 * ((h & 0xffff) % 64)
        self.u('IHH', struct.unpack_from('<I', self.b, bucket)[0], h & 0xffff, len(s))
        struct.pack_into('<I', self.b, bucket, self.names[s])
        self.b += utf16(s) + b'\0\0'

    def sized(self, write):
        at = len(self.b)
        self.u('I', 0)
        write()
        struct.pack_into('<I', self.b, at, len(self.b) - at - 4)

    def item(self, c, dep):
        if isinstance(c, E):
            self.element(c, dep)
        elif isinstance(c, Sub):
            self.u('BHB', 0x0e if c.optional else 0x0d, c.n, c.kind)
        elif isinstance(c, Raw):
            self.b += c
        elif isinstance(c, tuple):  # entity reference
            self.u('B', 0x09)
            self.name(c[0])
        else:
            self.u('BBH', 0x05, STRING, len(utf16(c)) // 2)
            self.b += utf16(c)

    def element(self, e, dep=True):
        self.u('B', 0x41 if e.attrs else 0x01)
        if dep:
            self.u('H', e.needs)

        def attributes():
            for i, (k, v) in enumerate(e.attrs):
                self.u('B', 0x46 if i + 1 < len(e.attrs) else 0x06)
                self.name(k)
                self.item(v, dep)

        def body():
            self.name(e.tag)
            if e.attrs:
                self.sized(attributes)
            if e.content is None or e.content == ():
                self.u('B', 0x03)
            else:
                self.u('B', 0x02)
                for c in e.content:
                    if c is not None:
                        self.item(c, dep)
                self.u('B', 0x04)
        self.sized(body)

    def fragment(self):
        self.b += b'\x0f\x01\x01\x00'

    def template(self, root, key, values):
        """values: (type, bytes) or a function that writes BinXML in place."""
        ident = struct.pack('<I', zlib.crc32(key.encode())) + b'made-by-test'
        self.u('BB', 0x0c, 1)
        self.b += ident[:4]
        if key in self.templates:
            self.u('I', self.templates[key])
        else:
            at = self.templates[key] = len(self.b) + 4
            self.u('I', at)
            bucket = 384 + 4 * (struct.unpack('<I', ident[:4])[0] % 32)
            self.u('I', struct.unpack_from('<I', self.b, bucket)[0])
            struct.pack_into('<I', self.b, bucket, at)
            self.b += ident

            def definition():
                self.fragment()
                self.element(root)
                self.u('B', 0)
            self.sized(definition)
        self.u('I', len(values))
        desc = len(self.b)
        for v in values:
            self.u('HBB', 0 if callable(v) else len(v[1]), BXML if callable(v) else v[0], 0)
        for i, v in enumerate(values):
            at = len(self.b)
            if callable(v):
                v()
                struct.pack_into('<H', self.b, desc + 4 * i, len(self.b) - at)
            else:
                self.b += v[1]

    def record(self, rid, time, write):
        at = self.last = len(self.b)
        self.b += b'**\0\0'
        self.u('IQQ', 0, rid, time)
        self.fragment()
        write()
        self.u('B', 0)
        while (len(self.b) + 4) % 8:
            self.u('B', 0)
        size = len(self.b) + 4 - at
        self.u('I', size)
        struct.pack_into('<I', self.b, at + 4, size)
        self.ids.append(rid)

    def finish(self, first_number):
        b, free = self.b, len(self.b)
        assert free <= 65536, free
        b += bytes(65536 - free)
        n = len(self.ids)
        struct.pack_into('<8sQQQQIIII', b, 0, b'ElfChnk\0', first_number, first_number + n - 1, self.ids[0], self.ids[-1],
                         128, self.last, free, zlib.crc32(bytes(b[512:free])))
        struct.pack_into('<I', b, 124, zlib.crc32(bytes(b[0:120] + b[128:512])))
        return bytes(b)


SYSTEM = E('Event', [('xmlns', EVENT_NS)],
           E('System', (),
             E('Provider', [('Name', Sub(0, STRING, True)), ('Guid', Sub(1, GUID, True))]),
             E('EventID', [('Qualifiers', Sub(3, U16, True))], Sub(2, U16, True), needs=2),
             E('Version', (), Sub(4, U8, True), needs=4),
             E('Level', (), Sub(5, U8, True), needs=5),
             E('Task', (), Sub(6, U16, True), needs=6),
             E('Opcode', (), Sub(7, U8, True), needs=7),
             E('Keywords', (), Sub(8, X64, True), needs=8),
             E('TimeCreated', [('SystemTime', Sub(9, FT, True))], needs=9),
             E('EventRecordID', (), Sub(10, U64, True), needs=10),
             E('Correlation', [('ActivityID', Sub(11, GUID, True)), ('RelatedActivityID', Sub(12, GUID, True))]),
             E('Execution', [('ProcessID', Sub(13, U32, True)), ('ThreadID', Sub(14, U32, True))], needs=13),
             E('Channel', (), Sub(15, STRING, True), needs=15),
             E('Computer', (), Sub(16, STRING)),
             E('Security', [('UserID', Sub(17, SID, True))])),
           Sub(18, BXML))
ABSENT = (NULL, b'')
p = struct.pack


def event(chunk, rid, eid, body, prov='Microsoft-Windows-Sysmon', guid_='{5770385f-c22a-43e0-bf4c-06f5698ffbd9}', version=5,
          chan='Microsoft-Windows-Sysmon/Operational', activity=None, classic=False, user=sid(18)):
    time = T0 + rid * 12_345_678
    values = [(STRING, utf16(prov)), (GUID, guid(guid_)) if guid_ else ABSENT, (U16, p('<H', eid)),
              (U16, p('<H', 16384)) if classic else ABSENT, ABSENT if classic else (U8, bytes([version])), (U8, b'\4'),
              (U16, p('<H', eid & 0xff)), ABSENT if classic else (U8, b'\0'), (X64, p('<Q', 1 << 63 if not classic else 1 << 55)),
              (FT, p('<Q', time)), (U64, p('<Q', rid)), (GUID, guid(activity)) if activity else ABSENT, ABSENT,
              ABSENT if classic else (U32, p('<I', 2460)), ABSENT if classic else (U32, p('<I', 3112)), (STRING, utf16(chan)),
              (STRING, utf16('made-host.haechi.example')), (SID, user) if user else ABSENT, body]
    chunk.record(rid, time, lambda: chunk.template(SYSTEM, 'system', values))


def named(chunk, key, fields):
    """EventData with a template: fields are (name, type, bytes)."""
    root = E('EventData', (), *[E('Data', [('Name', n)] if n else (), Sub(i, t)) for i, (n, t, _) in enumerate(fields)])

    def write():
        chunk.fragment()
        chunk.template(root, key, [(t, v) for _, t, v in fields])
        chunk.u('B', 0)
    return write


def text(n, s):
    return n, STRING, utf16(s)


PARENT, CHILD = '{b3c2a0de-0001-6744-0100-000000000b00}', '{b3c2a0de-0002-6744-0200-000000000b00}'


def process(guid_, pid, image, line, parent, ppid, pimage, pline):
    return [text('RuleName', '-'), text('UtcTime', '2024-11-25 12:00:01.234'), ('ProcessGuid', GUID, guid(guid_)),
            ('ProcessId', U32, p('<I', pid)), text('Image', image), text('FileVersion', '10.0.19041.1'), text('Description', 'Made & <tested>'),
            text('Product', 'Haechi "sample"'), text('Company', "The tester's"), text('OriginalFileName', image.split('\\')[-1]),
            text('CommandLine', line), text('CurrentDirectory', 'C:\\Windows\\'), text('User', 'MADE\\alice'),
            ('LogonGuid', GUID, guid('{b3c2a0de-0000-6744-20f1-010000000000}')), ('LogonId', X64, p('<Q', 0x1f120)),
            ('TerminalSessionId', U32, p('<I', 1)), text('IntegrityLevel', 'Medium'),
            text('Hashes', 'SHA256=' + '00112233445566778899AABBCCDDEEFF' * 2), ('ParentProcessGuid', GUID, guid(parent)),
            ('ParentProcessId', U32, p('<I', ppid)), text('ParentImage', pimage), text('ParentCommandLine', pline), text('ParentUser', 'MADE\\alice')]


def sysmon():
    c = Chunk()
    exe, cmd = 'C:\\Windows\\explorer.exe', 'C:\\Windows\\System32\\cmd.exe'
    none = '{00000000-0000-0000-0000-000000000000}'
    event(c, 101, 1, named(c, 'p1', process(PARENT, 4100, exe, exe, none, 700, '-', '-')))
    event(c, 102, 1, named(c, 'p1', process(CHILD, 4200, cmd, 'cmd.exe /c ' + 'echo haechi & ' * 290, PARENT, 4100, exe, exe)))
    event(c, 103, 3, named(c, 'p3', [text('RuleName', ''), text('UtcTime', '2024-11-25 12:00:02.000'), ('ProcessGuid', GUID, guid(CHILD)),
          ('ProcessId', U32, p('<I', 4200)), text('Image', cmd), text('User', 'MADE\\alice'), text('Protocol', 'tcp'), ('Initiated', BOOL, p('<I', 1)),
          ('SourceIsIpv6', BOOL, p('<I', 0)), text('SourceIp', '192.0.2.7'), text('SourceHostname', 'made-host'), ('SourcePort', U16, p('<H', 50123)),
          text('SourcePortName', ''), ('DestinationIsIpv6', BOOL, p('<I', 0)), text('DestinationIp', '198.51.100.23'),
          text('DestinationHostname', 'files.haechi.example'), ('DestinationPort', U16, p('<H', 443)), text('DestinationPortName', 'https')]))
    event(c, 104, 22, named(c, 'p22', [text('RuleName', '-'), text('UtcTime', '2024-11-25 12:00:03.000'), ('ProcessGuid', GUID, guid(CHILD)),
          ('ProcessId', U32, p('<I', 4200)), text('QueryName', 'files.haechi.example'), text('QueryStatus', '0'),
          text('QueryResults', '::ffff:198.51.100.23;'), text('Image', cmd), text('User', 'MADE\\alice')]))
    hard = 'line one\r\nline two\ttab \x01\x1b\x7f control, lone \ud83d high, lone \ude00 low, pair \U0001f600, \u9d3b\uc640 \'"<&>'
    event(c, 105, 13, named(c, 'p13', [text('RuleName', hard), text('EventType', 'SetValue'), text('UtcTime', '2024-11-25 12:00:04.000'),
          ('ProcessGuid', GUID, guid(CHILD)), ('ProcessId', U32, p('<I', 4200)), text('Image', cmd),
          text('TargetObject', 'HKLM\\SOFTWARE\\Haechi\\Sample'), text('Details', 'DWORD (0x00000001)'), text('User', 'MADE\\alice')]))
    event(c, 106, 5, named(c, 'p5', [text('RuleName', '-'), text('UtcTime', '2024-11-25 12:00:05.000'), ('ProcessGuid', GUID, guid(CHILD)),
          ('ProcessId', U32, p('<I', 4200)), text('Image', cmd), text('User', 'MADE\\alice')]))
    return [c]


def odd():
    c = Chunk()
    other = dict(prov='Haechi-Made', guid_='{11111111-2222-3333-4444-555555555555}', chan='Application', version=0)
    types = [('Null', NULL, b''), text('String', 'x'), ('Ansi', ANSI, b'na\xefve \x80'), ('I8', I8, b'\x80'), ('U8', U8, b'\xff'), ('I16', I16, p('<h', -2)),
             ('U16', U16, p('<H', 65535)), ('I32', I32, p('<i', -3)), ('U32', U32, p('<I', 4294967295)), ('I64', I64, p('<q', -1 << 63)),
             ('U64', U64, p('<Q', 2**64 - 1)), ('F32', F32, p('<f', 1.5)), ('F64', F64, p('<d', -0.1)), ('True', BOOL, p('<I', 1)), ('False', BOOL, p('<I', 0)),
             ('Bin', BIN, bytes(range(0xf8, 0x100))), ('Guid', GUID, guid(PARENT)), ('Size4', SIZE, p('<I', 0x1f4)), ('Size8', SIZE, p('<Q', 0x7ffe0000abcd)),
             ('Ft', FT, p('<Q', T0 + 1)), ('St', ST, p('<8H', 2024, 11, 1, 25, 12, 34, 56, 789)), ('Sid', SID, sid(21, 1, 2, 3, 500)), ('X32', X32, p('<I', 0)),
             ('X64', X64, p('<Q', 0xdeadbeef00)), ('Empty', STRING, b'')]
    event(c, 7, 1000, named(c, 'types', types), **other)
    arrays = [('Strings', ARRAY | STRING, utf16('one\0two\0\0four\0')), ('Numbers', ARRAY | U16, p('<3H', 1, 2, 3)), ('Hex', ARRAY | X32, p('<2I', 16, 255)),
              ('None', ARRAY | STRING, b'')]
    event(c, 8, 1001, named(c, 'arrays', arrays), **other)
    classic = E('EventData', (), E('Data', (), Sub(0, ARRAY | STRING)), E('Binary', (), Sub(1, BIN, True), needs=1))

    def classic_body(strings, data):
        def write():
            c.fragment()
            c.template(classic, 'classic', [(ARRAY | STRING, utf16(strings)), (BIN, data) if data else ABSENT])
            c.u('B', 0)
        return write
    old = dict(prov='Made Classic', guid_=None, chan='Application', classic=True, user=None)
    event(c, 9, 1002, classic_body('first\0\0third\0', b'\x0a\x0b'), **old)
    event(c, 10, 1003, classic_body('only\0', None), **old)
    tree = E('UserData', (), E('Made', [('xmlns:x', 'urn:made'), ('xmlns', 'urn:made:tree')], E('Leaf', [('a', Sub(0, STRING)), ('gone', Sub(2, STRING, True))], Sub(1, U32)),
                               E('Branch', (), E('Leaf', (), 'text ', ('amp',), ' more', Raw(b'\x08\x41\x00'), Raw(b'\x07\x03\x00' + utf16('<c>'))), E('Empty'), E('Gone', (), Sub(2, STRING, True), needs=2),
                                 E('Gone2', (), Sub(2, STRING, True)))))

    def user_data():
        c.fragment()
        c.template(tree, 'tree', [(STRING, utf16('tab\there \'quoted\' "twice"')), (U32, p('<I', 42)), ABSENT])
        c.u('B', 0)
    event(c, 11, 1004, user_data, activity='{0a0b0c0d-0102-0304-0506-0708090a0b0c}', **other)
    plain = E('EventData', (), E('Data', [('Name', 'Direct')], 'no template here'))

    def direct():
        c.fragment()
        c.element(plain, dep=False)
        c.u('B', 0)
    event(c, 12, 1005, direct, **other)
    return [c]


def write(path, chunks):
    data, number = b'', 1
    for c in chunks:
        n, last = len(c.ids), c.ids[-1]
        data += c.finish(number)
        number += n
    h = bytearray(4096)
    struct.pack_into('<8sQQQIHHHH', h, 0, b'ElfFile\0', 0, len(chunks) - 1, last + 1, 128, 1, 3, 4096, len(chunks))
    struct.pack_into('<I', h, 124, zlib.crc32(bytes(h[:120])))
    with open(path, 'wb') as f:
        f.write(bytes(h) + data)


if __name__ == '__main__':
    os.makedirs(sys.argv[1], exist_ok=True)
    write(os.path.join(sys.argv[1], 'sysmon-made.evtx'), sysmon())
    write(os.path.join(sys.argv[1], 'odd-made.evtx'), odd())
