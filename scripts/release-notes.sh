#!/usr/bin/env bash
# Print the changelog's section of one version, as the release's notes.
#
#   scripts/release-notes.sh VERSION        1.2.0, v1.2.0 or Unreleased
#
# Exit code 1 where the section is missing or empty.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit "${3:-1}"
}

case "${1:-}" in
  -h | --help)
    sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p;}' scripts/release-notes.sh
    exit 0
    ;;
  "" | -*) fail "no version, but ${1:-nothing}" "scripts/release-notes.sh VERSION, such as 1.2.0" 2 ;;
esac

version=${1#v}
# The section ends at the next version's heading or at the links at the foot.
notes=$(awk -v version="$version" '
  /^## / || /^\[[^]]+\]: / { inside = ($0 ~ /^## /) && index($2, version) && ($2 == version || $2 == "[" version "]"); next }
  inside { print }
' CHANGELOG.md)
[[ -n ${notes//[[:space:]]/} ]] ||
  fail "CHANGELOG.md has no section of $version, or an empty one" \
    "add '## [$version] - $(date -u +%Y-%m-%d)' with what a user notices, before the release is tagged"
printf '%s\n' "$notes" | sed '/./,$!d'
