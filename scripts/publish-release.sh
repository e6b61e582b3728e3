#!/usr/bin/env bash
# Publish a tag as a release on GitHub: the changelog's section as notes, dist/ as files.
#
#   scripts/publish-release.sh [--dry-run] TAG
#
# Needs gh with GH_TOKEN, and dist/ as `make dist` and `make sbom` left it. Run again it renews both.
# --dry-run prints what would be published.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit "${3:-1}"
}

dry=
tag=
while (($#)); do
  case "$1" in
    -h | --help)
      sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p;}' scripts/publish-release.sh
      exit 0
      ;;
    --dry-run) dry=yes ;;
    -*) fail "unknown option: $1" "scripts/publish-release.sh --help says what there is" 2 ;;
    *) tag=$1 ;;
  esac
  shift
done
[[ -n $tag ]] || fail "no tag" "scripts/publish-release.sh v1.2.0" 2

scripts/check-version.sh "$tag" >&2
mapfile -t files < <(find dist -maxdepth 1 -type f \( -name '*.whl' -o -name '*.tar.gz' -o -name '*.cdx.json' \) 2>/dev/null | sort)
((${#files[@]})) || fail "dist/ holds nothing to publish" "make dist && make sbom"
notes=$(scripts/release-notes.sh "$tag")

if [[ -n $dry ]]; then
  printf '%s\n\n%s\n' "$notes" "${files[*]}"
  exit 0
fi
command -v gh >/dev/null || fail "gh is not installed" "https://cli.github.com tells how"
kind=()
[[ $tag == v0.* || $tag == *-* ]] && kind=(--prerelease)
if gh release view "$tag" >/dev/null 2>&1; then
  printf '%s\n' "$notes" | gh release edit "$tag" --notes-file -
  gh release upload "$tag" --clobber "${files[@]}"
else
  printf '%s\n' "$notes" | gh release create "$tag" --verify-tag --title "fedrisk ${tag#v}" --notes-file - "${kind[@]}" "${files[@]}"
fi
