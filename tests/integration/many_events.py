"""Prints N made Sysmon events of one host, one a line: record ids from FIRST (1) on, a second apart from START (a Unix time) on.

    many_events.py N HOST [FIRST [START]]"""
import sys
import time

n, host = int(sys.argv[1]), sys.argv[2]
first = int(sys.argv[3]) if len(sys.argv) > 3 else 1
start = int(sys.argv[4]) if len(sys.argv) > 4 else 1_764_000_000
for i in range(n):
    t = time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(start + i))
    guid = '{%08x-0000-0000-%04x-0000000000aa}' % (start & 0xffffffff, i % 50)
    print("<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><Provider Name='Microsoft-Windows-Sysmon' "
          "Guid='{5770385f-c22a-43e0-bf4c-06f5698ffbd9}'/><EventID>11</EventID><Version>2</Version><Level>4</Level><Task>11</Task>"
          f"<Opcode>0</Opcode><Keywords>0x8000000000000000</Keywords><TimeCreated SystemTime='{t}.{i % 10_000_000:07d}Z'/>"
          f"<EventRecordID>{first + i}</EventRecordID><Correlation/><Execution ProcessID='2748' ThreadID='3912'/>"
          f"<Channel>Microsoft-Windows-Sysmon/Operational</Channel><Computer>{host}</Computer><Security UserID='S-1-5-18'/></System>"
          f"<EventData><Data Name='RuleName'>-</Data><Data Name='UtcTime'>{t.replace('T', ' ')}.000</Data><Data Name='ProcessGuid'>{guid}</Data>"
          f"<Data Name='ProcessId'>{4 * (i % 50) + 100}</Data><Data Name='Image'>C:\\Windows\\System32\\made{i % 50}.exe</Data>"
          f"<Data Name='TargetFilename'>C:\\Temp\\file-{first + i}.tmp</Data><Data Name='CreationUtcTime'>{t.replace('T', ' ')}.000</Data>"
          "<Data Name='User'>NT AUTHORITY\\SYSTEM</Data></EventData></Event>")
