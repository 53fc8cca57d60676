#!/bin/bash
# A new ruleset for a fleet that is connected: how long until every simulated agent says that it is loaded, and what it costs the collector.
#
#   HAECHI_BIN=DIR        the programs (build/release)
#   BENCH_AGENTS=10000
#   BENCH_CONFIG=FILE     the configuration (../shared's sysmon-modular of 250 KB, else one of that size is made)
#   BENCH_TMP=DIR         where the data goes (TMPDIR)
set -u
cd "$(dirname "$0")/../.." || exit 1
BIN=$(cd "${HAECHI_BIN:-build/release}" && pwd) || exit 1
AGENTS=${BENCH_AGENTS:-10000}
DIR=$(mktemp -d "${BENCH_TMP:-${TMPDIR:-/tmp}}/haechi-bench.XXXXXX") || exit 1
PID= LOAD=

stop() {
    for p in $LOAD $PID; do kill "$p" 2>/dev/null && wait "$p" 2>/dev/null; done
    LOAD= PID=
}
trap 'stop; rm -rf "$DIR"' EXIT
trap 'exit 130' INT TERM
ulimit -n "$(ulimit -Hn)"

CONFIG=${BENCH_CONFIG:-${HAECHI_SHARED:-../shared}/data/configs/sysmon-modular/sysmonconfig.xml}
if [ ! -r "$CONFIG" ]; then
    echo "the real configuration is not here: one of its size is made, which compresses better"
    CONFIG=$DIR/made.xml
    {
        echo '<Sysmon schemaversion="4.50"><EventFiltering><RuleGroup name="" groupRelation="or"><ProcessCreate onmatch="exclude">'
        for i in $(seq 2600); do
            echo "<CommandLine condition=\"contains\">$(echo "$i" | cksum | tr ' ' -) --option=$((i * 7919 % 10007)) C:\\Program Files\\made\\$i</CommandLine>"
        done
        echo '</ProcessCreate></RuleGroup></EventFiltering></Sysmon>'
    } >"$CONFIG"
fi
# another configuration, so that all have to change
sed 's/<EventFiltering>/<!-- the same, but another revision --><EventFiltering>/' "$CONFIG" >"$DIR/second.xml"
cp "$CONFIG" "$DIR/first.xml"

printf '[listen]\nmax_connections = %d\nmax_per_address = %d\n' $((AGENTS * 2)) $((AGENTS * 2)) >"$DIR/conf"
"$BIN/haechid" --config "$DIR/conf" --data "$DIR/data" --listen 127.0.0.1:0 --api "unix:$DIR/api" >"$DIR/log" 2>&1 &
PID=$!
export HAECHI_API=unix:$DIR/api
for _ in $(seq 100); do
    PORT=$(sed -n 's/^listening on port \([0-9]*\)$/\1/p' "$DIR/log")
    [ -n "$PORT" ] && "$BIN/haechi" status >/dev/null 2>&1 && break
    sleep 0.1
done
[ -n "$PORT" ] || { cat "$DIR/log"; exit 1; }

token=$("$BIN/haechi" token create --uses "$AGENTS" | grep -o 'haechi-enroll\.v1\.[A-Za-z0-9_-]*' | head -n 1)
"$BIN/haechi-load" --token "$token" --collector "127.0.0.1:$PORT" --file tests/data/demo/demo.xml --agents "$AGENTS" --at-once 64 \
    --hold --seconds 3600 --rules-delay 0 --quiet --json >"$DIR/load" 2>&1 &
LOAD=$!
of() { "$BIN/haechi" status --json | sed -n "s/.*\"$1\":\([0-9.]*\).*/\1/p"; }
for _ in $(seq 1800); do
    [ "$(of live_sessions)" = "$AGENTS" ] && break
    kill -0 $LOAD 2>/dev/null || { echo "haechi-load ended: $(cat "$DIR/load")"; exit 1; }
    sleep 0.5
done
[ "$(of live_sessions)" = "$AGENTS" ] || { echo "only $(of live_sessions) of $AGENTS agents are connected"; exit 1; }
sleep 3 # handshakes are over, rows are written

ticks() { awk '{print $14 + $15}' "/proc/$1/stat"; }
HZ=$(getconf CLK_TCK)
FAILED=0

# one NAME FILE: from the command to the last agent that says loaded
one() {
    c0=$(ticks $PID) l0=$(ticks $LOAD) t0=$(date +%s.%N)
    "$BIN/haechi" rules push "$2" --name bench --group default --waves 100 --timeout 120s >"$DIR/push" 2>"$DIR/push.err" ||
        { cat "$DIR/push" "$DIR/push.err"; exit 1; }
    id=$(sed -n 's/^rollout \([0-9]*\) to group.*/\1/p' "$DIR/push")
    pushed=$(date +%s.%N)
    while :; do
        loaded=$("$BIN/haechi" rules status "$id" --json | sed -n 's/.*"reached":[0-9]*,"beyond":[0-9]*,"counts":{[^}]*"loaded":\([0-9]*\).*/\1/p')
        t1=$(date +%s.%N)
        [ "$loaded" = "$AGENTS" ] && break
        awk -v a="$t0" -v b="$t1" 'BEGIN { exit !(b - a > 120) }' && { echo "$1: only $loaded after 120 s"; exit 1; }
        sleep 0.1
    done
    c1=$(ticks $PID) l1=$(ticks $LOAD)
    awk -v n="$AGENTS" -v what="$1" -v a="$t0" -v p="$pushed" -v b="$t1" -v c="$((c1 - c0))" -v l="$((l1 - l0))" -v hz="$HZ" 'BEGIN {
        printf "  %-13s %d agents have it loaded after %.2f s, %.2f s of it for the command (check, store, sign)\n", what, n, b - a, p - a
        printf "  CPU           collector %.2f s (%.0f us an agent), agents %.2f s\n", c / hz, c / hz / n * 1e6, l / hz
        exit b - a > 10
    }' || FAILED=1
}

echo "$(nproc) processors for collector and agents together; load average before: $(cut -d ' ' -f 1-3 /proc/loadavg)"
echo "  configuration $(wc -c <"$CONFIG") bytes"
one first "$DIR/first.xml"
sleep 12 # what hosts said is written
one another "$DIR/second.xml"
sed -n 's/^VmHWM:[^0-9]*\([0-9]*\) kB/\1/p' /proc/$PID/status | awk '{printf "  memory        %.0f MB at most\n", $1 / 1024}'
[ $FAILED = 0 ] || echo "  more than 10 s"
exit $FAILED
