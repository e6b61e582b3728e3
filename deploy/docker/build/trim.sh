#!/usr/bin/env bash
# In a build: take out of an environment what nothing here runs, and compile the rest: trim.sh FOLDER
#
# Tests, headers and Cython sources are for developers of those libraries. Flower brings uv to
# install what a bundle asks for, which is switched off here. The byte code is written now, because
# the running container cannot; it names the source by no time, so that builds agree.
set -euo pipefail

packages=$(echo "$1"/lib/python3*/site-packages)
find "$packages" -type d \( -name tests -o -name test -o -name include \) -prune -exec rm -rf {} +
find "$packages" -type f \( -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi' -o -name '*.h' -o -name '*.hpp' \
  -o -name '*_test.py' \) -delete
rm -f "$1/bin/uv" "$1/bin/uvx"
"$1/bin/python" -m compileall -q -j 0 --invalidation-mode unchecked-hash "$packages"
