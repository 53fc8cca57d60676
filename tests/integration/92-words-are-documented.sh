#!/bin/bash
# Completion offers commands and options as the programs have them, and everything that --help prints stands in the manual pages.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/deploy/completion/haechi.bash"
man=$ROOT/deploy/man

offered() { # WORD... (the last one is being typed)
    COMP_WORDS=("$@")
    COMP_CWORD=$(($# - 1))
    COMPREPLY=()
    _haechi "$1" "${!#}" "${COMP_WORDS[COMP_CWORD - 1]}"
    printf '%s\n' "${COMPREPLY[@]}" | sort | tr '\n' ' ' | sed 's/ $//'
}
contains 'haechi TAB' " $(offered haechi '') " ' events '
contains 'haechi TAB' " $(offered haechi '') " ' token '
same 'haechi ev TAB' 'events' "$(offered haechi ev)"
same 'haechi token TAB' 'create list revoke' "$(offered haechi token '')"
same 'haechi rules p TAB' 'push' "$(offered haechi rules p)"
contains 'haechi rules push --wa TAB' "$(offered haechi rules push --wa)" '--waves'
same 'haechi group s TAB' 'set show' "$(offered haechi group s)"
contains 'haechi events --f TAB' "$(offered haechi events --f)" '--follow'
contains 'haechi token create --u TAB' "$(offered haechi token create --u)" '--uses'
same 'haechi events --format TAB' 'csv json table xml' "$(offered haechi events --format '' | sed 's/ text//')"
same 'haechi-agent s TAB' 'send service status' "$(offered haechi-agent s)"
contains 'haechi-agent enroll --t TAB' "$(offered haechi-agent enroll --t)" '--token'
contains 'haechid --l TAB' "$(offered haechid --l)" '--listen'
contains 'haechi-load --a TAB' "$(offered haechi-load --a)" '--agents'

# PAGE COMMAND...: every option that its help lists is in the page
documented() {
    page=$1
    shift
    "$@" --help >"$TMP/help" || fail "$* --help: exit code $?"
    options=$(sed -n 's/^  \(--[a-z-]*\).*/\1/p' "$TMP/help")
    for option in $options; do
        grep -qE "(Fl -${option#--}|-${option#--})( |,|$)" "$page" || missing="$missing
${page##*/}: $option of $*"
    done
}
missing=
haechi --help | sed -n 's/^  \([a-z][a-z-]*\( [a-z][a-z-]*\)\{0,1\}\)  .*/\1/p' >"$TMP/commands"
[ "$(wc -l <"$TMP/commands")" -gt 10 ] || fail 'haechi --help lists no commands'
while read -r command; do
    grep -q "^\.It Ic $command\( \|$\)" "$man/haechi.1" || missing="$missing
haechi.1: command $command"
    documented "$man/haechi.1" haechi $command
done <"$TMP/commands"
for command in enroll run send service status; do documented "$man/haechi-agent.1" haechi-agent $command; done
documented "$man/haechid.8" haechid
documented "$man/haechi-load.1" haechi-load
same 'options and commands that the manual pages do not have' '' "$missing"
