#!/usr/bin/env bash
# Resolve what each image is made of into locks/images, by the pins of requirements.lock.
#
#   scripts/lock-images.sh
#
# `[tool.fedrisk.images]` in pyproject.toml says which extras an image has. `make lock-images` runs this.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case "${1:-}" in
  "") ;;
  -h | --help)
    sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p;}' scripts/lock-images.sh
    exit 0
    ;;
  *)
    printf 'error: unknown argument: %s\nhint: scripts/lock-images.sh --help says what there is\n' "$1" >&2
    exit 2
    ;;
esac

compile() { # name, sources and options...
  .venv/bin/uv pip compile "${@:2}" --constraint requirements.lock --universal --generate-hashes \
    --no-emit-index-url --no-annotate --no-header --quiet --output-file "locks/images/$1.txt"
}

compile build locks/images/build.in
.venv/bin/python - <<'END' | while read -r name extras; do
import tomllib
from pathlib import Path

images = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["tool"]["fedrisk"]["images"]
for name, extras in images.items():
    print(name, *(f"--extra={extra}" for extra in extras))
END
  read -ra words <<<"$extras"
  compile "$name" pyproject.toml locks/images/init.in "${words[@]}"
done
