#!/bin/sh
# Trains a dictionary from event XML, through the parser and the encoder that the agent uses.
#
#     proto/dict/train.sh OUT.dict EVENTS.xml[.zst] COMPUTER...
#
# Only the named computers' events are used, so that others are left to measure on. BENCH names the program that writes
# the samples (build/release/bench_batch). A dictionary that was shipped is never replaced: a new one gets a new number
# (proto/dict/README).
set -eu
[ $# -ge 3 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2; }
out=$1 events=$2
shift 2
bench=${BENCH:-build/release/bench_batch}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$bench" --samples "$dir" "$events" "$@"
zstd --quiet --train-fastcover=k=200,d=8,f=20,steps=1,accel=1 --maxdict=32768 --dictID=1 -r "$dir" -o "$out" -f
ls -l "$out"
