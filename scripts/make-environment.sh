#!/usr/bin/env bash
# Make .venv from requirements.lock: every extra, every file checked against its hash.
#
#   scripts/make-environment.sh
#
# Fast when nothing changed: the stamp holds the digest of all inputs.
# PYTHON names the interpreter (3.11 or newer); without it the first fitting one is taken.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=.venv
stamp=$venv/.made-from

fail() {
  printf 'error: %s\n' "$1" >&2
  printf 'hint: %s\n' "$2" >&2
  exit 1
}

case "${1:-}" in
  "") ;;
  -h | --help)
    sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p;}' scripts/make-environment.sh
    exit 0
    ;;
  *)
    printf 'error: unknown argument: %s\nhint: scripts/make-environment.sh --help says what there is\n' "$1" >&2
    exit 2
    ;;
esac

recent_enough() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if recent_enough "$candidate"; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  fail "fedrisk needs Python 3.11 or newer; ${PYTHON:-python3} is $(${PYTHON:-python3} --version 2>&1 || true)" \
    "install it (Debian and Ubuntu: apt install python3.11 python3.11-venv), or name one: make install PYTHON=/path/to/python"
}

make_venv() {
  local python
  python=$(find_python)
  "$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "$python cannot make virtual environments: its venv module is missing" \
      "install it (Debian and Ubuntu: apt install python3-venv)"
  "$python" -m venv --clear "$venv"
}

main() {
  local digest
  digest=$(cat requirements.lock locks/bootstrap.txt pyproject.toml "${BASH_SOURCE[0]}" | cksum)
  if [[ -f $stamp && $(<"$stamp") == "$digest" ]]; then
    return
  fi
  if ! recent_enough "$venv/bin/python"; then
    make_venv
  fi
  rm -f "$stamp"
  echo "Installing the environment into $venv (a few minutes the first time) ..." >&2
  "$venv/bin/python" -m pip install --quiet --require-hashes --only-binary :all: -r locks/bootstrap.txt
  "$venv/bin/uv" pip install --quiet --require-hashes --python "$venv/bin/python" -r requirements.lock
  "$venv/bin/uv" pip install --quiet --no-deps --no-build-isolation --python "$venv/bin/python" --editable .
  printf '%s\n' "$digest" >"$stamp"
}

main
