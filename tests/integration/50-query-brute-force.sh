#!/bin/sh
# Queries by time, id, GUID, fields, text, limit, reverse and count agree with a slow answer over the same events, which lie in
# the partitions of three days (the collector's clock is moved on between imports).
# timeout: 240
. "$(dirname "$0")/../lib.sh"

python3 "$ROOT/tests/integration/query_model.py" make "$TMP"
for day in 0 1 2; do
    COLLECTOR_ENV="HAECHI_TEST_CLOCK_S=$((day * 86400))" start_collector
    [ $day != 0 ] || enroll MODEL-PC
    haechi import --host MODEL-PC "$TMP/part$day.xml"
    [ $day = 2 ] || stop_collector
done
same 'partitions' 3 "$(ls "$TMP/collector/events" | wc -l)"
python3 "$ROOT/tests/integration/query_model.py" check "$TMP"
