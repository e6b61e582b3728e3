#!/usr/bin/env bash
# A whole federation in containers on this machine: scripts/run-local.sh --help
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder=$root/deploy/compose
secrets=$folder/.secrets
patience=${FEDRISK_PATIENCE:-300}
sites=(north south)
# In the coordinator's volume; a site's own folder is `site` in its volume.
federation=federation
ports=(API MLFLOW PROMETHEUS ALERTMANAGER GRAFANA)
# shellcheck source-path=SCRIPTDIR source=../deploy/compose/compose-command.bash
source "$root/deploy/compose/compose-command.bash"

usage() {
  cat <<'END'
Usage: scripts/run-local.sh [--no-build] [--study NAME] [--site NAME=FILE]... [--train] [--grafana]
       scripts/run-local.sh --no-join [--no-build] [--grafana]
       scripts/run-local.sh --down [--volumes]

Build the images, make the secrets, start PostgreSQL, MLflow, a coordinator, two sites, the API and who
watches over them (deploy/compose/docker-compose.yml), join the sites, train over the federation, ask
the API for a prediction, and say where everything is. Run again, it does what is missing.

  --no-build         take images that are there, of the tag of the last run or FEDRISK_TAG
  --study NAME       a built-in study, or a file (default: air-wearables)
  --site NAME=FILE   rows of a site, CSV or Parquet; NAME is north or south (default: simulated rows)
  --no-join          start the services alone: for scripts/restore.sh, which brings sites and model
  --train            train once more, though a model serves already
  --grafana          start Grafana, too
  --down             stop and remove the containers; volumes and secrets stay
  --volumes          with --down: remove volumes and secrets as well, and all that was learnt
  --help             show this

Environment: CONTAINER_TOOL (docker or podman), COMPOSE (the compose command) and FEDRISK_TAG (tag of
the images) are found where they are not set. Ports on 127.0.0.1: FEDRISK_API_PORT (8080),
FEDRISK_MLFLOW_PORT (5000), FEDRISK_PROMETHEUS_PORT (9090), FEDRISK_ALERTMANAGER_PORT (9093),
FEDRISK_GRAFANA_PORT (3000). FEDRISK_PATIENCE (300): seconds to wait for one service.
END
}

fail() { # what is wrong, what to do, exit code
  printf 'error: %s\n' "$1" >&2
  [[ -z ${2:-} ]] || printf 'hint: %s\n' "$2" >&2
  exit "${3:-1}"
}

say() {
  printf '[%4d s] %s\n' "$SECONDS" "$1" >&2
}

# --- the engine -----------------------------------------------------------------------------------

composing() {
  "${compose[@]}" "${profiles[@]}" "$@"
}

# podman would not start a container again while one that it depends on is away. So its dependencies
# are left out: every service waits by itself.
up() {
  local words=(up --detach)
  [[ ${compose[*]} != *podman-compose* ]] || words+=(--no-deps --no-build)
  composing "${words[@]}" >&2
}

# Run a command in a service's container; standard input goes there.
within() { # service, command...
  local id
  id=$(container "$1")
  [[ -n $id ]] || fail "there is no container of $1" "scripts/run-local.sh makes it"
  "$tool" exec --interactive "$id" "${@:2}"
}

healthy() { # service
  local id
  id=$(container "$1")
  [[ -n $id ]] || return 1
  if [[ $tool == podman ]]; then
    # Without systemd nobody runs podman's health checks.
    podman healthcheck run "$id" >/dev/null 2>&1
  else
    [[ $(docker inspect --format '{{if .State.Health}}{{.State.Health.Status}}{{end}}' "$id") == healthy ]]
  fi
}

show_log() { # service
  local id
  id=$(container "$1")
  printf -- '--- the last lines of %s\n' "$1" >&2
  [[ -z $id ]] || "$tool" logs --tail 40 "$id" >&2 || true
}

await() { # service...
  local service end
  for service in "$@"; do
    end=$((SECONDS + patience))
    until healthy "$service"; do
      if ((SECONDS > end)); then
        show_log "$service"
        fail "$service is not well after $patience s" \
          "its log stands above; a slow machine needs more patience: FEDRISK_PATIENCE=900"
      fi
      sleep 2
    done
    say "$service is well"
  done
}

# --- settings and secrets -------------------------------------------------------------------------

kept() { # setting
  [[ ! -f $folder/.env ]] || sed -n "s/^$1=//p" "$folder/.env" | tail -n 1
}

# Settings are kept in .env, where compose itself finds them too.
settle() {
  local name value
  if [[ -z ${FEDRISK_TAG:-} ]]; then
    FEDRISK_TAG=
    [[ $build == yes && $action == up ]] || FEDRISK_TAG=$(kept FEDRISK_TAG)
    [[ -n $FEDRISK_TAG ]] || FEDRISK_TAG=$(git -C "$root" describe --tags --always --dirty 2>/dev/null) ||
      fail "this is no git checkout, so there is nothing to name the images by" "FEDRISK_TAG=local"
  fi
  export FEDRISK_TAG
  for name in "${ports[@]}"; do
    name=FEDRISK_${name}_PORT
    value=${!name:-$(kept "$name")}
    [[ -z $value ]] || export "$name=$value"
  done
}

keep_settings() {
  local name
  {
    printf 'FEDRISK_TAG=%s\n' "$FEDRISK_TAG"
    for name in "${ports[@]}"; do
      name=FEDRISK_${name}_PORT
      [[ -z ${!name:-} ]] || printf '%s=%s\n' "$name" "${!name}"
    done
    [[ ! -f $folder/.env ]] || grep -Ev '^FEDRISK_(TAG|[A-Z]+_PORT)=' "$folder/.env" || true
  } >"$folder/.env.part"
  mv "$folder/.env.part" "$folder/.env"
}

random_secret() {
  od -An -N 32 -tx1 /dev/urandom | tr -d ' \n'
}

# Containers have users of their own, so each file is readable to all; the folder lets nobody in.
write_secret() { # name; content on standard input
  cat >"$secrets/.$1.part"
  chmod 444 "$secrets/.$1.part"
  mv -f "$secrets/.$1.part" "$secrets/$1"
}

make_secrets() {
  local name
  mkdir -p "$secrets"
  chmod 700 "$secrets"
  if [[ ! -s $secrets/postgres-password ]] && "$tool" volume inspect "$(composed_project)_postgres" >/dev/null 2>&1; then
    fail "$secrets/postgres-password is missing, and the database was made with another password" \
      "put the file back; or begin anew, without what was learnt: scripts/run-local.sh --down --volumes"
  fi
  for name in postgres-password operations-token grafana-password; do
    [[ -s $secrets/$name ]] || random_secret | write_secret "$name"
  done
  # Where alerts go: an address of an incoming webhook. This one takes none.
  [[ -s $secrets/alert-receiver ]] || printf 'http://127.0.0.1:9/nobody' | write_secret alert-receiver
  for name in api-key metrics-key api-keys; do
    [[ -s $secrets/$name ]] || { make_api_keys && break; }
  done
}

# The API keeps hashes; the keys themselves stay in this folder.
make_api_keys() {
  local made
  made=$("$tool" run --rm --network none --read-only --tmpfs /tmp --entrypoint /bin/sh \
    "localhost/fedrisk-inference:$FEDRISK_TAG" -euc '
      export FEDRISK_HOME=/tmp/home
      fedrisk keys add local --scope predict --scope batch --scope admin
      fedrisk keys add prometheus --scope metrics
      cat /tmp/home/keys.json') ||
    fail "localhost/fedrisk-inference:$FEDRISK_TAG made no API keys"
  sed -n 1p <<<"$made" | write_secret api-key
  sed -n 2p <<<"$made" | write_secret metrics-key
  sed 1,2d <<<"$made" | write_secret api-keys
}

check_images() {
  local role
  for role in server client inference mlflow; do
    "$tool" image inspect "localhost/fedrisk-$role:$FEDRISK_TAG" >/dev/null 2>&1 ||
      fail "there is no image localhost/fedrisk-$role:$FEDRISK_TAG" \
        "leave --no-build out, or name a tag that \`$tool images\` lists: FEDRISK_TAG=..."
  done
}

# --- the sites ------------------------------------------------------------------------------------

# What the coordinator knows of a site: invited, approved, removed, or nothing.
standing() { # site
  within coordinator python -c '
import json, sys
print(json.load(open(sys.argv[1]))["sites"].get(sys.argv[2], {}).get("status", ""))' \
    "$federation/sites.json" "$1" </dev/null
}

has_rows() { # site
  within "federated-client-$1" sh -c 'test -f rows.csv || test -f rows.parquet' </dev/null
}

give_rows() { # site, file
  local suffix=${2##*.} known
  [[ $suffix == csv || $suffix == parquet ]] || fail "$2 is neither .csv nor .parquet" "" 2
  known=$(within "federated-client-$1" sh -c 'sed -n "s/^data = \"\(.*\)\"$/\1/p" site/site.toml 2>/dev/null || true' </dev/null)
  [[ -z $known || ${known##*.} == "$suffix" ]] ||
    fail "site $1 has joined with rows of .${known##*.}, and $2 is .$suffix" "give its rows as .${known##*.}" 2
  within "federated-client-$1" sh -euc "cat >rows.part; rm -f rows.csv rows.parquet; mv rows.part rows.$suffix" <"$2"
}

# Each site draws its own rows: not even simulated ones pass through another container.
simulate_rows() { # site, its number
  within "federated-client-$1" sh -euc "
    rm -rf /tmp/cohort
    fedrisk simulate --sites ${#sites[@]} --people 150 --days 365 --output /tmp/cohort
    cp \$(ls /tmp/cohort/*.csv | sed -n $2p) rows.part
    mv rows.part rows.csv
    rm -rf /tmp/cohort" </dev/null >/dev/null 2>&1 || {
    show_log "federated-client-$1"
    fail "no rows could be simulated for site $1"
  }
}

# What the two operators do, in their order (docs/federation.md); what was done before is left out.
join_site() { # site
  local site=$1 client=federated-client-$1 known fingerprint
  known=$(standing "$site")
  if [[ $known == approved ]]; then
    within "$client" test -f site/site.toml </dev/null ||
      fail "the coordinator knows site $site, whose volume is empty" \
        "restore the volume; or let it join anew: $tool exec $(container coordinator) fedrisk federation remove-site $site --federation $federation"
    return
  fi
  if ! within "$client" test -f bundle.json </dev/null; then
    invite "$site" "$known" | within "$client" sh -euc 'cat >bundle.part; mv bundle.part bundle.json'
  fi
  until within "$client" test -f site/site.toml </dev/null; do sleep 1; done
  # Both machines are this operator's, who needs no telephone to compare.
  fingerprint=$(within "$client" fedrisk site request --folder site --json </dev/null |
    sed -n 's/.*"fingerprint": "\([^"]*\)".*/\1/p')
  within "$client" cat site/join-request.json </dev/null |
    within coordinator sh -euc "cat >/tmp/$site.json
      fedrisk federation approve $site /tmp/$site.json --federation $federation --fingerprint '$fingerprint'" >&2
}

invite() { # site, what is known of it
  within coordinator sh -euc "
    [ '$2' != invited ] || fedrisk federation remove-site $1 --federation $federation >/dev/null
    fedrisk federation add-site $1 --federation $federation --output /tmp/$1.bundle >/dev/null
    cat /tmp/$1.bundle" </dev/null
}

# A changed cohort is let in by another approval.
approve_study() { # site, whether its rows changed
  local client=federated-client-$1 name=$study
  if [[ -f $study ]]; then
    name=study.toml
    within "$client" sh -euc 'cat >study.toml' <"$study"
  fi
  if [[ $2 == no ]] && within "$client" python -c '
import sys
from pathlib import Path
from fedrisk.sites.approvals import read_approvals
from fedrisk.study import find_study
known = {approval.study for approval in read_approvals(Path("site/approvals.json"))}
sys.exit(find_study(sys.argv[1]).hash not in known)' "$name" </dev/null; then
    return
  fi
  within "$client" fedrisk site approve "$name" --folder site --yes --by run-local.sh --json </dev/null >/dev/null 2>&1 ||
    fail "site $1 did not approve study $study" "$tool exec $(container "$client") fedrisk site check --folder site --study $name"
}

# --- the model ------------------------------------------------------------------------------------

train() {
  local name=$study
  if [[ -f $study ]]; then
    name=/tmp/study.toml
    within coordinator sh -euc "cat >$name" <"$study"
  fi
  within coordinator fedrisk train --engine deployed --federation "$federation" --study "$name" </dev/null >&2 ||
    fail "the training did not end well" "its message stands above; \`$tool logs $(container coordinator)\` has more"
}

url() { # name of a port, its default
  local name=FEDRISK_$1_PORT
  printf 'http://127.0.0.1:%s' "${!name:-$2}"
}

serves() {
  curl --silent --fail --max-time 5 --output /dev/null "$(url API 8080)/ready"
}

# Whether there is a model, though the API may not have fetched it yet.
has_champion() {
  local told
  told=$(within coordinator fedrisk models --json --home "$federation/home" </dev/null 2>/dev/null) || return 1
  [[ $told == *'"champion"'* ]]
}

await_model() {
  local end=$((SECONDS + patience))
  until serves; do
    if ((SECONDS > end)); then
      show_log follower
      show_log inference
      fail "the API has no model after $patience s" "the log of the follower stands above: it fetches the model"
    fi
    sleep 1
  done
  say "the API serves"
}

# Print an answer; 1 where it is an error. The key goes by a file, not by the command line.
ask() { # path, curl's words...
  local told
  told=$(printf 'header = "Authorization: Bearer %s"\n' "$(<"$secrets/api-key")" |
    curl --silent --show-error --max-time 10 --write-out '\n%{http_code}' --config - "$(url API 8080)$1" "${@:2}") || return
  printf '%s\n' "${told%$'\n'*}"
  [[ ${told##*$'\n'} == 2?? ]]
}

# One federation serves one study; another one is not approved at the sites by mistake.
check_study() {
  local wanted=$study served answer
  [[ ! -f $study ]] || wanted=$(sed -n 's/^name *= *"\([^"]*\)".*/\1/p' "$study" | head -n 1)
  answer=$(ask /model) || fail "the API does not describe its model: $answer" "$tool logs $(container inference)"
  served=$(tr -d '\n' <<<"$answer" | sed -n 's/.*"study": *{ *"name": *"\([^"]*\)".*/\1/p')
  [[ $served == "$wanted" ]] ||
    fail "the API serves study $served, not $wanted" \
      "--study names it; to begin anew with another one: scripts/run-local.sh --down --volumes"
}

predict() {
  local answer
  check_study
  if [[ $study != air-wearables ]]; then
    say "the API serves study $study"
    return
  fi
  answer=$(ask /predict --header 'Content-Type: application/json' --data '{
    "heart_rate": 75, "steps": 8000, "sleep_hours": 7, "respiratory_rate": 15, "body_temp": 36.6, "pm25": 12,
    "pm10": 20, "o3": 60, "no2": 20, "temperature": 18, "humidity": 50}') ||
    fail "the API gave no prediction: $answer" "$tool logs $(container inference)"
  say "a prediction: $answer"
}

show() {
  cat >&2 <<END

API            $(url API 8080)/docs
MLflow         $(url MLFLOW 5000)
Prometheus     $(url PROMETHEUS 9090)
Alertmanager   $(url ALERTMANAGER 9093)
$([[ ${profiles[*]} != *grafana* ]] || printf 'Grafana        %s (admin, %s/grafana-password)\n' "$(url GRAFANA 3000)" "$secrets")
API key        $secrets/api-key
Ask            curl -H "Authorization: Bearer \$(cat $secrets/api-key)" $(url API 8080)/model
Retrain        scripts/trigger-retraining.sh manual --compose
End            scripts/run-local.sh --down
END
}

# --- from the beginning to the end ----------------------------------------------------------------

read_site() { # NAME=FILE
  local name=${1%%=*} file=${1#*=}
  [[ $1 == *=* ]] || fail "--site $1 is not NAME=FILE" "scripts/run-local.sh --help" 2
  [[ " ${sites[*]} " == *" $name "* ]] || fail "no site is named $name" "sites: ${sites[*]}" 2
  [[ -f $file && -r $file ]] || fail "$file cannot be read" "--site $name=FILE names the site's rows" 2
  [[ -s $file ]] || fail "$file is empty" "--site $name=FILE names the site's rows" 2
  rows[$name]=$(realpath "$file")
}

read_options() {
  build=yes join=yes action=up volumes=no again=no study=air-wearables profiles=()
  declare -gA rows=()
  while (($#)); do
    case $1 in
      --no-build) build=no ;;
      --no-join) join=no ;;
      --train) again=yes ;;
      --grafana) profiles=(--profile grafana) ;;
      --down) action=down ;;
      --volumes) volumes=yes ;;
      --study | --site)
        [[ -n ${2:-} ]] || fail "$1 needs a value" "scripts/run-local.sh --help" 2
        if [[ $1 == --site ]]; then read_site "$2"; else study=$2; fi
        shift
        ;;
      --help | -h) usage && exit 0 ;;
      *) fail "unknown option $1" "scripts/run-local.sh --help" 2 ;;
    esac
    shift
  done
  [[ $volumes == no || $action == down ]] || fail "--volumes goes with --down" "" 2
  [[ ! -f $study ]] || study=$(realpath "$study")
}

start() {
  local site number=0 changed
  if [[ $build == yes ]]; then
    say "building the images $FEDRISK_TAG"
    "$root/scripts/build-images.sh" --tool "$tool" --tag "$FEDRISK_TAG" >&2
  fi
  check_images
  make_secrets
  keep_settings
  say "starting the services"
  up || fail "the services did not start" "what stopped them stands above"
  await postgres mlflow coordinator
  [[ $join == yes ]] || return 0
  ! serves || check_study
  for site in "${sites[@]}"; do
    changed=no
    ((number += 1))
    if [[ -n ${rows[$site]:-} ]]; then
      give_rows "$site" "${rows[$site]}"
      changed=yes
    elif ! has_rows "$site"; then
      simulate_rows "$site" "$number"
      changed=yes
    fi
    join_site "$site"
    approve_study "$site" "$changed"
  done
  for site in "${sites[@]}"; do await "federated-client-$site"; done
  await inference
  if [[ $again == yes ]] || ! { serves || has_champion; }; then
    say "training over the federation"
    train
  fi
  await_model
  await follower watch prometheus alertmanager
  [[ ${profiles[*]} != *grafana* ]] || await grafana
  predict
  show
}

down() {
  local words=(down)
  [[ $volumes == no ]] || words+=(--volumes)
  profiles=(--profile grafana)
  composing "${words[@]}" >&2 || fail "not everything was removed" "what stopped it stands above"
  if [[ $volumes == yes ]]; then rm -rf "$secrets" "$folder/.env"; fi
  say "the services are gone$([[ $volumes == yes ]] || printf '; volumes and secrets stay')"
}

read_options "$@"
find_engine
find_compose
settle
if [[ $action == down ]]; then down; else start; fi
