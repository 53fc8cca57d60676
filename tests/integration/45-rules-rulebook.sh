#!/bin/bash
# timeout: 120
# Rulesets through the real programs: pushed, refused, listed, compared, exported byte for byte, assigned to groups; what was
# stored survives kill -9, and everything is in the audit log.
. "$(dirname "$0")/../lib.sh"
start_collector
enroll web-1 "$(haechi token create --group web | tail -n 1)"
enroll db-1
haechi host tag db-1 --add eu --add db

config() { # INNER
    printf '<Sysmon schemaversion="4.50"><HashAlgorithms>sha256</HashAlgorithms><EventFiltering>%s</EventFiltering></Sysmon>' "$1"
}
group() { printf '<RuleGroup name="" groupRelation="or">%s</RuleGroup>' "$1"; }
create() { group "<ProcessCreate onmatch=\"include\">$1</ProcessCreate>"; }
config "$(create '<Image condition="end with">\cmd.exe</Image>')" >"$TMP/base.xml"
config "$(create '<Image condition="image">\cmd.exe</Image><Image condition="end with">\whoami.exe</Image>')" >"$TMP/base2.xml"

# ---- push ----
haechi rules push "$TMP/base.xml" --comment 'the first' >"$TMP/out" 2>"$TMP/err"
contains 'the first push' "$(cat "$TMP/out")" 'base@1 is new'
haechi rules push "$TMP/base.xml" >"$TMP/out" 2>"$TMP/err"
contains 'the same bytes again' "$(cat "$TMP/out")" 'base@1 has these bytes already'
config "$(create '<Imagee condition="end with">\cmd.exe</Imagee>')" >"$TMP/bad.xml"
refused 'error' haechi rules push "$TMP/bad.xml" --name base
same 'a refused push stores nothing' 1 "$(haechi rules list --json | wc -l)"
refused 'no name for a ruleset' haechi rules push - <"$TMP/base.xml"
refused 'no name for a ruleset' haechi rules push "$TMP/base.xml" --name 'a b'
for waves in 5,4,100 5,25 5,101 0,100 5,,100 , '' x 5,100x; do refused '^haechi rules push: --waves' haechi rules push "$TMP/base2.xml" --name base --group web --waves "$waves"; done
for rate in 2,3 0.5 0.5,0.9 x nan,2 0.5,inf; do refused '^haechi rules push: --rate' haechi rules push "$TMP/base2.xml" --name base --group web --rate "$rate"; done
refused '^haechi rules push: --wait' haechi rules push "$TMP/base2.xml" --name base --group web --wait soon
refused '^haechi rules push: --max-failed' haechi rules push "$TMP/base2.xml" --name base --group web --max-failed 101
refused 'no name for a group' haechi rules push "$TMP/base2.xml" --name base --group 'a b'
contains 'a plan that makes no sense stores nothing' "$(haechi rules show base)" 'the first'
same 'a plan that makes no sense stores nothing' 1 "$(haechi rules show base --json | grep -o '"hosts_loaded"' | wc -l)"
haechi rules push - --name base --comment 'the second' <"$TMP/base2.xml" >"$TMP/out" 2>"$TMP/err"
contains 'stdin' "$(cat "$TMP/out")" 'base@2 is new'
haechi rules push "$TMP/base.xml" --name other --dry-run 2>"$TMP/err"
refused 'no ruleset is called' haechi rules show other

# ---- show, list, export, diff ----
contains 'list' "$(haechi rules list)" 'the second'
contains 'show' "$(haechi rules show base)" 'the first'
contains 'show @1' "$(haechi rules show base@1)" "$(sha256sum <"$TMP/base.xml" | cut -d ' ' -f 1)"
refused '2 is the newest|no revision 9' haechi rules show base@9
haechi rules export base@1 >"$TMP/one"
cmp "$TMP/one" "$TMP/base.xml" || fail 'the exported bytes are others'
haechi rules export base --out "$TMP/two"
cmp "$TMP/two" "$TMP/base2.xml" || fail 'the exported bytes are others'
diff=$(haechi rules diff base@1 base)
contains 'diff by meaning' "$diff" 'Image image'
contains 'diff by meaning' "$diff" 'whoami'
contains 'diff counts' "$diff" '1 added, 1 changed'
same 'a file against its revision' 'no difference' "$(haechi rules diff "$TMP/base.xml" base@1)"
contains 'diff by line' "$(haechi rules diff --lines base@1 base@2)" '@@ -1 +1 @@'
same 'diff in JSON' 2 "$(haechi rules diff base@1 base@2 --json | wc -l)"
curl() { command curl -s --unix-socket "${HAECHI_API#unix:}" "http://localhost$1"; }
same 'the API says the same' "$(haechi rules diff base@1 base@2 --json)" "$(curl '/api/v1/rulesets/base/revisions/1/diff?to=base@2')"

# ---- bytes stay what they are: UTF-16, with a mark ----
{
    printf '\377\376'
    iconv -f UTF-8 -t UTF-16LE "$TMP/base.xml"
} >"$TMP/wide.xml"
haechi rules push "$TMP/wide.xml" >/dev/null 2>&1
haechi rules export wide | cmp - "$TMP/wide.xml" || fail 'UTF-16 does not come back'

# ---- a canary ----
haechi rules push "$TMP/wide.xml" --canary >"$TMP/out" 2>"$TMP/err"
contains 'with a canary' "$(cat "$TMP/out")" 'wide@2 is new'
contains 'its name' "$(haechi rules show wide@2)" 'haechi:wide/2'
contains 'all else is the same' "$(haechi rules diff wide@1 wide@2)" '1 added'
haechi rules push "$TMP/wide.xml" --canary >"$TMP/out" 2>"$TMP/err"
contains 'the same with its canary' "$(cat "$TMP/out")" 'wide@2 has these bytes already'
config "$(group '<FileCreate onmatch="include"><TargetFilename condition="end with">.exe</TargetFilename></FileCreate>')" >"$TMP/none.xml"
refused 'no canary can be put in' haechi rules push "$TMP/none.xml" --canary
haechi rules export wide@2 >"$TMP/old.xml"
haechi rules push "$TMP/base2.xml" --name wide >/dev/null 2>&1
refused 'haechi:wide/2' haechi rules push "$TMP/old.xml" --name wide

# ---- groups ----
haechi group set eu --precedence 5 >/dev/null
haechi group set db --precedence 10 --heal yes >/dev/null
refused 'always comes last' haechi group set default --precedence 1
refused 'no name for a group' haechi group set 'a b' --precedence 1
refused 'nothing to do' haechi group set eu
same 'in the order in which they count' 'db eu web default' "$(haechi groups --json | sed 's/.*"name":"\([^"]*\)".*/\1/' | tr '\n' ' ' | sed 's/ $//')"
contains 'a group' "$(haechi group show db)" 'heal            yes'
same 'hosts of a tag' db-1 "$(haechi hosts --group eu --json | sed 's/.*"name":"\([^"]*\)".*/\1/')"
same 'hosts of the default group' 2 "$(haechi hosts --group default --json | wc -l)"

# ---- what a group's hosts run decides what may be pushed to them ----
run_bg load haechi-load --token "$(haechi token create --group load --uses 2 | tail -n 1)" --agents 2 --hold --seconds 60 --quiet
known() { haechi group show load | grep -q '2 with schema 4.90'; }
wait_for 20 known
sed 's/4\.50/4.91/' "$TMP/base.xml" >"$TMP/newer.xml"
haechi rules check --group load "$TMP/base.xml" >"$TMP/out"
contains 'check for a group' "$(cat "$TMP/out")" 'no errors'
refused '1 error' haechi rules check --group load "$TMP/newer.xml"
refused 'nothing was stored' haechi rules push "$TMP/newer.xml" --group load
answer=$(command curl -s -o "$TMP/problem" -w '%{http_code}' --unix-socket "${HAECHI_API#unix:}" -H 'Content-Type: application/xml' \
    --data-binary "@$TMP/newer.xml" 'http://localhost/api/v1/rulesets/newer/revisions?group=load')
same 'the API refuses it for that group' 422 "$answer"
haechi rules push "$TMP/base.xml" --name loaded --group load --waves 100 --wait 0 --follow >"$TMP/out" 2>&1 || fail "$(cat "$TMP/out")"
contains 'loaded' "$(haechi rules show loaded@1)" '2 hosts'
host=$(haechi hosts --group load --json | head -n 1 | sed 's/.*"name":"\([^"]*\)".*/\1/')
contains 'which group decides' "$(haechi host show "$host")" 'load, precedence 0: loaded@1 (decides'
haechi group unassign load >/dev/null
no_rules() { haechi host show "$host" | grep -q 'load, precedence 0: no rules'; }
wait_for 10 no_rules
end load

# ---- two push at once: each has a revision of its own ----
push_many() { # WHO
    for i in 1 2 3 4 5; do
        config "$(create "<Image condition=\"end with\">\\$1-$i.exe</Image>")" >"$TMP/$1.xml"
        haechi rules push "$TMP/$1.xml" --name race >/dev/null 2>&1 || return 1
    done
}
push_many a &
one=$!
push_many b || fail 'b cannot push'
wait $one || fail 'a cannot push'
same 'ten pushes' 10 "$(haechi rules show race --json | grep -o '"revision":[0-9]*' | sort -u | wc -l)"

# ---- nothing of it is lost ----
haechi rules list --json >"$TMP/before"
haechi groups --json >>"$TMP/before"
kill_collector
start_collector
haechi rules list --json >"$TMP/after"
haechi groups --json >>"$TMP/after"
cmp "$TMP/before" "$TMP/after" || fail 'a restart changes the rulebook'
haechi rules export base@1 | cmp - "$TMP/base.xml" || fail 'the exported bytes are others after a restart'

# ---- audit ----
audit=$(haechi audit --from 1)
for what in base@1 base@2 wide@2 race@10; do grep -q "rules add  *$what " <<<"$audit" || fail "the audit log has no $what"; done
same 'pushes in the audit log' 16 "$(haechi audit --from 1 --json | grep -c '"action":"rules add"')"
same 'changes of groups in the audit log' 2 "$(haechi audit --from 1 --json | grep -c '"action":"group set"')"
contains 'who and why' "$audit" 'the second'

# ---- damaged bytes in an export or a push over the API ----
answer=$(command curl -s -o "$TMP/problem" -w '%{http_code} %{content_type}' --unix-socket "${HAECHI_API#unix:}" -H 'Content-Type: application/xml' \
    --data-binary "@$TMP/bad.xml" http://localhost/api/v1/rulesets/base/revisions)
same 'the API refuses what the check finds' '422 application/problem+json' "$answer"
contains 'and says what' "$(cat "$TMP/problem")" '"findings":[{'
