#!/usr/bin/env bash
# Write a bill of materials (CycloneDX, JSON) of what the locks install, with licences and dependencies.
#
#   scripts/sbom.sh [FILE]                  FILE is dist/fedrisk.cdx.json where none is named
#
# It describes .venv: every extra, and the tools of development. Those of the images are written by
# scripts/build-images.sh --sbom. The same commit and locks give the same bytes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit "${3:-1}"
}

case "${1:-}" in
  -h | --help)
    sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p;}' scripts/sbom.sh
    exit 0
    ;;
  -*) fail "unknown option: $1" "scripts/sbom.sh --help says what there is" 2 ;;
esac
file=${1:-dist/fedrisk.cdx.json}
[[ -x .venv-deploy/bin/cyclonedx-py ]] || fail "cyclonedx-py is not installed" "make deploy-tools"
[[ -x .venv/bin/python ]] || fail "there is no .venv to describe" "make install"

mkdir -p "$(dirname "$file")"
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo 0)
export SOURCE_DATE_EPOCH
.venv-deploy/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type library \
  --output-reproducible --validate --output-file "$file" .venv/bin/python
printf '%s: %s components\n' "$file" "$(grep -c '"bom-ref"' "$file")"
