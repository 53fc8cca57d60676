#!/bin/sh
# A token that is cut, mistyped, for the API, used up, expired, revoked, made up, or of another collector: the agent and the collector say
# which, the audit log knows, no host appears, and the host that enrolled properly is as it was.
. "$(dirname "$0")/../lib.sh"
need python3
edit() { python3 "$ROOT/tests/integration/made_token.py" "$@"; }
audit() { haechi audit --json | head -n 1; }
fits() { printf '%s\n' "$2" | grep -qE -e "$3" || fail "$1: no \"$3\" in: $2"; }
log() { tail -n "${1:-2}" "$TMP/collector.log"; }
# WHAT TOKEN WORDS: what the agent says and, when the token came as far as the collector, its log and audit
turned_away() {
    refused "$3" haechi-agent enroll --token "$2" --state "$TMP/b" --name B
    same "$1: one line" 1 "$(wc -l <"$TMP/refused.err")"
    [ ! -e "$TMP/b/identity" ] || fail "$1: there is an identity"
    [ "${4:-}" = local ] && return
    fits "$1: the log" "$(log)" "$3"
    contains "$1: the log names the host" "$(log)" "'B'"
    fits "$1: the audit log" "$(audit)" "$3"
    contains "$1: the audit log" "$(audit)" '"action":"enrolment refused","object":"B"'
}

start_collector other
foreign=$(haechi token create)
start_collector
once=$(haechi token create)
before=$(haechi audit --json | wc -l)
turned_away 'cut' "${once%????}" 'cut off or mistyped' local
turned_away 'mistyped' "$(echo "$once" | sed 's/\(.\{40\}\)\(.\)/\1-/')" 'cut off or mistyped' local
turned_away 'no token' 'hello' 'token' local
turned_away 'of the API' "$(haechi token create --role viewer)" 'token for the API, not for enrolment' local
same 'nothing of that reached the collector' "$before" "$(haechi audit --json | grep -vc viewer)"

haechi-agent enroll --token "$once" --state "$TMP/a" --name A
send a "$ROOT/tests/data/demo/demo.xml"
key=$(cksum <"$TMP/a/key.pem")
turned_away 'used up' "$once" 'this token is used up; make a new one with: haechi token create'

short=$(haechi token create --expires 1s)
sleep 1.1
turned_away 'expired' "$short" 'this token expired .* make a new one with'
withdrawn=$(haechi token create)
haechi token revoke "$(haechi token list --json | grep '"uses_left":1' | tail -n 1 | sed 's/.*"id":"\([0-9a-f]*\)".*/\1/')"
turned_away 'revoked' "$withdrawn" 'this token was revoked; ask for a new one'

fresh=$(haechi token create)
turned_away 'wrong secret' "$(edit "$fresh" "secret=$(printf '%064d' 0)")" 'this token is not known'
turned_away 'made up' "$(edit "$fresh" id=0102030405060708)" 'this token is not known'

# another collector's pin: the secret is not even sent, and that collector hears why it was left
refused 'is not the one that made this token .* wrong pin: .* Nothing was sent to it' haechi-agent enroll --state "$TMP/b" --name B \
    --token "$(edit "$foreign" "address=127.0.0.1:$COLLECTOR_PORT")"
refusal() { haechi audit --json | head -n 1 | grep -q 'connection refused.*unknown_ca'; }
wait_for 5 refusal
contains 'the log' "$(log)" 'the peer refused the handshake with the TLS alert unknown_ca: it does not trust our CA'

# the token that was guessed at is still good, and nobody was harmed
same 'hosts' A "$(haechi hosts --json | sed 's/.*"name":"\([^"]*\)".*/\1/')"
haechi-agent enroll --token "$fresh" --state "$TMP/b" --name B
same 'events of A' 60 "$(haechi events --host A --count)"
same 'the key of A' "$key" "$(cksum <"$TMP/a/key.pem")"
send a "$ROOT/tests/data/demo/demo.xml"
