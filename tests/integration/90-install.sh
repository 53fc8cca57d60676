#!/bin/sh
# make install puts programs, manual pages, completion, units and sample configurations in place; the samples are good, and the programs know
# their version.
# alone
. "$(dirname "$0")/../lib.sh"
need make
D=$TMP/root
unset MAKEFLAGS MFLAGS MAKELEVEL || :
build=$(dirname "$BIN")
build=${build#"$ROOT/"} # spelled as when it was built: nothing is linked anew
make -C "$ROOT" --no-print-directory BUILDROOT="$build" BUILD="$(basename "$BIN")" PREFIX=/usr DESTDIR="$D" install >"$TMP/make.log" 2>&1 ||
    fail "make install: $(tail -n 5 "$TMP/make.log")"

for f in bin/haechi bin/haechi-load sbin/haechid sbin/haechi-agent; do
    [ -x "$D/usr/$f" ] || fail "$f is not there"
    version=$("$D/usr/$f" --version)
    same "$f --version: lines" 1 "$(echo "$version" | wc -l)"
    contains "$f --version" "$version" "${f#*/} $(haechid --version | sed 's/.* //')"
done
for f in man1/haechi.1 man1/haechi-agent.1 man1/haechi-load.1 man7/haechi-rules.7 man8/haechid.8; do
    [ -s "$D/usr/share/man/$f" ] || fail "$f is not there"
done
for program in haechi haechi-agent haechid haechi-load; do # bash-completion looks for a file of the program's name
    grep -q "complete .*$program" "$D/usr/share/bash-completion/completions/$program" || fail "no completion of $program"
done
for unit in haechid haechi-agent; do
    f=$D/usr/lib/systemd/system/$unit.service
    [ -s "$f" ] || fail "$unit.service is not there"
    grep '@[A-Z]*@' "$f" && fail "$unit.service: something was not filled in"
    program=$(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "$f")
    [ -x "$D$program" ] || fail "$unit.service starts $program, which was not installed"
done
# nothing lies outside, and nothing is for its owner only
same 'files that others cannot read' '' "$(find "$D" -type f ! -perm -004)"

for f in "$D"/etc/haechi/*.toml; do
    case ${f##*/} in
    haechid*) "$D/usr/sbin/haechid" --check-config --config "$f" >"$TMP/out" || fail "${f##*/} is no good" ;;
    agent*) : ;;
    *) fail "what is ${f##*/}?" ;;
    esac
    # with every line of it brought to life as well
    sed 's/^#\([a-z_]* *=\)/\1/' "$f" >"$TMP/${f##*/}"
done
"$D/usr/sbin/haechid" --check-config --config "$TMP/haechid.toml" >"$TMP/out" || fail 'haechid.toml has a line that is no good'
same 'haechid.toml is what the program prints' "$("$D/usr/sbin/haechid" --print-config)" "$(cat "$D/etc/haechi/haechid.toml")"
same 'agent.toml is what the program prints' "$("$D/usr/sbin/haechi-agent" run --print-config)" "$(cat "$D/etc/haechi/agent.toml")"
sed -i "s|^state = .*|state = \"$TMP/none\"|" "$TMP/agent.toml"
run_bg agent "$D/usr/sbin/haechi-agent" run --config "$TMP/agent.toml" # its configuration is good
wait_for 5 grep -q 'is not enrolled: waiting for' "$TMP/agent.log"
end agent
[ -s "$D/usr/share/doc/haechi/LICENSE" ] || fail 'no licence'
