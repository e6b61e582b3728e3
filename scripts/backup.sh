#!/usr/bin/env bash
# Back up fedrisk: here, in the compose project, or in a Kubernetes namespace.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: scripts/backup.sh [local] --output DIR [--home DIR] [--federation DIR] [--site DIR] [OPTION ...]
       scripts/backup.sh compose --output DIR [OPTION ...]
       scripts/backup.sh kubernetes [--namespace NAME] [--timeout SECONDS]

Makes a backup while everything runs, checks it, and keeps the newest ones.

local        on this machine, by `fedrisk backup create`; every OPTION of it is passed on:
             --folder NAME=DIR, --database NAME=URL, --dump NAME=FILE, --recipient FILE, --keep N.
             A site's operator names the site's folder alone: --site DIR.
compose      runs the project's service `backup` once, with DIR as its /backups.
             COMPOSE names the command (default: `docker compose`, or `podman-compose`), and
             COMPOSE_FILE the file (default: deploy/compose/docker-compose.yml).
kubernetes   runs a Job from the CronJob `backup` at once, and follows it.

Restore with scripts/restore.sh; docs/disaster-recovery.md says when and what.
TEXT
}

fail() {
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit 1
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# The command of this project's environment, or else the one that is installed.
find_fedrisk() {
  if [[ -n ${FEDRISK_COMMAND:-} ]]; then
    fedrisk=$FEDRISK_COMMAND
  elif [[ -x $root/.venv/bin/fedrisk ]]; then
    fedrisk=$root/.venv/bin/fedrisk
  else
    fedrisk=$(command -v fedrisk) || fail 'fedrisk is not installed here' 'make install'
  fi
}

find_compose() {
  if [[ -n ${COMPOSE:-} ]]; then
    read -r -a compose <<<"$COMPOSE"
  elif command -v docker >/dev/null && docker compose version >/dev/null 2>&1; then
    compose=(docker compose)
  elif command -v podman-compose >/dev/null; then
    compose=(podman-compose)
  else
    fail 'neither docker compose nor podman-compose is here' 'install one, or name it by COMPOSE'
  fi
  compose+=(-f "${COMPOSE_FILE:-$root/deploy/compose/docker-compose.yml}")
}

backup_here() {
  local output='' previous=''
  for word in "$@"; do
    [[ $previous == --output ]] && output=$word
    [[ $word == --output=* ]] && output=${word#--output=}
    previous=$word
  done
  [[ -n $output ]] || fail '--output is missing' 'scripts/backup.sh --help'
  find_fedrisk
  "$fedrisk" backup create "$@"
  # What was written is read again, from the disk.
  "$fedrisk" backup verify "$output"
}

backup_compose() {
  local output='' options=()
  while (($#)); do
    case $1 in
      --output) output=${2:?} && shift 2 ;;
      *) options+=("$1") && shift ;;
    esac
  done
  [[ -n $output ]] || fail '--output is missing' 'scripts/backup.sh --help'
  mkdir -p "$output"
  find_compose
  FEDRISK_BACKUPS=$(cd "$output" && pwd) "${compose[@]}" --profile backup run --rm backup \
    "${options[@]}"
}

backup_kubernetes() {
  local namespace=fedrisk timeout=1800 job
  while (($#)); do
    case $1 in
      --namespace) namespace=${2:?} && shift 2 ;;
      --timeout) timeout=${2:?} && shift 2 ;;
      *) fail "unknown option $1" 'scripts/backup.sh --help' ;;
    esac
  done
  command -v kubectl >/dev/null || fail 'kubectl is not installed here' 'install it; KUBECONFIG names the cluster'
  kubectl --namespace "$namespace" get cronjob backup >/dev/null ||
    fail "namespace $namespace has no CronJob backup" 'scripts/deploy-k8s.sh makes it'
  job=backup-by-hand-$(date -u +%Y%m%d%H%M%S)
  kubectl --namespace "$namespace" create job "$job" --from=cronjob/backup
  follow_job "$namespace" "$job" "$timeout"
}

# Wait for a Job's end, print what it said, and fail as it did.
follow_job() {
  local namespace=$1 job=$2 timeout=$3 end=$((SECONDS + $3)) done='' failed=''
  while ((SECONDS < end)); do
    done=$(kubectl --namespace "$namespace" get job "$job" -o 'jsonpath={.status.conditions[?(@.type=="Complete")].status}')
    failed=$(kubectl --namespace "$namespace" get job "$job" -o 'jsonpath={.status.conditions[?(@.type=="Failed")].status}')
    [[ $done == True || $failed == True ]] && break
    sleep 2
  done
  kubectl --namespace "$namespace" logs "job/$job" --all-containers --tail=50 || true
  [[ $done == True ]] || fail "job $job did not complete within $timeout s" \
    "kubectl --namespace $namespace describe job $job"
}

case ${1:-} in
  -h | --help) usage ;;
  compose | kubernetes) "backup_$1" "${@:2}" ;;
  local) backup_here "${@:2}" ;;
  --*) backup_here "$@" ;;
  '') usage >&2 && fail 'nothing is named to back up' 'scripts/backup.sh --help' ;;
  *) fail "unknown place $1" 'local, compose or kubernetes' ;;
esac
