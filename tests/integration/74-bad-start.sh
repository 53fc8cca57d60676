#!/bin/sh
# What keeps a collector or an agent from starting is said in one line, and what runs or lies there already is left alone: a locked data
# directory, ports and sockets in use, data of a newer version, files that are damaged or open to others.
. "$(dirname "$0")/../lib.sh"
demo=$ROOT/tests/data/demo/demo.xml
start_collector
enroll A
send A "$demo"

refused 'collector is in use by another collector' haechid --data "$TMP/collector" --listen 127.0.0.1:0 --api "unix:$TMP/o.sock"
refused "127.0.0.1:$COLLECTOR_PORT is in use" haechid --data "$TMP/o1" --listen "127.0.0.1:$COLLECTOR_PORT" --api "unix:$TMP/o.sock"
refused 'collector.sock: another program answers there' haechid --data "$TMP/o2" --listen 127.0.0.1:0 --api "$HAECHI_API"
refused 'cannot create directory' haechid --data /proc/nothing/here --listen 127.0.0.1:0 --api "unix:$TMP/o.sock"
refused 'is not an address of this machine' haechid --data "$TMP/o3" --listen 192.0.2.1:7443 --api "unix:$TMP/o.sock"
send A "$demo"
same 'the one that runs' 60 "$(haechi events --host A --count)"

stop_collector
cp -a "$TMP/collector" "$TMP/newer"
sed -i 's/[0-9][0-9]*/99/' "$TMP/newer/format"
refused 'format|newer' haechid --data "$TMP/newer" --listen 127.0.0.1:0 --api "unix:$TMP/o.sock"
contains 'newer data' "$(cat "$TMP/refused.err")" newer
cp -a "$TMP/collector" "$TMP/noca"
echo 'no key' >"$TMP/noca/ca/ca.key"
refused 'certificate authority .*ca' haechid --data "$TMP/noca" --listen 127.0.0.1:0 --api "unix:$TMP/o.sock"
cp -a "$TMP/collector" "$TMP/torn"
for f in "$TMP"/torn/events/*/data.mdb; do head -c 100 /dev/urandom >"$f"; done
refused 'events/' haechid --data "$TMP/torn" --listen 127.0.0.1:0 --api "unix:$TMP/o.sock"
start_collector
same 'the data is as it was' 60 "$(haechi events --host A --count)"

# a socket that a killed collector left is taken over
kill_collector
[ -S "$TMP/collector.sock" ] || fail 'no socket was left'
start_collector
send A "$demo"

chmod 644 "$TMP/A/key.pem"
refused 'key.pem can be read by others' haechi-agent send --state "$TMP/A" "$demo"
chmod 600 "$TMP/A/key.pem"
cp -a "$TMP/A" "$TMP/B"
head -c 200 "$TMP/A/identity" >"$TMP/B/identity"
refused 'identity' haechi-agent send --state "$TMP/B" "$demo"
refused 'identity|damaged|again' haechi-agent enroll --state "$TMP/B" --token "$(haechi token create)" --name B
send A "$demo"
