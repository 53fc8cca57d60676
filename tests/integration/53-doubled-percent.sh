#!/bin/sh
# Sysmon on Windows writes every % twice in CommandLine of event 1 and Details of event 13: people see and search what was meant,
# scripts get what was written.
. "$(dirname "$0")/../lib.sh"
demo=$ROOT/tests/data/demo/demo.xml

start_collector
enroll DEMO-PC
send DEMO-PC "$demo"
ev() { haechi events --host DEMO-PC "$@"; }
guid='{d3404000-4627-6b00-0600-000000000100}'

contains 'table, event 1' "$(ev --id 1)" '-OutFile %TEMP%\a.ps1; & %TEMP%\a.ps1"'
contains 'table, event 13' "$(ev --id 13)" 'rundll32.exe %APPDATA%\update.dll,Start'
contains 'JSON is raw' "$(ev --id 1 --format json)" '-OutFile %%TEMP%%\\a.ps1'
contains 'XML is raw' "$(ev --id 13 --format xml)" 'rundll32.exe %%APPDATA%%\update.dll,Start'
contains 'CSV is raw' "$(ev --id 1 --format csv)" '%%TEMP%%'
contains 'the tree' "$(haechi tree --host DEMO-PC --guid "$guid")" '-OutFile %TEMP%\a.ps1'

# the command line of a process is the parent's command line that its child tells of
contains 'the parent in the tree' "$(haechi tree --host DEMO-PC --guid "$guid" --format json)" 'Invoice 100% final.docm'
case $(haechi tree --host DEMO-PC --guid "$guid" --format json) in *'100%%'*) fail 'the tree shows a doubled percent sign' ;; esac

for value in '-OutFile %TEMP%\a' '-OutFile %%TEMP%%\a'; do
    same "where: $value" 1 "$(ev --where "CommandLine contains $value" --count)"
done
same 'search, as written' 1 "$(ev --search '-OutFile %%TEMP%%\a' --count)"
same 'search, as meant: its child tells of it too' 2 "$(ev --search '-OutFile %TEMP%\a' --count)"
same 'where, Details' 1 "$(ev --where 'Details startswith rundll32.exe %APPDATA%\' --count)"
n=$(ev --id 1 --count)
same 'the others' $((n - 1)) "$(ev --id 1 --where 'CommandLine !contains -OutFile %TEMP%\a' --count)"
