#!/usr/bin/env bash
# Wait for a site's join bundle, make the site's folder once, and take part: join-site BUNDLE FOLDER DATA
#
# The folder holds the site's keys: it is made once and never again. The join request for the
# coordinator is then in FOLDER/join-request.json, and its fingerprint in the log. A study still needs
# a person's approval: fedrisk site approve STUDY --folder FOLDER.
set -euo pipefail

if [[ $# != 3 ]]; then
  printf 'usage: join-site BUNDLE FOLDER DATA\n' >&2
  exit 2
fi
bundle=$1 folder=$2 data=$3
trap 'exit 0' TERM INT

await() {
  local told=
  until [[ -s $1 ]]; do
    [[ -n $told ]] || printf '{"event": "waiting", "for": "%s", "why": "%s"}\n' "$1" "$2"
    told=yes
    sleep 1 &
    wait $! # a signal is answered at once
  done
}

if [[ ! -e $folder/site.toml ]]; then
  await "$bundle" "join bundle, from fedrisk federation add-site"
  await "$data" "the rows of this site"
  # A folder that a killed init left is begun anew.
  fedrisk site init "$bundle" --folder "$folder" --data "$data" --if-missing --json
fi
exec fedrisk site start --folder "$folder"
