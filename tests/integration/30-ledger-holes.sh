#!/bin/sh
# A removed range of records shows as exactly that hole; importing the missing part closes it; a cleared log explains what it took.
. "$(dirname "$0")/../lib.sh"

start_collector
enroll HOLES
python3 "$ROOT/tests/integration/many_events.py" 1000 HOLES >"$TMP/all.xml"
sed '201,350d;777d' "$TMP/all.xml" >"$TMP/part.xml"
send HOLES "$TMP/part.xml"
contains 'ledger' "$(haechi ledger --host HOLES)" 'received 849 of 1000  (record ids 1 to 1000)  151 missing in 2 holes'
same 'the holes' 'HOLES  Microsoft-Windows-Sysmon/Operational  record ids 201 to 350 (150)  open
HOLES  Microsoft-Windows-Sysmon/Operational  record ids 777 to 777 (1)  open' "$(haechi ledger --host HOLES --holes)"

sed -n '180,400p' "$TMP/all.xml" >"$TMP/missing.xml"
contains 'import' "$(haechi import --host HOLES "$TMP/missing.xml")" '221 events of 1 file: 150 stored, 71 held already'
same 'one hole is left' 'HOLES  Microsoft-Windows-Sysmon/Operational  record ids 777 to 777 (1)  open' "$(haechi ledger --host HOLES --holes)"
haechi import --host HOLES "$TMP/all.xml"
same 'none is left' '' "$(haechi ledger --host HOLES --holes)"
contains 'complete' "$(haechi ledger --host HOLES)" 'received 1000 of 1000'

# cleared between 400 and 600: System's event 104 explains the hole, whatever comes first
enroll CLEARED
sed 's/>HOLES</>CLEARED</' "$TMP/all.xml" | sed '401,600d' >"$TMP/cleared.xml"
cat >"$TMP/104.xml" <<'XML'
<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><Provider Name='Microsoft-Windows-Eventlog' Guid='{fc65ddd8-d6ef-4962-83d5-6e5cfe9ce148}'/><EventID>104</EventID><Version>0</Version><Level>4</Level><Task>104</Task><Opcode>0</Opcode><Keywords>0x8000000000000000</Keywords><TimeCreated SystemTime='2025-11-24T16:09:55.0000000Z'/><EventRecordID>77</EventRecordID><Correlation/><Execution ProcessID='812' ThreadID='3916'/><Channel>System</Channel><Computer>CLEARED</Computer><Security UserID='S-1-5-21-1-2-3-1106'/></System><UserData><LogFileCleared xmlns='http://manifests.microsoft.com/win/2004/08/windows/eventlog'><SubjectUserName>mallory</SubjectUserName><SubjectDomainName>CORP</SubjectDomainName><Channel>Microsoft-Windows-Sysmon/Operational</Channel><BackupPath></BackupPath></LogFileCleared></UserData></Event>
XML
send CLEARED "$TMP/cleared.xml" "$TMP/104.xml"
explained() { haechi ledger --host CLEARED --holes | grep -qx 'CLEARED  Microsoft-Windows-Sysmon/Operational  record ids 401 to 600 (200)  cleared'; }
wait_for 15 explained

# what the ledger says agrees with a scan of the store
for host in HOLES CLEARED; do
    same "$host: ledger and store" "$(haechi events --host "$host" --count)" \
        "$(haechi ledger --host "$host" --json | sed 's/.*"held":\([0-9]*\).*/\1/' | awk '{ n += $1 } END { print n }')"
done
