#!/usr/bin/env bash
# For `make e2e-kubernetes`: build the images and load them into the cluster, if a command is named
# that loads (FEDRISK_LOAD_IMAGES); with --tags, print the variables by which the tests know them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

roles=(server client inference mlflow)
tag=${FEDRISK_IMAGE_TAG:-$(git describe --always --dirty)}
following=${FEDRISK_NEXT_TAG:-$tag-next}
loads=${FEDRISK_LOAD_IMAGES:-}
# Where a cluster for tests lies beside the clone, it knows how.
if [[ -z $loads && -x ../shared/cluster/cluster ]]; then loads="../shared/cluster/cluster load"; fi

if [[ ${1:-} == --tags ]]; then
  [[ -n $loads || -n ${FEDRISK_IMAGE_TAG:-} ]] || exit 0
  printf 'export FEDRISK_IMAGE_TAG=%q FEDRISK_NEXT_TAG=%q\n' "$tag" "$following"
  exit
fi
[[ -n $loads ]] || exit 0
tests/deploy/containers.sh
fail() {
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit 1
}
# shellcheck source-path=SCRIPTDIR source=../../deploy/compose/compose-command.bash
source deploy/compose/compose-command.bash
find_engine
[[ -n ${FEDRISK_IMAGE_TAG:-} ]] || scripts/build-images.sh --tool "${tool:?}" --tag "$tag"
images=()
for role in "${roles[@]}"; do images+=("localhost/fedrisk-$role:$tag"); done
# Another image in fact: a label tells it from the one before.
printf 'FROM localhost/fedrisk-inference:%s\nLABEL org.fedrisk.follows="%s"\n' "$tag" "$tag" |
  "$tool" build --quiet --tag "localhost/fedrisk-inference:$following" - >/dev/null
images+=("localhost/fedrisk-inference:$following")
for image in docker.io/library/postgres:15 docker.io/prom/prometheus:v2.42.0 docker.io/prom/alertmanager:v0.25.0; do
  ! "$tool" image inspect "$image" >/dev/null 2>&1 || images+=("$image")
done
# A command and its words:
# shellcheck disable=SC2086
$loads "${images[@]}"
