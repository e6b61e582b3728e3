#!/usr/bin/env bash
# Look for known vulnerabilities in what the locks pin.
#
#   scripts/audit.sh [--osv-url URL] [LOCK...]
#
# Asks OSV (osv.dev) about every pin of requirements.lock and of locks/, or of the LOCKs named. Nothing
# is resolved or installed. locks/accepted-vulnerabilities.txt lists what is accepted until a day.
# Exit codes: 0 none is known, 1 some are, 75 the service is away, so nothing was learnt.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

url=https://api.osv.dev/v1/query
accepted=locks/accepted-vulnerabilities.txt
tool=.venv-deploy/bin
away=75

fail() {
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit "${3:-1}"
}

locks=()
while (($#)); do
  case "$1" in
    -h | --help)
      sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p;}' scripts/audit.sh
      exit 0
      ;;
    --osv-url)
      url=${2:?--osv-url needs an address}
      shift
      ;;
    -*) fail "unknown option: $1" "scripts/audit.sh --help says what there is" 2 ;;
    *) locks+=("$1") ;;
  esac
  shift
done
if ((${#locks[@]} == 0)); then
  mapfile -t locks < <(find requirements.lock locks -name '*.txt' -o -name requirements.lock | grep -v "$accepted" | sort)
fi
for lock in "${locks[@]}"; do
  [[ -f $lock ]] || fail "there is no lock $lock" "scripts/audit.sh [LOCK...]; without one it takes them all" 2
done
[[ -x $tool/pip-audit ]] || fail "pip-audit is not installed" "make deploy-tools"

answers() {
  "$tool/python" -c '
import sys, urllib.error, urllib.request
try:
    urllib.request.urlopen(urllib.request.Request(sys.argv[1], b"{}"), timeout=15)
except urllib.error.HTTPError:
    pass  # it refuses an empty question, so it is there
' "$1" 2>/dev/null
}

service_away() {
  fail "$url does not answer: nothing was learnt about ${locks[*]}" \
    "run it where the service can be reached, or name a mirror: scripts/audit.sh --osv-url URL" "$away"
}

ignored=()
today=$(date -u +%Y-%m-%d)
while read -r id until reason; do
  [[ -z $id || $id == \#* ]] && continue
  if [[ $until < $today ]]; then
    printf 'accepted until %s, and no longer: %s (%s)\n' "$until" "$id" "$reason" >&2
  else
    printf 'accepted until %s: %s (%s)\n' "$until" "$id" "$reason" >&2
    ignored+=(--ignore-vuln "$id")
  fi
done <"$accepted"

answers "$url" || service_away
status=0
for lock in "${locks[@]}"; do
  printf '== %s\n' "$lock"
  report=$(mktemp)
  code=0
  "$tool/pip-audit" --vulnerability-service osv --osv-url "$url" --disable-pip --require-hashes \
    --progress-spinner off "${ignored[@]}" --requirement "$lock" 2> >(tee "$report" >&2) || code=$?
  # pip-audit ends with 1 for what it found and for what went wrong alike; its words tell which.
  if ((code != 0)) && ! grep -q '^Found [1-9]' "$report"; then
    rm -f "$report"
    service_away
  fi
  rm -f "$report"
  ((code == 0)) || status=1
done
((status == 0)) || fail "known vulnerabilities are pinned" \
  "make lock takes the newest versions; what has no fix yet goes into $accepted, with a day and a reason"
