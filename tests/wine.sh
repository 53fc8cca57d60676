# Windows programs in tests/integration/*.sh: . "$(dirname "$0")/../wine.sh", after lib.sh.
#
# Owns the Wine prefix of a test, the process that keeps it alive, time limits and the clean-up: nothing outlives the test.
#
#   EXE                            the path of haechi-agent.exe, built by `make windows`; the test is skipped without it
#   wine_prefix [NAME]             a fresh prefix in $TMP/NAME.wine ("default"); exports WINEPREFIX; a second one may be made,
#                                  WINEPREFIX says which one is used
#   wine SECONDS PROGRAM ARG...    runs a program in it, with no input and at most so long; exit codes are cut to 8 bits
#   wine_bg NAME PROGRAM ARG...    starts one with its output in $TMP/NAME.log; sets BG_PID; `end NAME KILL` is a true kill
#   windows_path PATH              Z:\... for a path of this machine
#   wine_pids [NAME]               the process ids of NAME.exe, or of all programs, with this WINEPREFIX
#
# A golden prefix is made once per Wine version, 20 MB, and copied; no test runs in it.

wine_file() { dpkg -L "$1" 2>/dev/null | grep "$2" | head -n 1; }
WINE=$(wine_file wine64 'wine/wine64$')
WINESERVER=$(wine_file libwine 'wine/wineserver$')
[ -n "$WINE" ] && [ -x "$WINE" ] && [ -n "$WINESERVER" ] || skip "wine64 is not installed (make setup SETUP=wine)"
EXE=${HAECHI_EXE:-$(dirname "$BIN")/windows/haechi-agent.exe}
[ -e "$EXE" ] || skip "haechi-agent.exe is not built (make windows)"

export WINEARCH=win64 WINEDEBUG=-all
export WINEDLLOVERRIDES="mscoree=;mshtml=;winemenubuilder.exe=;winedbg.exe="
unset DISPLAY WAYLAND_DISPLAY 2>/dev/null || :
WINE_PREFIXES=

wine_cleanup() {
    wine_code=$?
    set +e
    for p in $WINE_PREFIXES; do
        WINEPREFIX=$p timeout 10 "$WINESERVER" -k
        WINEPREFIX=$p timeout 20 "$WINESERVER" -w
        # without their server, programs stay behind
        for pid in $(WINEPREFIX=$p && wine_pids); do kill -KILL "$pid" 2>/dev/null; done
    done
    (exit $wine_code)
    lib_cleanup
}
trap wine_cleanup EXIT

# $1: where. Links instead of copies of Wine's own files, and no folders into the home of whoever runs this.
wine_make_golden() {
    golden_home=$1.home
    rm -rf "$1" "$golden_home"
    mkdir -p "$golden_home"
    for words in "wineboot -i" "winecfg -v win10"; do
        HOME=$golden_home WINEPREFIX=$1 timeout 120 "$WINE" $words </dev/null >/dev/null 2>&1 || return 1
        WINEPREFIX=$1 timeout 60 "$WINESERVER" -w
    done
    builtin=$(wine_file libwine 'x86_64-windows$')
    find "$1/drive_c/windows/system32" -type f | while read -r f; do
        [ ! -f "$builtin/${f##*/}" ] || ln -sf "$builtin/${f##*/}" "$f"
    done
    rm -rf "$1/drive_c/windows/winsxs" "$1/drive_c/windows/resources" "$golden_home"
    mkdir "$1/drive_c/windows/winsxs" "$1/drive_c/windows/resources"
    find "$1/drive_c/users" -type l | while read -r f; do rm "$f" && mkdir "$f"; done
    echo 'void __stdcall Sleep(unsigned); int main(void) { Sleep(0xffffffffu); return 0; }' |
        x86_64-w64-mingw32-gcc -Os -s -xc - -o "$1/drive_c/hold.exe"
}

wine_prefix() {
    WINEPREFIX=$TMP/${1:-default}.wine
    export WINEPREFIX
    cache=$(dirname "$BIN")/wine
    golden=$cache/golden-$(dpkg-query -W -f '${Version}' libwine | tr -c 'A-Za-z0-9.\n' _)
    mkdir -p "$cache"
    (
        flock 8
        [ -e "$golden/drive_c/hold.exe" ] || wine_make_golden "$golden.tmp" || exit 1
        [ -e "$golden/drive_c/hold.exe" ] || mv "$golden.tmp" "$golden"
    ) 8>"$cache/.lock" || fail "no Wine prefix could be made"
    cp -a "$golden" "$WINEPREFIX"
    WINE_PREFIXES="$WINE_PREFIXES $WINEPREFIX"
    # Everything in a prefix ends with its last ordinary process: this one stays. It must not hold our output open.
    setsid "$WINE" 'C:\hold.exe' </dev/null >/dev/null 2>&1 8>&- 9>&- &
    echo $! >"$TMP/.pid/hold-${1:-default}"
    tries=200
    until timeout 20 "$WINE" cmd /c exit 0 </dev/null >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || fail "Wine does not start"
        sleep 0.1
    done
}

wine() {
    seconds=$1
    shift
    timeout -k 5 "$seconds" "$WINE" "$@" </dev/null
}

wine_bg() {
    name=$1
    shift
    run_bg "$name" "$WINE" "$@"
}

windows_path() { printf 'Z:%s\n' "$1" | tr / '\\'; }

wine_pids() {
    for d in /proc/[0-9]*; do
        # a process may end while it is looked at: the shell's word on that is not wanted either
        [ $# = 0 ] || [ "$({ tr -d '\0' <"$d/comm"; } 2>/dev/null)" = "$(printf '%.15s' "$1.exe")" ] || continue
        { tr '\0' '\n' <"$d/environ" | grep -qxF "WINEPREFIX=$WINEPREFIX"; } 2>/dev/null && echo "${d#/proc/}"
    done
    return 0
}
