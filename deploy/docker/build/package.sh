#!/usr/bin/env bash
# In a build: make the wheel of the sources here, and lay it out below a folder of its own, as it
# will lie in the environment: package.sh FOLDER ENVIRONMENT
#
# The layer of the libraries then stays the same from one release to the next, and a new release
# moves a few megabytes.
set -euo pipefail

/opt/tools/bin/python -m hatchling build --target wheel --directory dist >/dev/null
python -m venv --without-pip "$2"
python -m pip --python "$2/bin/python" --disable-pip-version-check install --quiet --root-user-action ignore \
  --no-deps --no-index --find-links dist --no-compile --prefix "$1" fedrisk
"$2/bin/python" -m compileall -q --invalidation-mode unchecked-hash -s "$1" -p "$2" "$1"/lib/python3*/site-packages
