# Helpers for tests/integration/*.sh: . "$(dirname "$0")/../lib.sh"
#
# Gives ROOT (the tree), BIN (the programs), TMP (a scratch folder that goes away), and functions. Whatever the script
# starts through them is ended when it exits; a script that fails shows the logs of its programs.
#
#   start_collector [NAME [OPTION...]]   a haechid with its data in $TMP/NAME ("collector"); exports HAECHI_API;
#                                        sets COLLECTOR_PID, COLLECTOR_PORT; a second start of NAME keeps its port
#                                        COLLECTOR_ENV='HAECHI_CRASH_AT=name:2' sets its environment
#   stop_collector [NAME]   kill_collector [NAME]             SIGTERM and wait; SIGKILL and wait
#   enroll HOST [TOKEN]                  a new agent state in $TMP/HOST, with a token of its own unless given
#   start_agent HOST [CONF-LINE...]      haechi-agent run on the state of HOST; sets AGENT_PID; AGENT_ENV likewise
#   stop_agent HOST   kill_agent HOST
#   send HOST FILE...                    haechi-agent send on the state of HOST
#   run_bg NAME COMMAND...               starts a command with its output in $TMP/NAME.log; sets BG_PID
#   end NAME [SIGNAL]                    ends what run_bg NAME started and waits; sets END_CODE
#   wait_for SECONDS COMMAND...          until the command succeeds; fails the test after SECONDS
#   is_running NAME                      for wait_for and conditions
#   free_port                            prints a port that nobody listens on
#   need PROGRAM...                      skips the test unless all are there
#   fail WORD...    skip WORD...    say WORD...
#   same WHAT WANTED GOT                 fails unless equal
#   contains WHAT TEXT PART              fails unless TEXT has PART in it
#   refused PATTERN COMMAND...           the command must fail with exit code 1 or 2 and a line that matches on stderr
#   shared PATH                          prints the path of a file of the real data; skips the test when it is not here
set -eu

ROOT=$(cd "$(dirname "$0")/../.." && pwd)
BIN=$(cd "${HAECHI_BIN:-$ROOT/build/test}" && pwd)
TMP=$(mktemp -d "${HAECHI_TMP:-/tmp}/t.XXXXXX")
HAECHI_SHARED=${HAECHI_SHARED:-$ROOT/../shared}
PATH=$BIN:$PATH
export PATH HAECHI_SHARED
mkdir "$TMP/.pid"

lib_cleanup() {
    code=$?
    trap - EXIT INT TERM
    set +e
    for f in "$TMP"/.pid/*; do
        [ -e "$f" ] && kill -KILL "$(cat "$f")" 2>/dev/null
    done
    wait 2>/dev/null
    if [ $code != 0 ] && [ $code != 77 ]; then
        for log in "$TMP"/*.log; do
            [ -s "$log" ] && echo "--- ${log##*/}" && tail -n 25 "$log"
        done
        echo "--- exit code $code"
        [ -n "${HAECHI_TMP:-}" ] || rm -rf "$TMP" # the runner keeps the folder of a failed test
    else
        rm -rf "$TMP"
    fi
    exit $code
}
trap lib_cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { echo "$*"; }

fail() {
    echo "FAILED: $*"
    exit 1
}

skip() {
    echo "$*"
    exit 77
}

need() {
    for program in "$@"; do
        command -v "$program" >/dev/null || skip "$program is not installed"
    done
}

shared() {
    [ -e "$HAECHI_SHARED/$1" ] || { echo "../shared/$1 is not here" >&2; return 77; }
    echo "$HAECHI_SHARED/$1"
}

same() { [ "$2" = "$3" ] || fail "$1: wanted \"$2\", got \"$3\""; }

contains() {
    case $2 in
    *"$3"*) ;;
    *) fail "$1: no \"$3\" in: $2" ;;
    esac
}

refused() {
    pattern=$1
    shift
    set +e
    "$@" >"$TMP/refused.out" 2>"$TMP/refused.err" </dev/null
    got=$?
    set -e
    [ $got = 1 ] || [ $got = 2 ] || fail "\"$*\": exit code $got, not a refusal"
    grep -qE -e "$pattern" "$TMP/refused.err" || fail "\"$*\": stderr has no \"$pattern\": $(cat "$TMP/refused.err")"
}

wait_for() {
    tries=$(($1 * 20))
    shift
    while ! "$@" >"$TMP/wait_for.out" 2>&1; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || fail "gave up waiting for: $* ($(tail -n 3 "$TMP/wait_for.out"))"
        sleep 0.05
    done
}

# A port that the kernel would hand out itself, so that two tests at once rarely meet.
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

run_bg() {
    name=$1
    shift
    "$@" >>"$TMP/$name.log" 2>&1 </dev/null &
    BG_PID=$!
    echo $BG_PID >"$TMP/.pid/$name"
    # until the program runs, the child is this shell, which would swallow a signal
    begins=0
    while [ $begins -lt 100 ] && cmp -s "/proc/$BG_PID/cmdline" /proc/$$/cmdline; do
        begins=$((begins + 1))
        sleep 0.02
    done
}

# An ended child that nobody has waited for still answers kill -0: ask for its state.
is_alive() {
    case $(sed 's/.*) \(.\).*/\1/' "/proc/$1/stat" 2>/dev/null) in
    Z | X | '') return 1 ;;
    esac
}
is_running() { [ -e "$TMP/.pid/$1" ] && is_alive "$(cat "$TMP/.pid/$1")"; }

end() {
    [ -e "$TMP/.pid/$1" ] || return 0
    end_pid=$(cat "$TMP/.pid/$1")
    kill -"${2:-TERM}" "$end_pid" 2>/dev/null || :
    ends=0
    # a program that does not end on SIGTERM is a failure, not a hang
    while is_alive "$end_pid" && [ $ends -lt 600 ]; do
        ends=$((ends + 1))
        sleep 0.05
    done
    [ $ends -lt 600 ] || fail "$1 does not end on SIG${2:-TERM}"
    END_CODE=0
    wait "$end_pid" 2>/dev/null || END_CODE=$?
    rm -f "$TMP/.pid/$1"
}

start_collector() {
    name=${1:-collector}
    [ $# = 0 ] || shift
    mkdir -p "$TMP/$name"
    [ -e "$TMP/$name.port" ] || free_port >"$TMP/$name.port"
    COLLECTOR_PORT=$(cat "$TMP/$name.port")
    HAECHI_API=unix:$TMP/$name.sock
    export HAECHI_API
    run_bg "$name" env ${COLLECTOR_ENV:-} haechid --data "$TMP/$name" --listen "127.0.0.1:$COLLECTOR_PORT" --api "$HAECHI_API" "$@"
    COLLECTOR_PID=$BG_PID
    collector_up() { haechi status || ! is_alive "$COLLECTOR_PID"; }
    wait_for 30 collector_up
    is_running "$name" || fail "haechid ended at once"
}

stop_collector() { end "${1:-collector}" TERM; }
kill_collector() { end "${1:-collector}" KILL; }

enroll() {
    token=${2:-$(haechi token create | tail -n 1)}
    haechi-agent enroll --token "$token" --state "$TMP/$1" --name "$1"
}

# The configuration of an agent, from lines of it, under the state folder of the host.
agent_conf() {
    {
        echo "state = \"$TMP/$1\""
        shift
        for line in "$@"; do echo "$line"; done
    } >"$TMP/agent.conf.new"
    mv "$TMP/agent.conf.new" "$TMP/$host.conf"
}

start_agent() {
    host=$1
    agent_conf "$@"
    run_bg "$host" env ${AGENT_ENV:-} haechi-agent run --config "$TMP/$host.conf"
    AGENT_PID=$BG_PID
}

stop_agent() { end "$1" TERM; }
kill_agent() { end "$1" KILL; }

send() {
    host=$1
    shift
    haechi-agent send --state "$TMP/$host" "$@"
}
