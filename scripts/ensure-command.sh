#!/usr/bin/env bash
# Install a package of the system for a command that is not there.
#
#   scripts/ensure-command.sh COMMAND PACKAGE
#
# Only root on a system with apt can. Elsewhere, or where the archive is away, nothing happens: the
# tests that need the command are skipped and say so. No service that a package brings is started.
set -euo pipefail

case "${1:-}" in
  -h | --help)
    sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p;}' "${BASH_SOURCE[0]}"
    exit 0
    ;;
esac
if [[ $# != 2 || $1 == -* ]]; then
  printf 'error: not a command and its package: %s\nhint: scripts/ensure-command.sh COMMAND PACKAGE\n' "$*" >&2
  exit 2
fi

if command -v "$1" >/dev/null || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  exit 0
fi
policy=/usr/sbin/policy-rc.d # asked by Debian's packages before they start a service
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
  trap 'rm -f "$policy"' EXIT
fi
{ apt-get --quiet update && apt-get --quiet --yes install --no-install-recommends "$2"; } ||
  printf 'warning: %s could not be installed; tests that need %s are skipped\n' "$2" "$1" >&2
