#!/bin/sh
# The unit tests and the fuzz targets of the agent's files, as Windows programs: the kept corpora, and changed copies of them.
#
#   WINE_FUZZ_TIME=2       seconds of changed copies for each target
# timeout: 600
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../wine.sh"

programs=$(dirname "$BIN")/windows-test
[ -e "$programs/libagent.a" ] || skip "the tests are not built for Windows (make windows-tests)"
wine_prefix
export CMOCKA_MESSAGE_OUTPUT=STDOUT # what is counted below
cd "$ROOT"
n=0
for exe in "$programs"/test_*.exe; do
    name=${exe##*/}
    [ -e "tests/unit/${name%.exe}.c" ] || continue # of an older build
    wine 120 "$exe" >"$TMP/$name.out" 2>&1 || fail "$name: $(grep -vE 'RUN|OK' "$TMP/$name.out" | tail -n 20)"
    cases=$(sed -n 's/.*\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$TMP/$name.out")
    [ "${cases:-0}" -gt 0 ] || fail "$name ran no case: $(tail -n 5 "$TMP/$name.out")"
    n=$((n + cases))
done
say "$n cases"
for exe in "$programs"/fuzz_*.exe; do
    name=${exe##*/fuzz_}
    name=${name%.exe}
    [ -e "tests/fuzz/fuzz_$name.c" ] || continue # of an older build
    wine 120 "$exe" -s "${WINE_FUZZ_TIME:-2}" "tests/fuzz/corpus/$name" >"$TMP/$name.out" 2>&1 || fail "fuzz_$name: $(tail -n 5 "$TMP/$name.out")"
    say "fuzz_$name $(tail -n 1 "$TMP/$name.out")"
done
