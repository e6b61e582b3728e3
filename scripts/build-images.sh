#!/usr/bin/env bash
# Build the images of fedrisk's roles. `--help` tells the options; docs/images.md the rest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

roles=(server client inference mlflow)

usage() {
  cat <<'END'
Usage: scripts/build-images.sh [OPTION]...

Build the images fedrisk-server, fedrisk-client, fedrisk-inference and fedrisk-mlflow, and show
their sizes.

  --tool TOOL      docker, podman or buildah (default: CONTAINER_TOOL, or the first that works)
  --tag TAG        tag of the images (default: from git describe)
  --registry NAME  registry and path in front of the names (default: localhost)
  --base IMAGE     Python image to build on, best by digest (default: the Dockerfiles' own)
  --only ROLE      build this role alone; may be given again
  --reports        put Evidently and pandas into the client image, for `fedrisk site drift-report`
  --network MODE   network of build steps (default: host with podman and buildah)
  --no-cache       build every step anew
  --sbom DIR       write each image's bill of materials, CycloneDX JSON, into this folder
  --push           push to the registry afterwards
  --help           show this
END
}

fail() {
  printf 'error: %s\n' "$1" >&2
  printf 'hint: %s\n' "$2" >&2
  exit "${3:-1}"
}

value() { # option, what is left of the command line
  [[ $# -ge 2 && -n $2 ]] || fail "$1 needs a value" "scripts/build-images.sh --help" 2
  printf '%s' "$2"
}

tool=${CONTAINER_TOOL:-} tag='' registry=localhost base='' only=() lock=client network='' cache=yes sbom='' push=no
while [[ $# -gt 0 ]]; do
  case $1 in
    --tool) tool=$(value "$@"); shift ;;
    --tag) tag=$(value "$@"); shift ;;
    --registry) registry=$(value "$@"); shift ;;
    --base) base=$(value "$@"); shift ;;
    --only) word=$(value "$@"); only+=("$word"); shift ;;
    --reports) lock=client-reports ;;
    --network) network=$(value "$@"); shift ;;
    --no-cache) cache=no ;;
    --sbom) sbom=$(value "$@"); shift ;;
    --push) push=yes ;;
    --help | -h) usage; exit 0 ;;
    *) fail "unknown option $1" "scripts/build-images.sh --help" 2 ;;
  esac
  shift
done

works() {
  command -v "$1" >/dev/null && "$1" info >/dev/null 2>&1
}

choose_tool() {
  local candidate
  if [[ -z $tool ]]; then
    for candidate in docker podman buildah; do
      if works "$candidate"; then
        tool=$candidate
        return
      fi
    done
    fail "no tool that builds images works here: neither docker, podman nor buildah" \
      "install one (Debian and Ubuntu: apt install podman), or start Docker's daemon"
  fi
  case ${tool##*/} in
    docker | podman | buildah) ;;
    *) fail "--tool $tool: not one of docker, podman, buildah" "scripts/build-images.sh --help" 2 ;;
  esac
  command -v "$tool" >/dev/null || fail "$tool is not installed" "install it, or take another with --tool docker|podman|buildah"
  works "$tool" || fail "$tool is installed and does not work: $("$tool" info 2>&1 >/dev/null | tail -n 1)" \
    "start its daemon, or take another with --tool docker|podman|buildah"
}

check_roles() {
  local role
  for role in ${only[@]+"${only[@]}"}; do
    [[ " ${roles[*]} " == *" $role "* ]] || fail "--only $role: no such role" "roles: ${roles[*]}" 2
  done
  if [[ ${#only[@]} -gt 0 ]]; then roles=("${only[@]}"); fi
}

choose_tag() {
  if [[ -z $tag ]]; then
    tag=$(git describe --tags --always --dirty 2>/dev/null) ||
      fail "this is no git checkout, so there is nothing to name the images by" "give a name: --tag TAG" 2
  fi
  [[ $tag =~ ^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$ ]] ||
    fail "--tag $tag: not a tag" "letters, digits, '_', '.' and '-', at most 128, no '.' or '-' first" 2
}

# What images tell of where they come from. Addresses of a remote may hold a password: told without.
#
# The times inside are those of the last change to what the libraries' layers are made of: these then
# stay the same from release to release, and nodes fetch the few megabytes that changed.
describe_source() {
  version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
  revision=$(git describe --always --dirty --abbrev=40 --exclude='*' 2>/dev/null || printf 'unknown')
  epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct -- locks/images deploy/docker 2>/dev/null || true)}
  epoch=${epoch:-0}
  created=$(TZ=UTC0 git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd 2>/dev/null || printf '1970-01-01T00:00:00Z')
  source=$(git config --get remote.origin.url 2>/dev/null | sed -nE 's#^(https?://)([^@/]*@)?#\1#p' || true)
}

image() {
  printf '%s/fedrisk-%s:%s' "$registry" "$1" "$tag"
}

build() { # role
  local words=(--file "deploy/docker/Dockerfile.$1" --tag "$(image "$1")"
    --build-arg "VERSION=$version" --build-arg "REVISION=$revision" --build-arg "CREATED=$created" --build-arg "SOURCE=$source")
  local from=$base
  if [[ -n $from ]]; then words+=(--build-arg "BASE=$from"); fi
  if [[ -n ${PIP_INDEX_URL:-} ]]; then words+=(--build-arg "PIP_INDEX_URL=$PIP_INDEX_URL"); fi
  if [[ $1 == client ]]; then words+=(--build-arg "LOCK=$lock"); fi
  if [[ $cache == no ]]; then words+=(--no-cache); fi
  if [[ ${tool##*/} == docker ]]; then
    if [[ -n $network ]]; then words+=(--network "$network"); fi
    DOCKER_BUILDKIT=1 SOURCE_DATE_EPOCH=$epoch "$tool" build "${words[@]}" .
  else
    # Health checks are no part of OCI's own format. Layers are kept, so that a second build is short.
    words+=(--format docker --layers --timestamp "$epoch" --network "${network:-host}")
    "$tool" build "${words[@]}" .
  fi
}

size() { # image; empty where the tool does not tell
  case ${tool##*/} in
    buildah) "$tool" images --format '{{.Size}}' "$1" ;;
    *) "$tool" image inspect --format '{{.Size}}' "$1" | awk '{ printf "%.0f MB", $1 / 1e6 }' ;;
  esac 2>/dev/null || true
}

show_sizes() {
  local role under
  under=${base:-$(sed -n 's/^ARG BASE=//p' "deploy/docker/Dockerfile.${roles[0]}")}
  printf '%-64s %10s\n' image size
  for role in "${roles[@]}"; do
    printf '%-64s %10s\n' "$(image "$role")" "$(size "$(image "$role")")"
  done
  printf '%-64s %10s\n' "of which the base, $under" "$(size "$under")"
}

read_file() { # image, path
  if [[ ${tool##*/} == buildah ]]; then
    local container
    container=$(buildah from "$1")
    buildah run "$container" -- cat "$2"
    buildah rm "$container" >/dev/null
  else
    "$tool" run --rm --network none --entrypoint cat "$1" "$2"
  fi
}

choose_tool
check_roles
choose_tag
describe_source
for role in "${roles[@]}"; do
  printf '== %s with %s\n' "$(image "$role")" "$tool" >&2
  build "$role" || fail "the image of $role was not built" "what stopped it stands above; docs/images.md tells what a build needs"
done

if [[ -n $sbom ]]; then
  mkdir -p "$sbom"
  for role in "${roles[@]}"; do
    read_file "$(image "$role")" "/usr/share/fedrisk/fedrisk-$role.cdx.json" >"$sbom/fedrisk-$role.cdx.json"
  done
fi

show_sizes

if [[ $push == yes ]]; then
  for role in "${roles[@]}"; do
    "$tool" push "$(image "$role")" || fail "$(image "$role") was not pushed" "log in first: $tool login ${registry%%/*}"
  done
fi
