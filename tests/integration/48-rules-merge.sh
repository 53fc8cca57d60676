#!/bin/bash
# flavour: test
# timeout: 60
# rules merge: folders of modules, a template, a base; the same file whatever the order; complaints name the module; nothing is written then.
. "$(dirname "$0")/../lib.sh"
unset HAECHI_API
module() { # FILE TAG HOW FIELD
    mkdir -p "$(dirname "$1")"
    printf '<Sysmon schemaversion="4.50"><EventFiltering>\n<RuleGroup name="" groupRelation="or"><%s onmatch="%s">%s</%s></RuleGroup>\n</EventFiltering></Sysmon>\n' \
        "$2" "$3" "$4" "$2" >"$1"
}
d=$TMP/rules
module "$d/1_process/include_a.xml" ProcessCreate include '<Image condition="image">a.exe</Image>'
module "$d/1_process/include_b.xml" ProcessCreate include '<Image condition="image">b.exe</Image>'
module "$d/1_process/exclude_c.xml" ProcessCreate exclude '<Image condition="image">c.exe</Image>'
module "$d/11_files/include_d.xml" FileCreate include '<TargetFilename condition="end with">.d</TargetFilename>'
module "$d/merged.xml" DnsQuery include '<Nothing/>' # not in a folder with a number
echo nothing >"$d/1_process/README.md"
echo nothing >"$d/1_process/.hidden.xml"

haechi rules merge "$d" >"$TMP/one.xml"
same "one block each" 3 "$(grep -c onmatch= "$TMP/one.xml")"
contains "the comment" "$(cat "$TMP/one.xml")" "<!-- 1_process/include_b.xml -->"
case $(cat "$TMP/one.xml") in *DnsQuery*) fail "a file beside the folders was taken" ;; esac
same "the words" "$TMP/out.xml: 4 modules merged" "$(haechi rules merge --out "$TMP/out.xml" "$d/")"
cmp "$TMP/one.xml" "$TMP/out.xml" || fail "another file with --out"
same "warnings" "1 file: no errors, 1 warning" "$(haechi rules check "$TMP/out.xml" | tail -n 1)"

# options: a template in its place, a base that is named
mkdir "$d/templates"
echo '<Sysmon schemaversion="4.21"><HashAlgorithms>MD5</HashAlgorithms></Sysmon>' >"$d/templates/sysmon_template.xml"
contains "the template" "$(haechi rules merge "$d")" '<HashAlgorithms>MD5</HashAlgorithms>'
echo '<Sysmon schemaversion="4.90"><HashAlgorithms>SHA256</HashAlgorithms></Sysmon>' >"$TMP/base.xml"
haechi rules merge --base "$TMP/base.xml" --out "$TMP/out.xml" "$d" >/dev/null
same "a base" "1 file: no errors, no warnings" "$(haechi rules check "$TMP/out.xml")"

# a flat folder
mkdir "$TMP/flat"
for f in "$d"/1*/*.xml; do cp "$f" "$TMP/flat/$(basename "$(dirname "$f")")__${f##*/}"; done
same "a flat folder" 3 "$(haechi rules merge "$TMP/flat" | grep -c onmatch=)"

# what is wrong
sed -i 's/<Image /<Imag /; s/Image>/Imag>/' "$d/1_process/include_b.xml"
cp "$TMP/out.xml" "$TMP/before.xml"
refused '1_process/include_b.xml:2:72: error: <Imag> is no field' haechi rules merge --out "$TMP/out.xml" "$d"
refused 'cannot be merged: 1 error' haechi rules merge "$d"
cmp "$TMP/before.xml" "$TMP/out.xml" || fail "a file was written"
refused 'cannot open' haechi rules merge "$TMP/nowhere"
mkdir "$TMP/empty"
refused 'no modules' haechi rules merge "$TMP/empty"
refused 'cannot open' haechi rules merge --base "$TMP/nowhere.xml" "$TMP/flat"

# the real ones
real=$(shared data/configs/sysmon-modular)
mkdir "$TMP/real"
cp "$real"/modules/*.xml "$TMP/real"
refused '11_file_create__include_cve_2021_40444.xml:2:2: error: <FileCreate> stands outside' haechi rules merge "$TMP/real"
rm "$TMP/real/11_file_create__include_cve_2021_40444.xml"
same "real ones" "$TMP/real.xml: 40 modules merged" "$(haechi rules merge --base "$real/sysmon_template.xml" --out "$TMP/real.xml" "$TMP/real")"
contains "real ones" "$(haechi rules check "$TMP/real.xml" | tail -n 1)" "1 file: no errors"
