#!/bin/sh
# Writes requirements/*.txt: every dependency of every supported Python and system, pinned, with the hashes of all
# its published files and without any address, so that plain pip installs it from whichever index it is set up for.
# The resolution is universal (markers kept), which pip-compile cannot do: it sees only the machine it runs on.
#
#   tools/lock.sh UV [--upgrade]      UV is the uv program; without --upgrade existing pins are kept
set -eu
cd "$(dirname "$0")/.."
uv=$1
shift

compile() {
    out=$1
    shift
    "$uv" pip compile "$@" --quiet --no-config --universal --python-version 3.11 --generate-hashes \
        --custom-compile-command "make lock" --output-file "$out" >/dev/null
    echo "lock: $out, $(grep -c '^[a-z]' "$out") packages"
}

compile requirements/runtime.txt pyproject.toml "$@"
compile requirements/dev.txt pyproject.toml --group dev --constraints requirements/runtime.txt "$@"
compile requirements/build.txt --group build --constraints requirements/dev.txt "$@"
compile requirements/lock.txt --group lock "$@"
compile requirements/supply.txt --group supply "$@"
