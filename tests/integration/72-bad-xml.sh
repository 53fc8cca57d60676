#!/bin/sh
# Malformed event XML is reported with line and byte, and the rest goes on; entity bombs and endless lines cost neither memory nor time.
. "$(dirname "$0")/../lib.sh"
need python3
demo=$ROOT/tests/data/demo/demo.xml
start_collector
enroll A
peak() { # COMMAND...: prints the peak of its resident memory in KiB
    python3 -c 'import resource, subprocess, sys
subprocess.call(sys.argv[1:], stdout=2)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)' "$@"
}

python3 - "$demo" "$TMP" <<'PY'
import re, sys
lines = [l for l in open(sys.argv[1]).read().split('\n') if l.startswith('<Event ')]
out = sys.argv[2]
bad = list(lines)
bad[4] = bad[4].replace('<EventID>', '<EventID', 1)
bad[8] = bad[8].replace('</Event>', '', 1)
bad[12] = bad[12].replace('<Data ', '<Data <', 1)
bad[16] = bad[16].replace("</Data>", '&nonsense;</Data>', 1)
bad[20] = 'this is no event'
open(out + '/bad.xml', 'w').write('<Events>\n' + '\n'.join(bad) + '\n</Events>\n')
bomb = '<!DOCTYPE Events [<!ENTITY a "aaaaaaaaaa">' + ''.join('<!ENTITY %s "%s">' % (chr(98 + i), '&%s;' % chr(97 + i) * 10) for i in range(9)) + ']>'
open(out + '/bomb.xml', 'w').write(bomb + '<Events>\n' + re.sub("<Data Name='UtcTime'>", "<Data Name='UtcTime'>&j;", lines[0]) + '\n' + '\n'.join(lines[1:]) + '\n</Events>')
open(out + '/long.xml', 'w').write(lines[0][:-9] + 'A' * 200000000)
open(out + '/deep.xml', 'w').write(lines[0] + '\n' + '<Event>' + '<a>' * 3000000 + '\n' + lines[1])
PY

check_bad() { # the stderr of send or import
    for line in 6 10 14 18; do
        grep -qE "bad.xml: (event at )?line $line, byte [0-9]+" "$1" || fail "nothing is said about line $line: $(cat "$1")"
    done
}
send A "$TMP/bad.xml" 2>"$TMP/err" >"$TMP/out" || fail "$(cat "$TMP/err")"
check_bad "$TMP/err"
n=$(haechi events --host A --count)
say "$n of 60 events"
[ "$n" -ge 54 ] && [ "$n" -le 56 ] || fail "$n events of 60 arrived, at least 54 are readable"
contains 'the sum' "$(cat "$TMP/out")" 'could not be read'
haechi import --host A "$TMP/bad.xml" 2>"$TMP/err" && fail 'import calls it good'
check_bad "$TMP/err"

for f in bomb long deep; do
    began=$(date +%s)
    kib=$(peak timeout 30 haechi-agent send --state "$TMP/A" "$TMP/$f.xml" 2>"$TMP/$f.err")
    took=$(($(date +%s) - began))
    say "$f: $kib KiB, $took s: $(grep -v '^sent' "$TMP/$f.err" | head -n 1 | cut -c 1-160)"
    [ "$kib" -lt 150000 ] || fail "$f: $kib KiB of memory"
    [ $took -lt 15 ] || fail "$f: $took s"
    grep -q 'line' "$TMP/$f.err" || fail "$f: nothing is reported"
done
# of the file with the bomb all other events came
send A "$demo"
same 'events in the end' 60 "$(haechi events --host A --count)"
