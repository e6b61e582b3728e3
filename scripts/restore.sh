#!/usr/bin/env bash
# Restore a backup of fedrisk: here, in the compose project, or in a Kubernetes namespace.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: scripts/restore.sh [local] PLACE [--home DIR] [--federation DIR] [--site DIR] [OPTION ...]
       scripts/restore.sh compose PLACE [OPTION ...]
       scripts/restore.sh kubernetes [--namespace NAME] [--backup NAME] [--key FILE] [--force]
                                     [--timeout SECONDS]

Checks every hash of a backup, then puts it back. PLACE is a backup's folder, or the folder that
backups lie in: then the newest is taken. A target that is not empty is refused without --force.

local        on this machine, by `fedrisk backup restore`; every OPTION of it is passed on:
             --folder NAME=DIR, --database NAME=URL, --dump NAME=FILE, --key FILE, --force.
compose      both databases, MLflow's artifacts and the federation's folder, in the project that runs;
             PLACE is one backup's folder. Coordinator and watch are stopped meanwhile, predictions
             go on. OPTION: --key FILE, --force. The environment as for backup.sh. Where nothing
             runs any more: scripts/run-local.sh --no-join, then this with --force, then run-local.sh.
kubernetes   stops what uses the volumes, runs a Job made from the suspended CronJob `restore`,
             and starts it again. The key is in a Secret while the Job runs.

docs/disaster-recovery.md says when, what, and what is lost.
TEXT
}

fail() {
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit 1
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=../deploy/compose/compose-command.bash
source "$root/deploy/compose/compose-command.bash"
# shellcheck source-path=SCRIPTDIR source=../deploy/kubernetes/follow-job.bash
source "$root/deploy/kubernetes/follow-job.bash"

restore_here() {
  local fedrisk
  if [[ -n ${FEDRISK_COMMAND:-} ]]; then
    fedrisk=$FEDRISK_COMMAND
  elif [[ -x $root/.venv/bin/fedrisk ]]; then
    fedrisk=$root/.venv/bin/fedrisk
  else
    fedrisk=$(command -v fedrisk) || fail 'fedrisk is not installed here' 'make install'
  fi
  exec "$fedrisk" backup restore "$@"
}

restore_compose() {
  local place=${1:?PLACE is missing} key='' force='' name database tables clean=()
  shift
  while (($#)); do
    case $1 in
      --key) key=${2:?} && shift 2 ;;
      --force) force=--force && clean=(--clean --if-exists) && shift ;;
      *) fail "unknown option $1" 'scripts/restore.sh --help' ;;
    esac
  done
  [[ -f $place/manifest.json ]] || fail "$place is no whole backup" 'name a folder fedrisk-TIME'
  place=$(cd "$place" && pwd)
  name=${place##*/}
  find_compose
  for database in fedrisk mlflow; do
    tables=$(query "$database" "select count(*) from pg_tables where schemaname = 'public'")
    [[ $tables == 0 || -n $force ]] ||
      fail "database $database is not empty" '--force replaces its tables'
  done
  "${compose[@]}" stop coordinator watch mlflow
  # Whatever happens from here on, no key is left, and what was stopped is started again.
  trap 'once coordinator "rm -rf restore" </dev/null || true; "${compose[@]}" start mlflow coordinator watch' EXIT
  tar -C "${place%/*}" -c "$name" |
    once coordinator 'rm -rf restore && mkdir -m 700 restore && tar -C restore -x --no-same-owner'
  if [[ -n $key ]]; then
    once coordinator '(umask 077 && cat >restore/key)' <"$key"
    key='--key restore/key'
  fi
  once coordinator "fedrisk backup restore restore/$name $key $force --federation federation \
    --folder artifacts=restore/artifacts --dump fedrisk=restore/fedrisk.dump \
    --dump mlflow=restore/mlflow.dump && rm -f restore/key" </dev/null
  once coordinator 'tar -C restore/artifacts -c .' </dev/null |
    once mlflow 'mkdir -p artifacts && tar -C artifacts -x --no-same-owner'
  for database in fedrisk mlflow; do
    once coordinator "cat restore/$database.dump" </dev/null |
      in_postgres pg_restore --dbname="$database" --no-owner \
        --single-transaction --exit-on-error "${clean[@]}"
  done
}

# Run a script in a container of a stopped service's own, in its volume.
once() {
  "${compose[@]}" run --rm -T --no-deps --entrypoint bash "$1" \
    -euo pipefail -c "cd /var/lib/fedrisk && $2"
}

# Ask a database; it is made where it is missing.
query() {
  in_postgres psql --dbname=fedrisk -qAtc \
    "select 1 from pg_database where datname = '$1'" </dev/null | grep -q 1 ||
    in_postgres createdb "$1" </dev/null
  in_postgres psql --dbname="$1" -qAtc "$2" </dev/null | tr -d '\r'
}

key='' job='' workloads=(deployment/federated-server deployment/mlflow)

restore_kubernetes() {
  local timeout=1800 backup='' force='' result=0
  while (($#)); do
    case $1 in
      --namespace) namespace=${2:?} && shift 2 ;;
      --timeout) timeout=${2:?} && shift 2 ;;
      --backup) backup=${2:?} && shift 2 ;;
      --key) key=${2:?} && shift 2 ;;
      --force) force=--force && shift ;;
      *) fail "unknown option $1" 'scripts/restore.sh --help' ;;
    esac
  done
  [[ -z $key || -s $key ]] || fail "$key cannot be read, or is empty" '--key FILE, the private key of the backups'
  command -v kubectl >/dev/null || fail 'kubectl is not installed here' 'install it; KUBECONFIG names the cluster'
  k get cronjob restore >/dev/null ||
    fail "namespace $namespace has no CronJob restore" 'scripts/deploy-k8s.sh makes it, suspended'
  job=restore-by-hand-$(date -u +%Y%m%d%H%M%S)
  # Whatever happens from here on, no key is left, and what was stopped is started again.
  trap start_again EXIT
  if [[ -n $key ]]; then
    k delete secret fedrisk-backup-key --ignore-not-found
    k create secret generic fedrisk-backup-key --from-file=key="$key"
  fi
  # A volume is put back while nobody writes to it; predictions go on, from the caches.
  k scale "${workloads[@]}" --replicas=0
  k wait --for=delete pod -l 'app.kubernetes.io/component in (federated-server, mlflow)' --timeout="${timeout}s"
  k create job "$job" --from=cronjob/restore --dry-run=client -o json |
    BACKUP=$backup FORCE=$force python3 -c '
import json, os, sys
job = json.load(sys.stdin)
pod = job["spec"]["template"]["spec"]
for box in pod.get("initContainers", []) + pod["containers"]:
    box.setdefault("env", []).extend(
        {"name": name, "value": os.environ[word]}
        for name, word in (("FEDRISK_BACKUP_NAME", "BACKUP"), ("FEDRISK_BACKUP_FORCE", "FORCE"))
    )
json.dump(job, sys.stdout)' | k create -f -
  follow_job "$job" "$timeout" || result=$?
  start_again
  trap - EXIT
  ((result == 0)) || fail "job $job did not complete" \
    "kubectl --namespace $namespace describe job $job"
}

# A Job that has not ended would write to what is started again.
start_again() {
  ended "$job" || k delete job "$job" --ignore-not-found --cascade=foreground --timeout=120s || true
  [[ -z $key ]] || k delete secret fedrisk-backup-key --ignore-not-found || true
  k scale "${workloads[@]}" --replicas=1
}

case ${1:-} in
  -h | --help) usage ;;
  compose | kubernetes) "restore_$1" "${@:2}" ;;
  local) restore_here "${@:2}" ;;
  '') usage >&2 && fail 'nothing is named to restore' 'scripts/restore.sh --help' ;;
  *) restore_here "$@" ;;
esac
