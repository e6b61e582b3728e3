#!/usr/bin/env bash
# Make .venv-deploy: the tools that check and ship the deployment, from locks/deploy.txt.
#
#   scripts/deploy-tools.sh
#
# hadolint, shellcheck, yamllint, zizmor, kubernetes-validate, check-jsonschema, pip-audit,
# pip-licenses, cyclonedx-py, podman-compose; and, where Go is installed, actionlint by
# locks/actionlint/go.sum. An environment of their own: none of their requirements meets those of
# fedrisk. Every file is checked against its hash. Fast when nothing changed. PYTHON names the
# interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=.venv-deploy
stamp=$venv/.made-from

fail() {
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit "${3:-1}"
}

case "${1:-}" in
  "") ;;
  -h | --help)
    sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p;}' scripts/deploy-tools.sh
    exit 0
    ;;
  *) fail "unknown argument: $1" "scripts/deploy-tools.sh --help says what there is" 2 ;;
esac

go=$(command -v go || true)
digest=$(cat locks/deploy.txt locks/bootstrap.txt locks/actionlint/go.sum scripts/deploy-tools.sh - <<<"$go" | cksum)
if [[ -f $stamp && $(<"$stamp") == "$digest" ]]; then
  exit 0
fi
python=${PYTHON:-python3}
"$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
  fail "$python is no Python 3.11 or newer with its venv module" \
    "install one (Debian and Ubuntu: apt install python3 python3-venv), or name one: make deploy-tools PYTHON=/path/to/python"
"$python" -m venv --clear "$venv"
echo "Installing the tools of the deployment into $venv ..." >&2
"$venv/bin/python" -m pip install --quiet --require-hashes --only-binary :all: -r locks/bootstrap.txt
"$venv/bin/uv" pip install --quiet --require-hashes --only-binary :all: --python "$venv/bin/python" -r locks/deploy.txt
if [[ -n $go ]]; then
  "$go" build -C locks/actionlint -mod=readonly -trimpath -o "$PWD/$venv/bin/actionlint" \
    github.com/rhysd/actionlint/cmd/actionlint
else
  echo "warning: Go is not installed, so actionlint was not built; its test is skipped" >&2
fi
printf '%s\n' "$digest" >"$stamp"
