#!/bin/sh
# The whole path on one machine: a collector on loopback in a scratch folder, a token, an agent that enrols and sends a
# log, then the questions one would ask. Called by `make demo`; leaves nothing behind unless KEEP=1.
#   EVTX=FILE  a log of your own (.evtx or event XML) in place of the made sample
set -eu
cd "$(dirname "$0")/.."
bin=${HAECHI_BIN:-build/release}
sample=tests/data/demo/demo.xml
log=${EVTX:-$sample}
[ -r "$log" ] || { echo "demo: cannot read $log" >&2; exit 1; }

work=$(mktemp -d "${TMPDIR:-/tmp}/haechi-demo.XXXXXX")
collector=
cleanup() {
    [ -z "$collector" ] || { kill "$collector" 2>/dev/null || :; wait "$collector" 2>/dev/null || :; }
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
show() { printf '$ %s\n' "$*"; }
# Runs one of the programs and shows it as one would type it.
run() {
    show "$(printf '%s ' "$@" | sed "s|$bin/||g; s|$work|\$DEMO|g; s/ \$//")"
    "$@"
}

say "1. A collector: $work/collector"
export HAECHI_API="unix:$work/api.sock"
for try in 1 2 3 4 5; do
    port=$((20000 + $(od -An -N2 -tu2 /dev/urandom) % 30000))
    "$bin/haechid" --data "$work/collector" --listen "127.0.0.1:$port" --api "$HAECHI_API" 2>"$work/collector.log" &
    collector=$!
    for i in $(seq 100); do
        "$bin/haechi" status >/dev/null 2>&1 && break 2
        kill -0 "$collector" 2>/dev/null || break
        sleep 0.1
    done
    kill -0 "$collector" 2>/dev/null && break
done
"$bin/haechi" status >/dev/null || { cat "$work/collector.log" >&2; exit 1; }
show "haechid --data \$DEMO/collector --listen 127.0.0.1:$port --api $(echo "$HAECHI_API" | sed "s|$work|\$DEMO|") &"

say '2. A token, and an agent that enrols with it'
show "haechi token create --address 127.0.0.1:$port"
token=$("$bin/haechi" token create --address "127.0.0.1:$port")
echo "$token" | cut -c 1-60 | sed 's/$/.../'
show 'haechi-agent enroll --token TOKEN --state $DEMO/agent --name DEMO-PC'
"$bin/haechi-agent" enroll --token "$token" --state "$work/agent" --name DEMO-PC

say "3. The agent sends a log ($log), twice: the second time everything is known"
run "$bin/haechi-agent" send --state "$work/agent" "$log"
run "$bin/haechi-agent" send --state "$work/agent" "$log"

say '4. What the collector holds'
run "$bin/haechi" hosts
echo
run "$bin/haechi" ledger --host DEMO-PC

say '5. What did the host do?'
if [ "$log" = "$sample" ]; then
    run "$bin/haechi" events --host DEMO-PC --id 1,3,22 --where 'Image endswith \rundll32.exe' --limit 10
    guid=$("$bin/haechi" events --host DEMO-PC --id 1 --where 'Image endswith \rundll32.exe' --format json |
        sed -n 's/.*"ProcessGuid":"\({[^}]*}\)".*/\1/p' | head -n 1)
else
    run "$bin/haechi" events --host DEMO-PC --limit 20
    guid=$("$bin/haechi" events --host DEMO-PC --id 1 --format json --limit 1 |
        sed -n 's/.*"ProcessGuid":"\({[^}]*}\)".*/\1/p' | head -n 1)
fi
if [ -n "$guid" ]; then
    say '6. Where does that process come from, and what did it start?'
    run "$bin/haechi" tree --host DEMO-PC --guid "$guid"
fi

say 'How to go on'
if [ "${KEEP:-}" = 1 ]; then
    trap - EXIT
    cat <<END
The collector runs on (process $collector); its data, log and the agent's state are in $work.
    export HAECHI_API=$HAECHI_API
    $bin/haechi --help
    $bin/haechi events --host DEMO-PC --follow        then, in another shell:
    $bin/haechi-agent send --state $work/agent FILE.evtx
To end it:  kill $collector; rm -rf $work
END
else
    cat <<END
    make demo KEEP=1              leaves the collector running, to try the commands by hand
    make demo EVTX=path.evtx      the same with a log of your own
    $bin/haechi --help      all commands; README.md says how to set up a real collector and real hosts
END
fi
