#!/bin/sh
# Makes .venv with the locked packages and the project itself, one line a stage.
#
#   tools/setup.sh runtime     what `opscore` needs to run
#   tools/setup.sh dev         that, and what the tests and checks need
#   tools/setup.sh python      prints the interpreter that would be used
#
# PYTHON=/path/to/python chooses the interpreter.
set -eu
cd "$(dirname "$0")/.."

say() { echo "setup: $*"; }

fail() {
    echo "setup: $*" >&2
    exit 1
}

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    too_old=""
    without_venv=""
    for name in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
        path=$(command -v "$name" 2>/dev/null) || continue
        version=$("$path" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
        if ! new_enough "$path"; then
            too_old="$too_old $name ($version)"
        elif ! "$path" -c 'import ensurepip, venv' >/dev/null 2>&1; then
            without_venv="$without_venv $name ($version)"
        else
            echo "$path"
            return
        fi
    done
    if [ -n "${PYTHON:-}" ] && [ -z "$too_old$without_venv" ]; then
        fail "PYTHON=$PYTHON is not a Python that runs. Name one of 3.11 or newer, or leave PYTHON out."
    fi
    if [ -n "$without_venv" ]; then
        fail "found$without_venv, but without the venv module. On Debian and Ubuntu: apt install python3-venv; then run make again."
    fi
    if [ -n "$too_old" ]; then
        fail "found only$too_old, and Ops-Core needs Python 3.11 or newer. Install one, or name it: make PYTHON=/path/to/python3.12 setup"
    fi
    fail "found no Python. Ops-Core needs Python 3.11 or newer. Install one, or name it: make PYTHON=/path/to/python3.12 setup"
}

make_venv() {
    if [ -x .venv/bin/python ] && new_enough .venv/bin/python; then
        return
    fi
    python=$(find_python)
    say "making .venv with $("$python" --version) ($python)"
    rm -rf .venv
    "$python" -m venv .venv || fail "could not make .venv with $python (see above). Remove .venv and run make again."
}

# The locks name every package, so the resolver has nothing to do (--no-deps).
install() {
    .venv/bin/python -m pip install -qq --disable-pip-version-check --no-input --no-deps "$@" ||
        fail "pip could not install (see above). Without a way to the package index, set PIP_INDEX_URL to a mirror and run make again."
}

count() { grep -c '^[a-z]' "$1"; }

main() {
    kind=$1
    make_venv
    if [ "$kind" = dev ]; then
        say "installing $(count requirements/dev.txt) packages to run, test and check Ops-Core (hashes checked)"
        install --require-hashes -r requirements/dev.txt
    else
        say "installing $(count requirements/runtime.txt) packages to run Ops-Core (hashes checked)"
        install --require-hashes -r requirements/runtime.txt
        install --require-hashes -r requirements/build.txt
    fi
    say "installing Ops-Core itself"
    install --no-build-isolation --editable .
    say "ready: $(.venv/bin/python --version), .venv/bin/opscore"
    touch ".venv/.ready-runtime"
    if [ "$kind" = dev ]; then touch ".venv/.ready-dev"; fi
}

case ${1:-} in
runtime | dev) main "$1" ;;
python) find_python ;;
*) fail "say runtime, dev or python" ;;
esac
