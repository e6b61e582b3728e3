#!/usr/bin/env bash
# Make the federation's folder where there is none: make-federation FOLDER HOST...
#
# For an init container: the folder holds the authority's key, is made once, and left as it is
# from then on. The first HOST is what sites connect to.
set -euo pipefail

if [[ $# -lt 2 ]]; then
  printf 'usage: make-federation FOLDER HOST...\n' >&2
  exit 2
fi
folder=$1
shift
if [[ -e $folder/federation.toml ]]; then
  printf '{"event": "kept", "folder": "%s"}\n' "$folder"
  exit 0
fi
hosts=()
for host in "$@"; do
  hosts+=(--host "$host")
done
exec fedrisk federation init --federation "$folder" "${hosts[@]}" --json
