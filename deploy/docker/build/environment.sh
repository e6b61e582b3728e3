#!/usr/bin/env bash
# In a build: make an environment of what a lock names: environment.sh FOLDER LOCK
#
# Every file is checked against its hash and none is built here. pip stays outside.
set -euo pipefail

python -m venv --without-pip "$1"
python -m pip --python "$1/bin/python" --disable-pip-version-check install --quiet --root-user-action ignore \
  --require-hashes --only-binary=:all: --no-compile --requirement "$2"
