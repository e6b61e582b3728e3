#!/usr/bin/env bash
# Ask a running system for its verdict on drift, and tell it where it needs a person.
#
#   scripts/drift-monitoring.sh --kubernetes [--namespace NAME] [--wait SECONDS]
#   scripts/drift-monitoring.sh --at URL --token-file FILE [--wait SECONDS]
#
# The watch judges (`fedrisk trigger drift`); nothing is retrained. Exit codes: 0 nothing is wrong; 20
# drift, harm or broken data; 2 arguments; any other: it could not be judged. With GH_TOKEN and gh,
# a verdict and a failure are told in one open issue each; a later one is a comment there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

verdict=20
namespace=fedrisk wait=3600 where='' at='' token=''

fail() {
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit "${3:-1}"
}

while (($#)); do
  case "$1" in
    -h | --help)
      sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p;}' scripts/drift-monitoring.sh
      exit 0
      ;;
    --kubernetes) where=kubernetes ;;
    --namespace) namespace=${2:-} && shift ;;
    --at) where=at at=${2:-} && shift ;;
    --token-file) token=${2:-} && shift ;;
    --wait) wait=${2:-} && shift ;;
    *) fail "unknown argument: $1" "scripts/drift-monitoring.sh --help says what there is" 2 ;;
  esac
  shift || true
done

asked=(trigger drift --exit-code --wait "$wait")
case "$where" in
  kubernetes)
    command -v kubectl >/dev/null || fail "kubectl is not installed" "install it, and let KUBECONFIG name the cluster"
    command=(kubectl --namespace "$namespace" exec deployment/federated-server --container watch --
      fedrisk "${asked[@]}" --at http://127.0.0.1:9102 --token-file /run/secrets/fedrisk/operations-token)
    ;;
  at)
    [[ -r $token ]] || fail "the token's file ${token:-} cannot be read" "--token-file FILE, the operator's token" 2
    command=("${FEDRISK:-.venv/bin/fedrisk}" "${asked[@]}" --at "$at" --token-file "$token")
    ;;
  *) fail "no place is named" "--kubernetes, or --at URL --token-file FILE" 2 ;;
esac

output=$(mktemp)
trap 'rm -f "$output"' EXIT
code=0
"${command[@]}" 2>&1 | tee "$output" || code=$?
((code != 0)) || exit 0

tell() {
  local title=$1 label=$2 number body fence='```'
  body=$(
    printf '%s\n' "$title."
    [[ -z ${GITHUB_RUN_ID:-} ]] || printf 'The run: %s/%s/actions/runs/%s\n' "$GITHUB_SERVER_URL" "$GITHUB_REPOSITORY" "$GITHUB_RUN_ID"
    printf '\n%s\n%s\n%s\n\nWhat to do: docs/runbooks/README.md\n' "$fence" "$(tail -n 60 "$output")" "$fence"
  )
  gh label create "$label" --force --description "Told by scripts/drift-monitoring.sh" >/dev/null
  number=$(gh issue list --label "$label" --state open --json number --jq '.[0].number // empty')
  if [[ -n $number ]]; then
    gh issue comment "$number" --body "$body"
  else
    gh issue create --title "$title" --label "$label" --body "$body"
  fi
}

if ((code == verdict)); then
  title="Drift: the verdict needs a person" label=drift
else
  title="Drift could not be judged" label=drift-monitoring
fi
if [[ -n ${GH_TOKEN:-} ]] && command -v gh >/dev/null; then
  # The exit code stays the verdict's where nobody can be told.
  tell "$title" "$label" || printf 'warning: no issue could be opened; what gh says stands above\n' >&2
fi
fail "$title (exit code $code)" "docs/runbooks/README.md says what each verdict asks for" "$code"
