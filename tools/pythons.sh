#!/bin/sh
# Print the Pythons that icecore runs on, the newest first: those on the PATH and pyenv's.
# With --path, those on the PATH alone. Each is tried: a name alone may be pyenv's promise, which
# is passed over. Where pyenv keeps its versions is seen by its shims too: HOME may be empty.
works() {
    "$1" -c "import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, $2))" 2>/dev/null
}

roots() {
    echo "${PYENV_ROOT:-${HOME-}/.pyenv}"
    printf '%s\n' "$PATH" | tr : '\n' | sed -n 's|/shims/*$||p'
}

of_pyenv() {
    roots | while read -r root; do
        for python in "$root"/versions/3."$1".*/bin/python3; do
            if works "$python" "$1"; then
                echo "$python"
                return
            fi
        done
    done | head -n 1
}

for minor in 14 13 12 11; do
    for python in "python3.$minor" python3; do
        if works "$python" "$minor"; then
            command -v "$python"
            continue 2
        fi
    done
    [ "${1-}" = --path ] || of_pyenv "$minor"
done
