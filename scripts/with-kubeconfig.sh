#!/usr/bin/env bash
# Run a command with a cluster's credentials that come as a variable, as in a pipeline.
#
#   KUBECONFIG_CONTENT="$(cat kubeconfig)" scripts/with-kubeconfig.sh COMMAND [ARGUMENT...]
#
# They are written to a file that its owner alone reads, named by KUBECONFIG for the command, and
# deleted when it ends. The command does not see KUBECONFIG_CONTENT. Its exit code is handed on.
set -euo pipefail

fail() {
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit "${3:-1}"
}

case "${1:-}" in
  -h | --help)
    sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p;}' "${BASH_SOURCE[0]}"
    exit 0
    ;;
  "" | -*) fail "no command, but ${1:-nothing}" "scripts/with-kubeconfig.sh COMMAND [ARGUMENT...]" 2 ;;
esac
[[ -n ${KUBECONFIG_CONTENT:-} ]] ||
  fail "KUBECONFIG_CONTENT is empty: no credentials of a cluster" \
    "store the cluster's kubeconfig as a secret of the environment (DEPLOYMENT.md, Pipeline)"

umask 077
file=$(mktemp)
trap 'rm -f "$file"' EXIT
printf '%s\n' "$KUBECONFIG_CONTENT" >"$file"
unset KUBECONFIG_CONTENT
KUBECONFIG=$file "$@"
