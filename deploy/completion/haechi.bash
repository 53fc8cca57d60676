# bash completion for haechi, haechi-agent, haechid and haechi-load: asks the programs themselves, so it is always true.

_haechi_commands() { # what --help lists: two blanks, then the command's words
    "$1" --help 2>/dev/null | sed -n 's/^  \([a-z][a-z-]*\( [a-z][a-z-]*\)\{0,1\}\)  .*/\1/p'
}

_haechi_options() { # what COMMAND --help lists
    "$@" --help 2>/dev/null | sed -n 's/^  \(--[a-z-]*\).*/\1/p'
}

_haechi_names() { # of what a list command lists
    "$@" --json 2>/dev/null | sed -n 's/.*"name":"\([^"]*\)".*/\1/p'
}

_haechi() {
    local program=$1 current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local commands typed word
    COMPREPLY=()
    commands=$(_haechi_commands "$program")
    typed=()
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        [[ $word == -* ]] && break
        typed+=("$word")
        [[ ${#typed[@]} -eq 2 ]] && break
    done
    case $previous in
    --host) # names that the collector knows
        mapfile -t COMPREPLY < <(compgen -W "$(_haechi_names "$program" hosts)" -- "$current")
        return
        ;;
    --group)
        mapfile -t COMPREPLY < <(compgen -W "$(_haechi_names "$program" groups)" -- "$current")
        return
        ;;
    --format)
        mapfile -t COMPREPLY < <(compgen -W 'table json xml csv text' -- "$current")
        return
        ;;
    --state | --data | --config | --file | --out | --base)
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
        ;;
    esac
    if [[ $current == -* ]]; then
        if grep -qx "${typed[0]:-} ${typed[1]:-}" <<<"$commands"; then
            mapfile -t COMPREPLY < <(compgen -W "$(_haechi_options "$program" "${typed[@]:0:2}")" -- "$current")
        elif [[ -n ${typed[0]:-} && -n $commands ]]; then
            mapfile -t COMPREPLY < <(compgen -W "$(_haechi_options "$program" "${typed[0]}")" -- "$current")
        else
            mapfile -t COMPREPLY < <(compgen -W "$(_haechi_options "$program") --help --version" -- "$current")
        fi
    elif [[ $COMP_CWORD -eq 1 ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(cut -d' ' -f1 <<<"$commands" | sort -u)" -- "$current")
    elif [[ $COMP_CWORD -eq 2 ]] && grep -q "^${typed[0]} " <<<"$commands"; then
        mapfile -t COMPREPLY < <(compgen -W "$(sed -n "s/^${typed[0]} //p" <<<"$commands")" -- "$current")
    else
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        case "${typed[0]} ${typed[1]}" in
        rules\ show | rules\ export | rules\ diff)
            mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -W "$(_haechi_names "$program" rules list)" -- "$current")
            ;;
        group\ *) mapfile -t COMPREPLY < <(compgen -W "$(_haechi_names "$program" groups)" -- "$current") ;;
        host\ *) mapfile -t COMPREPLY < <(compgen -W "$(_haechi_names "$program" hosts)" -- "$current") ;;
        esac
    fi
}

complete -o filenames -F _haechi haechi haechi-agent haechid haechi-load
