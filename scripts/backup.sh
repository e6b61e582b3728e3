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
compose      both databases, MLflow's artifacts and the federation's folder, of the project that runs;
             made in the coordinator's volume, then copied to DIR. OPTION: --recipient FILE.
             CONTAINER_TOOL names docker or podman, COMPOSE the command, COMPOSE_FILE the file
             (default: deploy/compose/docker-compose.yml), COMPOSE_PROJECT_NAME the project.
kubernetes   runs a Job from the CronJob `backup` at once, and follows it.

Restore with scripts/restore.sh; docs/disaster-recovery.md says when and what.
TEXT
}

fail() {
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit "${3:-1}"
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=../deploy/compose/compose-command.bash
source "$root/deploy/compose/compose-command.bash"
# shellcheck source-path=SCRIPTDIR source=../deploy/kubernetes/follow-job.bash
source "$root/deploy/kubernetes/follow-job.bash"

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

backup_here() {
  local output='' previous=''
  for word in "$@"; do
    [[ $previous == --output ]] && output=$word
    [[ $word == --output=* ]] && output=${word#--output=}
    previous=$word
  done
  [[ -n $output ]] || fail "--output is missing among: $*" 'scripts/backup.sh --help' 2
  find_fedrisk
  "$fedrisk" backup create "$@"
  # What was written is read again, from the disk.
  "$fedrisk" backup verify "$output"
}

# Everything goes through the standard input and output of containers that run: no file here has to
# belong to a user of theirs. Databases before artifacts: rows name files.
backup_compose() {
  local output='' recipient='' name database sealed=()
  while (($#)); do
    case $1 in
      --output) output=${2:?} && shift 2 ;;
      --recipient) recipient=${2:?} && shift 2 ;;
      *) fail "unknown option $1" 'scripts/backup.sh --help' 2 ;;
    esac
  done
  [[ -n $output ]] || fail '--output is missing' 'scripts/backup.sh --help'
  find_compose
  (umask 077 && mkdir -p "$output")
  # Whatever happens from here on, no dump is left.
  trap 'in_coordinator "rm -rf backups/.staging" </dev/null || true' EXIT
  in_coordinator 'rm -rf backups/.staging && mkdir -p -m 700 backups backups/.staging/artifacts'
  for database in fedrisk mlflow; do
    in_postgres pg_dump --format=custom --no-owner "$database" |
      in_coordinator "cat >backups/.staging/$database.dump"
  done
  "${compose[@]}" exec -T mlflow tar -C /var/lib/fedrisk/artifacts -c . |
    in_coordinator 'tar -C backups/.staging/artifacts -x'
  if [[ -n $recipient ]]; then
    in_coordinator 'cat >backups/.staging/recipient' <"$recipient"
    sealed=(--recipient backups/.staging/recipient)
  fi
  in_coordinator "fedrisk backup create --output backups --keep 1 --federation federation ${sealed[*]} \
    --dump fedrisk=backups/.staging/fedrisk.dump --dump mlflow=backups/.staging/mlflow.dump \
    --folder artifacts=backups/.staging/artifacts"
  name=$(in_coordinator 'cd backups && ls -d fedrisk-*Z | tail -n 1' | tr -d '\r')
  [[ ! -e $output/$name ]] || fail "$output/$name is there already" 'nothing is overwritten'
  rm -rf "$output/.$name.part" && mkdir -m 700 "$output/.$name.part"
  in_coordinator "tar -C backups/$name -c ." | tar -C "$output/.$name.part" -x --no-same-owner
  # The hashes of what arrived: a stream that was cut off leaves no backup.
  check_parts "$output/.$name.part"
  mv "$output/.$name.part" "$output/$name"
  in_coordinator 'cat backups/backup-status.json' >"$output/.status.part"
  mv "$output/.status.part" "$output/backup-status.json"
  printf '%s\n' "$output/$name"
}

in_coordinator() {
  "${compose[@]}" exec -T coordinator bash -euo pipefail -c "cd /var/lib/fedrisk && $1"
}

# Compare the parts of a backup with its manifest, where no fedrisk may be installed.
check_parts() {
  python3 - "$1" <<'PYTHON' || fail "what arrived in $1 is not what was sent" 'try again'
import hashlib, json, pathlib, sys
place = pathlib.Path(sys.argv[1])
for part in json.loads((place / "manifest.json").read_text())["parts"]:
    digest = hashlib.sha256()
    with (place / part["file"]).open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    if digest.hexdigest() != part["sha256"]:
        sys.exit(part["file"])
PYTHON
}

backup_kubernetes() {
  local timeout=1800 job
  while (($#)); do
    case $1 in
      --namespace) namespace=${2:?} && shift 2 ;;
      --timeout) timeout=${2:?} && shift 2 ;;
      *) fail "unknown option $1" 'scripts/backup.sh --help' 2 ;;
    esac
  done
  command -v kubectl >/dev/null || fail 'kubectl is not installed here' 'install it; KUBECONFIG names the cluster'
  k get cronjob backup >/dev/null ||
    fail "namespace $namespace has no CronJob backup" 'scripts/deploy-k8s.sh makes it'
  job=backup-by-hand-$(date -u +%Y%m%d%H%M%S)
  k create job "$job" --from=cronjob/backup
  follow_job "$job" "$timeout" ||
    fail "job $job did not complete" "kubectl --namespace $namespace describe job $job"
}

case ${1:-} in
  -h | --help) usage ;;
  compose | kubernetes) "backup_$1" "${@:2}" ;;
  local) backup_here "${@:2}" ;;
  --*) backup_here "$@" ;;
  '') usage >&2 && fail 'nothing is named to back up' 'scripts/backup.sh --help' ;;
  *) fail "unknown place $1" 'local, compose or kubernetes' ;;
esac
