#!/bin/bash
# The collector as a whole under a simulated fleet: events acknowledged a second, CPU by thread, bytes stored and written.
#
#   HAECHI_BIN=DIR        the programs (build/release)
#   BENCH_FILE=FILE       events to replay: event XML or .evtx, also .zst (../shared's sample, else the made one of the tree)
#   BENCH_CASES="drain many steady"      which cases
#   BENCH_DRAIN=6000000   events of the first case: 8 agents, 1,000 a batch, as fast as acks come
#   BENCH_MANY=2000000    of the second: BENCH_AGENTS agents, 20 a batch, as fast as acks come
#   BENCH_STEADY=15       seconds of the third: the same at BENCH_RATE=50000 events a second
#   BENCH_AGENTS=1000
#   BENCH_TMP=DIR         where the data goes (TMPDIR); its disk is what is measured
set -u
cd "$(dirname "$0")/../.." || exit 1
BIN=$(cd "${HAECHI_BIN:-build/release}" && pwd) || exit 1
AGENTS=${BENCH_AGENTS:-1000}
DIR=$(mktemp -d "${BENCH_TMP:-${TMPDIR:-/tmp}}/haechi-bench.XXXXXX") || exit 1
PID=
FAILED=0

stop() {
    [ -z "$PID" ] || { kill "$PID" 2>/dev/null && wait "$PID" 2>/dev/null; }
    PID=
}
trap 'stop; rm -rf "$DIR"' EXIT
trap 'exit 130' INT TERM

FILE=${BENCH_FILE:-${HAECHI_SHARED:-../shared}/data/bench/sysmon-100k.xml.zst}
[ -r "$FILE" ] || { FILE=tests/data/demo/demo.xml; echo "the real sample is not here: replaying $FILE, which compresses better"; }
case $FILE in
*.zst) zstd -dqc "$FILE" >"$DIR/events.xml" && FILE=$DIR/events.xml || exit 1 ;;
esac

start() {
    mkdir "$DIR/$1"
    "$BIN/haechid" --data "$DIR/$1/data" --listen 127.0.0.1:0 --api "unix:$DIR/$1/api" >"$DIR/$1/log" 2>&1 &
    PID=$!
    export HAECHI_API=unix:$DIR/$1/api
    for _ in $(seq 100); do
        PORT=$(sed -n 's/^listening on port \([0-9]*\)$/\1/p' "$DIR/$1/log")
        [ -n "$PORT" ] && "$BIN/haechi" status >/dev/null 2>&1 && return
        sleep 0.1
    done
    echo "the collector does not start:"
    cat "$DIR/$1/log"
    exit 1
}

# CPU seconds of each thread, by name (from status; what the named ones do not account for is "others": work threads),
# bytes that went to the device, bytes of the files.
cat >"$DIR/look" <<'LOOK'
#!/bin/bash
# look HAECHI PID DATA OUT
status=$("$1" status --json)
{
    echo "$status" | grep -o '"name":"[^"]*","cpu_s":[0-9.]*' | tr ' ' _ | sed 's/"name":"\(.*\)","cpu_s":/\1 /'
    echo "whole $(echo "$status" | sed 's/.*"cpu_s":\([0-9.]*\),"memory_bytes".*/\1/')"
    sed -n 's/^VmHWM:[^0-9]*\([0-9]*\) kB/memory \1/p' "/proc/$2/status"
    sed -n 's/^write_bytes: /written /p' "/proc/$2/io"
    echo "events $(du -s --block-size=1 "$3/events" | cut -f 1)"
    echo "index $(du -s --block-size=1 "$3/index" | cut -f 1)"
} >"$4"
LOOK
chmod +x "$DIR/look"

# number NAME: of the report's JSON
number() { sed -n "s/.*\"$1\":\([0-9.]*\).*/\1/p" "$DIR/report"; }

run_case() {
    name=$1 title=$2
    shift 2
    start "$name"
    d=$DIR/$name
    token=$("$BIN/haechi" token create --uses "$AGENTS" | grep -o 'haechi-enroll\.v1\.[A-Za-z0-9_-]*' | head -n 1)
    "$BIN/haechi-load" --token "$token" --collector "127.0.0.1:$PORT" --file "$FILE" --quiet --json \
        --before "$DIR/look $BIN/haechi $PID $d/data $d/a" --after "$DIR/look $BIN/haechi $PID $d/data $d/b" "$@" >"$DIR/report" || {
        echo "$name: not all was acknowledged, or an agent failed: $(cat "$DIR/report")"
        FAILED=1
    }
    # the digest may lag: what it costs and stores is known when it has caught up
    n=$(number events_acked)
    for _ in $(seq 240); do
        "$BIN/haechi" status --json 2>/dev/null | grep -q '"lag_packs":0[,}]' && break
        sleep 0.5
    done
    "$DIR/look" "$BIN/haechi" "$PID" "$d/data" "$d/c"
    "$BIN/haechi" status --json >"$d/status" 2>/dev/null
    stored=$(sed -n 's/.*"stored":\([0-9]*\).*/\1/p' "$d/status" | head -n 1)
    [ "${stored:-$n}" = "$n" ] || { echo "$name: $n events acked, $stored stored"; FAILED=1; }
    echo
    echo "$title"
    awk -v json="$(cat "$DIR/report")" '
        function of(key,    s) { s = json; if (!sub(".*\"" key "\":", "", s)) return 0; sub("[,}].*", "", s); return s + 0 }
        FILENAME ~ /\/a$/ { a[$1] += $2; next }
        FILENAME ~ /\/b$/ { b[$1] += $2; next }
        { c[$1] += $2 }
        END {
            n = of("events_acked"); m = n / 1e6
            if (!n) { print "  nothing was acknowledged"; exit }
            printf "  acked         %d events in %.2f s: %.0f events/s, %.0f batches/s, %.1f bytes an event on the wire\n", n, of("seconds"), of("events_per_s"), of("batches_per_s"), of("bytes_per_event")
            printf "  ack latency   p50 %.1f  p99 %.1f  max %.1f ms\n", of("p50"), of("p99"), of("max")
            for (t in c) {
                if (t ~ /^(written|events|index|digest|whole|memory)$/) continue
                cpu = (b[t] - a[t]) / m; named += cpu
                if (cpu > 0.0005) line = line sprintf(", %s %.3f", t, cpu)
            }
            acks = (b["whole"] - a["whole"] - b["digest"] + a["digest"]) / m
            if (acks - named > 0.0005) line = line sprintf(", others %.3f", acks - named)
            printf "  CPU s/M       %.3f for the acks (%s)\n", acks, substr(line, 3)
            printf "                %.3f for the indexes, of it %.3f after the last ack\n", (c["digest"] - a["digest"]) / m, (c["digest"] - b["digest"]) / m
            printf "  sender        %.3f s/M\n", of("cpu_s") / m
            printf "  stored        %.1f bytes an event in events/, %.1f in index/\n", (c["events"] - a["events"]) / n, (c["index"] - a["index"]) / n
            printf "  written       %.1f bytes an event until the last ack, %.1f with the indexes finished\n", (b["written"] - a["written"]) / n, (c["written"] - a["written"]) / n
            printf "  memory        %.0f MB at most\n", c["memory"] / 1024
            printf "  handshakes    %.0f a second with enrolment\n", of("handshakes_per_s")
        }' "$d/a" "$d/b" "$d/c"
    stop
    rm -rf "$d"
}

echo "$(nproc) processors for collector and load together; load average before: $(cut -d ' ' -f 1-3 /proc/loadavg)"
for c in ${BENCH_CASES:-drain many steady}; do
    case $c in
    drain) run_case drain "8 agents drain a backlog, 1,000 events a batch" --agents 8 --batch 1000 --events "${BENCH_DRAIN:-6000000}" ;;
    many) run_case many "$AGENTS agents as fast as acks come, 20 events a batch" --agents "$AGENTS" --batch 20 --events "${BENCH_MANY:-2000000}" ;;
    steady) run_case steady "$AGENTS agents at ${BENCH_RATE:-50000} events/s, 20 events a batch" --agents "$AGENTS" --batch 20 --rate "${BENCH_RATE:-50000}" --seconds "${BENCH_STEADY:-15}" ;;
    *) echo "unknown case $c: drain, many, steady" >&2; exit 2 ;;
    esac
done
exit $FAILED
