#!/bin/sh
# What the product is made of, and whether anything of it is known to be unsafe. Both read the lock, not the machine.
#
#   tools/supply.sh sbom      writes dist/sbom.cdx.json: every package of the run-time lock with its hashes (CycloneDX)
#   tools/supply.sh audit     asks pip-audit about them; exit code 1 for a known hole, 3 when nobody could be asked
set -eu
cd "$(dirname "$0")/.."
bin=.venv-supply/bin

sbom() {
    mkdir -p dist
    "$bin/cyclonedx-py" requirements requirements/runtime.txt --pyproject pyproject.toml --mc-type application \
        --output-reproducible --output-format JSON --output-file dist/sbom.cdx.json --validate 2>/dev/null
    echo "sbom: dist/sbom.cdx.json, $(grep -c '"purl"' dist/sbom.cdx.json) packages"
}

audit() {
    said=$(mktemp)
    trap 'rm -f "$said"' EXIT
    if "$bin/pip-audit" --strict --disable-pip --require-hashes --progress-spinner off --timeout 15 \
        -r requirements/runtime.txt >"$said" 2>&1; then
        cat "$said"
        return
    fi
    cat "$said"
    if grep -q '^Found ' "$said"; then
        exit 1
    fi
    echo >&2
    echo "audit: ################################################################" >&2
    echo "audit: NOTHING WAS EXAMINED. No database of known holes could be reached" >&2
    echo "audit: (see above). Run it again where the network allows it." >&2
    echo "audit: ################################################################" >&2
    exit 3
}

case ${1:-} in
sbom | audit) "$1" ;;
*) echo "supply: say sbom or audit" >&2 && exit 2 ;;
esac
