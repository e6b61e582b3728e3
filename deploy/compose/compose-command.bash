# shellcheck shell=bash
# Sourced by the scripts that work on the composed federation: the engine, its compose command, and
# its containers. The script has set `root`, and has `fail`.
#
# Environment: CONTAINER_TOOL (docker or podman), COMPOSE (the compose command), COMPOSE_FILE,
# COMPOSE_PROJECT_NAME.

# Sets `tool`, the engine that answers.
find_engine() {
  local wanted=${CONTAINER_TOOL:-}
  if [[ $wanted != podman ]] && docker info >/dev/null 2>&1; then
    tool=docker
  elif [[ $wanted != docker ]] && podman info >/dev/null 2>&1; then
    tool=podman
  else
    fail "no container engine answers${wanted:+ as $wanted}" \
      "start Docker, or install podman: \`docker info\` or \`podman info\` must work for this user"
  fi
}

# Sets `compose`, the compose command with its files: a docker-compose.override.yml beside the other
# changes it, as with compose itself.
find_compose() {
  local file=${COMPOSE_FILE:-${root:?}/deploy/compose/docker-compose.yml} override each
  compose=()
  if [[ -n ${COMPOSE:-} ]]; then
    read -r -a compose <<<"$COMPOSE"
  else
    find_engine
    if [[ $tool == docker ]] && docker compose version >/dev/null 2>&1; then
      compose=(docker compose)
    else
      for each in "$tool-compose" "$root/.venv-deploy/bin/$tool-compose"; do
        if command -v "$each" >/dev/null; then compose=("$each") && break; fi
      done
    fi
  fi
  ((${#compose[@]})) || fail "$tool has no compose command" \
    "install Docker's compose plugin; for podman: scripts/deploy-tools.sh, or pip install podman-compose; COMPOSE names another"
  compose+=(--project-name "$(composed_project)" --file "$file")
  override=${file%/*}/docker-compose.override.yml
  [[ -n ${COMPOSE_FILE:-} || ! -f $override ]] || compose+=(--file "$override")
}

composed_project() {
  printf '%s' "${COMPOSE_PROJECT_NAME:-fedrisk}"
}

container() { # service
  "$tool" ps --all --quiet --filter "label=com.docker.compose.project=$(composed_project)" \
    --filter "label=com.docker.compose.service=$1" | head -n 1
}

# Run a client of PostgreSQL in its container, by TCP: where its socket lies is the image's affair.
in_postgres() { # command...
  # shellcheck disable=SC2016 # expanded in the container
  "${compose[@]}" exec -T postgres bash -c 'PGPASSWORD=$(head -n 1 /run/secrets/postgres-password)
    export PGPASSWORD PGHOST=127.0.0.1 PGUSER=fedrisk
    exec "$@"' client "$@"
}
