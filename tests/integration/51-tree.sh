#!/bin/sh
# Process trees: missing and empty parents, a reused PID, children that arrive before their parents, a cycle and a process that
# is its own parent, GUIDs spelled SourceProcessGUID, and an answer right after the ack.
. "$(dirname "$0")/../lib.sh"

python3 - "$TMP" <<'PY'
import sys
rid = 0
def g(n): return '{%08x-1111-2222-3333-444444444444}' % n
ZERO = '{00000000-0000-0000-0000-000000000000}'
out = open(sys.argv[1] + '/tree.xml', 'w')
def ev(eid, t, **data):
    global rid
    rid += 1
    d = ''.join(f"<Data Name='{k}'>{v}</Data>" for k, v in data.items())
    out.write("<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><Provider Name='Microsoft-Windows-Sysmon' "
      f"Guid='{{5770385f-c22a-43e0-bf4c-06f5698ffbd9}}'/><EventID>{eid}</EventID><Version>5</Version><Level>4</Level><Task>{eid}</Task>"
      f"<Opcode>0</Opcode><Keywords>0x8000000000000000</Keywords><TimeCreated SystemTime='2026-11-20T10:{t:02d}:00.0000000Z'/>"
      f"<EventRecordID>{rid}</EventRecordID><Correlation/><Execution ProcessID='9' ThreadID='8'/>"
      "<Channel>Microsoft-Windows-Sysmon/Operational</Channel><Computer>TREE</Computer><Security UserID='S-1-5-18'/></System>"
      f"<EventData>{d}</EventData></Event>\n")
def start(n, parent, t, pid, image, pimage='-', ppid=0):
    ev(1, t, UtcTime=f'2026-11-20 10:{t:02d}:00.000', ProcessGuid=g(n), ProcessId=pid, Image=image, CommandLine=image + ' -x',
       User='CORP\\u', ParentProcessGuid=parent, ParentProcessId=ppid, ParentImage=pimage, ParentCommandLine=pimage)
start(3, g(2), 5, 103, 'child.exe', 'root.exe', 102)          # before its parent
start(2, ZERO, 1, 102, 'root.exe')
start(4, g(3), 6, 104, 'grandchild.exe', 'child.exe', 103)
ev(5, 7, UtcTime='2026-11-20 10:07:00.000', ProcessGuid=g(4), ProcessId=104, Image='grandchild.exe')
start(5, g(3), 8, 104, 'reuser.exe', 'child.exe', 103)        # the same PID again
start(6, g(99), 9, 106, 'orphan.exe', 'unseen.exe', 999)      # its parent was never seen
ev(10, 10, UtcTime='2026-11-20 10:10:00.000', SourceProcessGUID=g(5), SourceProcessId=104, SourceImage='reuser.exe',
   TargetProcessGUID=g(6), TargetProcessId=106, TargetImage='orphan.exe', GrantedAccess='0x10')
start(7, g(8), 11, 107, 'ring-a.exe'); start(8, g(7), 12, 108, 'ring-b.exe'); start(9, g(9), 13, 109, 'self.exe')
start(10, '-', 14, 110, 'dash.exe')                           # no parent GUID at all
PY

start_collector
enroll TREE
send TREE "$TMP/tree.xml"
tree() { haechi tree --host TREE --format json "$@"; }
names() { sed -n 's/.*"depth":\([0-9]*\).*"start_event":"\([a-z_]*\)".*"image":"\([^"]*\)".*/\1 \3 \2/p'; }
g() { printf '{%08x-1111-2222-3333-444444444444}' "$1"; }

same 'whole tree' '0 root.exe seen
1 child.exe seen
2 grandchild.exe seen
2 reuser.exe seen' "$(tree --guid "$(g 3)" | names)"
same 'from a leaf: its ancestors' '0 root.exe seen
1 child.exe seen
2 reuser.exe seen' "$(tree --guid "$(g 5)" | names)"
same 'an unseen parent is shown and marked' '0 unseen.exe not_seen
1 orphan.exe seen' "$(tree --guid "$(g 6)" | names)"
contains 'text says so' "$(haechi tree --host TREE --guid "$(g 6)")" '(its start was not seen)'
contains 'a cycle is cut' "$(tree --guid "$(g 7)")" '"start_event":"cycle"'
contains 'a process that is its own parent' "$(tree --guid "$(g 9)")" '"start_event":"cycle"'
same 'no parent GUID' '0 dash.exe seen' "$(tree --guid "$(g 10)" | names)"

same 'PID at its first use' "2 grandchild.exe seen" "$(tree --pid 104 --at 2026-11-20T10:06:30Z | names | tail -n 1)"
same 'PID at its second use' "2 reuser.exe seen" "$(tree --pid 104 --at 2026-11-20T10:09:00Z | names | tail -n 1)"
same 'PID, latest' "2 reuser.exe seen" "$(tree --pid 104 | names | tail -n 1)"
refused 'no process had PID 104 at that time; the last one before it ended 2026-11-20T10:07:00' haechi tree --host TREE --pid 104 --at 2026-11-20T10:07:30Z
refused 'no process had PID 104 at that time; the first one known started' haechi tree --host TREE --pid 104 --at 2026-11-20T10:01:00Z
refused 'no process with PID 5 is known' haechi tree --host TREE --pid 5
refused 'no such process' haechi tree --host TREE --guid "$(g 1234)"

contains 'events that name a process are counted' "$(tree --guid "$(g 5)" | tail -n 1)" '"events":{"1":1,"10":1}'
same 'SourceProcessGUID is found like SourceProcessGuid' 2 "$(haechi events --host TREE --guid "$(g 5)" --count)"
