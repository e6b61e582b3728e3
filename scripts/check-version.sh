#!/usr/bin/env bash
# Check that every place tells the same version, and that its tag may be released.
#
#   scripts/check-version.sh [TAG]          TAG such as v1.2.0
#
# pyproject.toml, src/fedrisk/__init__.py and the newest release of CHANGELOG.md must agree; with TAG
# that is the version too, and the changelog says what the release brings.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit "${3:-1}"
}

case "${1:-}" in
  -h | --help)
    sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p;}' scripts/check-version.sh
    exit 0
    ;;
  "" | v[0-9]*) ;;
  *) fail "no tag of a version: $1" "a tag is v and the version, such as v1.2.0" 2 ;;
esac

project=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml | head -n 1)
package=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' src/fedrisk/__init__.py)
changelog=$(sed -n 's/^## \[\{0,1\}\([0-9][0-9.]*\).*/\1/p' CHANGELOG.md | head -n 1)

[[ $project == "$package" ]] ||
  fail "pyproject.toml says $project, src/fedrisk/__init__.py says $package" "make them one version"
[[ $project == "$changelog" ]] ||
  fail "pyproject.toml says $project, the newest release of CHANGELOG.md is $changelog" \
    "name the release's section [$project]"
if [[ -n ${1:-} ]]; then
  [[ $1 == "v$project" ]] ||
    fail "the tag $1 is not the version $project" "raise the version first, or tag v$project"
  scripts/release-notes.sh "$project" >/dev/null
fi
printf 'version %s\n' "$project"
