#!/bin/sh
# Print the Pythons that icecore runs on, the newest first: those on the PATH and pyenv's.
# With --path, those on the PATH alone. Each is tried: a name alone may be pyenv's promise.
works() {
    "$1" -c "import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, $2))" 2>/dev/null
}

for minor in 14 13 12 11; do
    for python in "python3.$minor" python3; do
        if works "$python" "$minor"; then
            command -v "$python"
            continue 2
        fi
    done
    [ "${1-}" = --path ] && continue
    for python in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3."$minor".*/bin/python3; do
        if works "$python" "$minor"; then
            echo "$python"
            break
        fi
    done
done
