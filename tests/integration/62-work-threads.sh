#!/bin/sh
# Queries, fleet changes and enrolments share eight work threads, unless the environment names another number.
. "$(dirname "$0")/../lib.sh"

threads() { # NAME [VARIABLE=VALUE]: of a collector that has worked
    COLLECTOR_ENV=${2:-} start_collector "data-$1"
    haechi token create >/dev/null
    ls "/proc/$(cat "$TMP/.pid/data-$1")/task" | wc -l
    stop_collector "data-$1"
}
unset UV_THREADPOOL_SIZE
threads one UV_THREADPOOL_SIZE=1 >"$TMP/one"
threads many >"$TMP/many"
same 'more threads than with one' 7 $(($(cat "$TMP/many") - $(cat "$TMP/one")))
