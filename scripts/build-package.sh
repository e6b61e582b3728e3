#!/usr/bin/env bash
# Build the package into dist/: a wheel and a source archive, the same bytes from the same commit.
#
#   scripts/build-package.sh
#
# The wheel is then installed alone into an empty folder and asked for its version.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit "${3:-1}"
}

case "${1:-}" in
  "") ;;
  -h | --help)
    sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p;}' scripts/build-package.sh
    exit 0
    ;;
  *) fail "unknown argument: $1" "scripts/build-package.sh --help says what there is" 2 ;;
esac
[[ -x .venv/bin/python ]] || fail "there is no .venv to build with" "make install"

SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo 0)
export SOURCE_DATE_EPOCH
mkdir -p dist
rm -f dist/fedrisk-*.whl dist/fedrisk-*.tar.gz
.venv/bin/python -m hatchling build --directory dist >&2

wheel=(dist/fedrisk-*.whl)
version=$(scripts/check-version.sh)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
.venv/bin/uv pip install --quiet --no-deps --target "$folder" "${wheel[0]}"
installed=$(cd "$folder" && PYTHONPATH=$folder "$OLDPWD/.venv/bin/python" -c '
import fedrisk, pathlib
assert pathlib.Path(fedrisk.__file__).is_relative_to(pathlib.Path.cwd()), fedrisk.__file__
print("version", fedrisk.__version__)')
[[ $installed == "$version" ]] || fail "the wheel says $installed, the project $version" "scripts/check-version.sh"
sha256sum dist/fedrisk-*.whl dist/fedrisk-*.tar.gz
