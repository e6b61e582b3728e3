#!/usr/bin/env bash
# Has a retraining run, and follows it to its verdict.
set -euo pipefail

usage() {
  cat <<'END'
usage: scripts/trigger-retraining.sh drift|scheduled|manual [WHERE] [options]

Runs the retraining loop for a reason, follows it to its verdict, and tells it by the exit code.

  drift       act on harm that the sites' current rows show
  scheduled   retrain also without, within cooldown and budget
  manual      a person's wish

where
  --at URL --token-file FILE   a running `fedrisk watch --operations`
  --compose                    the watch that scripts/run-local.sh started; without another place
  --kubernetes                 the watch of deploy/kubernetes (kubectl)
  --local ARGUMENTS...         `fedrisk retrain` here; all that follows is passed on:
                               --home DIR --site NAME=FILE ..., or --engine deployed --federation DIR

options
  --namespace N    of --kubernetes                        [fedrisk]
  --wait SECONDS   how long it is followed                [3600]
  --id NAME        follow what was asked for by this name
  --json           one JSON object on standard output
  -h, --help

environment
  FEDRISK          the command of --local and --at        [.venv/bin/fedrisk, else fedrisk]
  CONTAINER_TOOL   of --compose                           [docker, else podman: what answers]
  FEDRISK_TRIES    how often it is followed again where the way to the watch breaks   [24]
  COMPOSE_PROJECT_NAME                                    [fedrisk]
  COMPOSE_WATCH    the watch's container, where it is not found by its labels

exit codes: 0 promoted or done, 21 it waits (for a person, a trial, labels), 22 refused, 23 abandoned or taken back,
24 not ended in time; any other is an error that is told.
END
}

fail() {
  printf 'error: %s\n' "$1" >&2
  printf 'hint: %s\n' "$2" >&2
  exit 2
}

needed() {
  [ "$2" -ge 2 ] || fail "$1 needs a value" "scripts/trigger-retraining.sh --help"
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=../deploy/compose/compose-command.bash
source "$root/deploy/compose/compose-command.bash"
reason='' where='' at='' token='' namespace=fedrisk wait=3600 id='' local_words=() more=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    drift | scheduled | manual)
      [ -z "$reason" ] || fail "two reasons: $reason and $1" "one of drift, scheduled, manual"
      reason=$1
      ;;
    --compose | --kubernetes)
      [ -z "$where" ] || fail "two places: $where and ${1#--}" "one of them"
      where=${1#--}
      ;;
    --local)
      [ -z "$where" ] || fail "two places: $where and local" "one of them"
      where=local
      shift
      local_words=("$@")
      break
      ;;
    --at | --token-file | --namespace | --wait | --id)
      needed "$1" $#
      case $1 in
        --at) at=$2 ;;
        --token-file) token=$2 ;;
        --namespace) namespace=$2 ;;
        --wait) wait=$2 ;;
        --id) id=$2 ;;
      esac
      shift
      ;;
    --json) more+=(--json) ;;
    *) fail "unknown argument $1" "scripts/trigger-retraining.sh --help" ;;
  esac
  shift
done
[ -n "$reason" ] || fail "no reason is named" "drift, scheduled or manual comes first"
if [ -n "$at" ] || [ -n "$token" ]; then
  [ -z "$where" ] || fail "--at and --$where are two places" "one of them"
  [ -n "$at" ] && [ -n "$token" ] || fail "--at and --token-file belong together" "name both"
  where="at"
fi
[ -n "$where" ] || where=compose

fedrisk=${FEDRISK:-}
if [ -z "$fedrisk" ]; then
  fedrisk=$root/.venv/bin/fedrisk
  [ -x "$fedrisk" ] || fedrisk=fedrisk
fi
have() {
  command -v "$1" >/dev/null 2>&1 || fail "no $1 here" "$2"
}

# By this name it is asked for again where the way to the watch breaks.
[ -n "$id" ] || id="script-$(date -u +%Y%m%dT%H%M%S)-$$"
# Where the containers of both deployments find the token, and the watch itself.
inside=(--at http://127.0.0.1:9102 --token-file)
asked=(trigger retrain --trigger "$reason" --wait "$wait" --id "$id" "${more[@]}")

# Runs it, and again by the same name where the way to the watch breaks, as by a restart of its container.
follow() {
  local tries code
  for ((tries = ${FEDRISK_TRIES:-24}; ; tries--)); do
    code=0
    "$@" || code=$?
    case $code in
      1 | 125 | 126 | 137 | 143) ;;
      *) return "$code" ;;
    esac
    [ "$tries" -gt 0 ] || return "$code"
    printf 'the way to the watch broke (exit code %s): following %s again\n' "$code" "$id" >&2
    sleep 5
  done
}

case $where in
  local)
    have "$fedrisk" "make install, or name it by FEDRISK"
    exec "$fedrisk" retrain --trigger "$reason" --wait "$wait" --exit-code "${more[@]}" \
      "${local_words[@]}"
    ;;
  at)
    have "$fedrisk" "make install, or name it by FEDRISK"
    [ -r "$token" ] || fail "$token cannot be read" "the file with the operator's token"
    exec "$fedrisk" "${asked[@]}" --at "$at" --token-file "$token"
    ;;
  compose)
    find_engine
    watch=${COMPOSE_WATCH:-$(container watch || true)}
    [ -n "$watch" ] || fail "no watch runs in a container" "scripts/run-local.sh starts it"
    follow "$tool" exec "$watch" fedrisk "${asked[@]}" "${inside[@]}" \
      /run/secrets/operations-token
    ;;
  kubernetes)
    have kubectl "install it, and let KUBECONFIG name the cluster"
    kubectl --namespace "$namespace" get deployment/federated-server >/dev/null ||
      fail "no coordinator in namespace $namespace" "scripts/deploy-k8s.sh, or --namespace"
    follow kubectl --namespace "$namespace" exec deployment/federated-server --container watch -- \
      fedrisk "${asked[@]}" "${inside[@]}" /run/secrets/fedrisk/operations-token
    ;;
esac
