#!/bin/bash
# flavour: test
# timeout: 60
# rules check: the verdict on every real configuration, as compilers print it, without a collector; exit codes; stdin; JSON; the schema
# tables are what their script makes of the manifests.
. "$(dirname "$0")/../lib.sh"
unset HAECHI_API
good='<Sysmon schemaversion="4.50"><HashAlgorithms>SHA256</HashAlgorithms><EventFiltering><RuleGroup groupRelation="or"><ProcessCreate onmatch="include"><Image condition="image">cmd.exe</Image></ProcessCreate></RuleGroup></EventFiltering></Sysmon>'

# exit codes and forms
echo "$good" >"$TMP/good.xml"
same "a good file" "1 file: no errors, no warnings" "$(haechi rules check "$TMP/good.xml")"
same "stdin" "1 file: no errors, no warnings" "$(haechi rules check - <"$TMP/good.xml")"
printf '%s\n' "${good/image\">/begins with\">}" >"$TMP/bad.xml"
code=0
out=$(haechi rules check "$TMP/good.xml" "$TMP/bad.xml" 2>"$TMP/err") || code=$?
same "the exit code with an error" 1 $code
same "the line" "$TMP/bad.xml:1:155: error: there is no condition \"begins with\"; did you mean \"begin with\"? [unknown-condition]" "$out"
same "the summary" "haechi rules check: 2 files: 1 error, no warnings" "$(cat "$TMP/err")"
contains "JSON" "$(haechi rules check --json "$TMP/bad.xml" 2>&1 || true)" '"line":1,"column":155,"file":"'
refused '1 error, no warnings' haechi rules check --schema 4.40 "$TMP/good.xml"
sed "s/image/is/" "$TMP/good.xml" >"$TMP/warned.xml"
refused "no errors, 1 warning" haechi rules check --strict "$TMP/warned.xml"
refused 'cannot open' haechi rules check "$TMP/none.xml"
refused 'which file' haechi rules check
refused '4.90' haechi rules check --schema now "$TMP/good.xml"
code=0
haechi rules check 2>"$TMP/err" || code=$?
same "the exit code of wrong usage" 2 $code
haechi rules check --codes >"$TMP/codes"
[ "$(wc -l <"$TMP/codes")" -gt 50 ] || fail "few codes"

# the manual lists the codes as the program does
while read -r name kind text; do
    grep -q "^\.It Li $name\$" "$ROOT/deploy/man/haechi-rules.7" || fail "haechi-rules(7) does not name $name"
    grep -qF "$text" "$ROOT/deploy/man/haechi-rules.7" || fail "haechi-rules(7) says something else of $name, not: $text"
    case $kind in error | warning) ;; *) fail "$name is a $kind" ;; esac
done <"$TMP/codes"

# every real configuration
configs=$(shared data/configs)
n=0
while IFS=$'\001' read -r file _ _ _ _ strict lenient _; do
    [ "$file" != file ] || continue
    verdict=ok
    haechi rules check --json "$configs/$file" >"$TMP/found" 2>/dev/null || verdict=bad
    same "the verdict on $file" "$lenient" "$verdict"
    if [ "$verdict" = ok ]; then
        newer=ok
        ! grep -q '"newer-than-schema"' "$TMP/found" || newer=bad
        same "what is newer than $file names" "$strict" "$newer"
    fi
    n=$((n + 1))
done < <(tr '\t' '\001' <"$configs/STATUS.tsv") # tabs would be taken together
[ $n -ge 79 ] || fail "only $n files"

# the largest one in time
start=$(date +%s%N)
haechi rules check "$configs/sysmon-modular/sysmonconfig.xml" >/dev/null
took=$((($(date +%s%N) - start) / 1000000))
say "$n files; sysmon-modular's merged one took $took ms"
[ $took -lt 3000 ] || fail "$took ms for one file"

# the tables
need python3
python3 "$ROOT/deploy/sysmon/schema_table.py" "$configs/schema" >"$TMP/table.c"
cmp "$TMP/table.c" "$ROOT/server/rules/schema_table.c" || fail "the schema tables are not what the manifests say"
