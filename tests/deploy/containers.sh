#!/usr/bin/env bash
# For the end-to-end targets in containers: see that Docker or podman is here, with the images that
# are not built from this repository. Where a way to set that up lies beside the clone, it is taken;
# elsewhere the engine pulls what it lacks.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

docker info >/dev/null 2>&1 && exit 0
setup=../shared/containers/setup
if [[ -x $setup ]]; then
  "$setup" prometheus alertmanager postgres
elif ! command -v podman >/dev/null; then
  printf 'error: no docker answers, and podman is not installed\nhint: install one; CONTAINER_TOOL names it\n' >&2
  exit 1
fi
