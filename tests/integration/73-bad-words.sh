#!/bin/sh
# An unknown option, key or subcommand is refused by name, with a suggestion, exit code 2, on one line of standard error; nothing is
# started. So is a value that makes no sense.
. "$(dirname "$0")/../lib.sh"
says() { # PATTERN COMMAND...
    refused "$@"
    shift
    same "\"$*\": exit code" 2 "$got"
    same "\"$*\": lines" 1 "$(wc -l <"$TMP/refused.err")"
    same "\"$*\": standard output" '' "$(cat "$TMP/refused.out")"
}
conf() {
    printf "$1" >"$TMP/c.toml"
    echo "$TMP/c.toml"
}

says 'unknown command.? sned.*did you mean send' haechi-agent sned
says 'unknown option --stat;.*did you mean --state' haechi-agent send --stat x f
says 'unknown option --tokn;.*did you mean --token' haechi-agent enroll --tokn x
says 'something is missing' haechi-agent send
says 'needs --token' haechi-agent enroll
says 'log-level is' haechi-agent run --log-level loud
says 'unknown command .evnts.*did you mean .events' haechi evnts
says 'unknown command .token creat.*did you mean .token create' haechi token creat
says 'unknown command .host shwo.*did you mean .host show' haechi host shwo
says 'unknown option --hots.*did you mean --host' haechi events --hots A
says '--host needs a value' haechi events --host
says '--limit takes a whole number' haechi events --host A --limit many
says 'did you mean json' haechi events --host A --format jsn
says 'unknown option --dta.*did you mean --data' haechid --dta x
says 'unexpected word .foo' haechid foo
says '--listen needs a value' haechid --listen
says 'is not an address' haechid --data "$TMP/d" --listen 127.0.0.1:99999
says 'unknown option --agnts.*did you mean --agents' haechi-load --agnts 3

says 'c.toml:2:1: unknown key listen.adress.*did you mean listen.address' haechid --data "$TMP/d" --config "$(conf '[listen]\nadress = "x"\n')"
says 'c.toml:2:1: unknown key listen.adress.*did you mean listen.address' haechid --check-config --config "$TMP/c.toml"
says 'c.toml:1:1: unknown key storage' haechid --check-config --config "$(conf '[storage]\nmap = 1\n')"
says 'c.toml:2:7: .*1X. is no size' haechid --check-config --config "$(conf '[store]\nmap = "1X"\n')"
says 'c.toml:2:[0-9]+: .*credit_batches' haechid --check-config --config "$(conf '[session]\ncredit_batches = 0\n')"
says 'c.toml:1:' haechid --check-config --config "$(conf '= = =\n')"
says 'c.toml:3:' haechid --check-config --config "$(conf '[log]\nlevel = "info"\nlevel = "warn"\n')"
says 'nothing.toml' haechid --check-config --config "$TMP/nothing.toml"
says 'c.toml:2:1: unknown key sources.journl.*did you mean sources.journal' haechi-agent run --state "$TMP/s" --config "$(conf '[sources]\njournl = true\n')"
says 'unproven' haechi-agent run --state "$TMP/s" --config "$(conf '[sources]\nsyslog = ["/var/log/syslog"]\n')"
same 'nothing was made' '' "$(ls -d "$TMP/d" "$TMP/s" 2>/dev/null || :)"

# what cannot be reached is named, with what to do
refused 'is haechid running' haechi --api "unix:$TMP/none" status
refused 'no API without TLS' haechi --api http://127.0.0.1:1 status
refused 'write https://HOST:PORT or unix:PATH' haechi --api htps://127.0.0.1:1 status
refused 'needs a token in HAECHI_TOKEN' haechi --api https://127.0.0.1:1 status
refused 'is not enrolled|enroll' haechi-agent send --state "$TMP/s" "$ROOT/tests/data/demo/demo.xml"
timeout --preserve-status 2 haechi-agent run --state "$TMP/s" 2>"$TMP/waits" || fail 'run without an enrolment did not end in order'
contains 'run without an enrolment' "$(cat "$TMP/waits")" 'this host is not enrolled: waiting for'

start_collector
refused 'no host is called .NOBODY' haechi events --host NOBODY
refused 'no host is called .NOBODY' haechi import --host NOBODY "$ROOT/tests/data/demo/demo.xml"
refused 'NOBODY' haechi host revoke NOBODY
refused 'token' haechi token revoke ffffffffffffffff
enroll A
refused 'where|operator|~~' haechi events --host A --where 'Image ~~ x'
