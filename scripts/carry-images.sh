#!/usr/bin/env bash
# Carry built images from one machine, or one job of a pipeline, to another as one archive.
#
#   scripts/carry-images.sh save --tag TAG FILE    FILE ends in .tar.gz
#   scripts/carry-images.sh load FILE
#
# CONTAINER_TOOL names docker or podman; without it the first that works is taken.
set -euo pipefail

roles=(server client inference mlflow)

fail() {
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit "${3:-1}"
}

choose_tool() {
  local candidate
  for candidate in ${CONTAINER_TOOL:-docker podman}; do
    if command -v "$candidate" >/dev/null && "$candidate" info >/dev/null 2>&1; then
      tool=$candidate
      return
    fi
  done
  fail "no container tool works here: ${CONTAINER_TOOL:-neither docker nor podman}" "install one, or start Docker's daemon"
}

action='' tag='' file='' tool=''
while (($#)); do
  case "$1" in
    -h | --help)
      sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p;}' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    --tag) tag=${2:-} && shift ;;
    -*) fail "unknown option: $1" "scripts/carry-images.sh --help says what there is" 2 ;;
    *) if [[ -z $action ]]; then action=$1; else file=$1; fi ;;
  esac
  shift || true
done
[[ $action == save || $action == load ]] || fail "unknown command: ${action:-none}" "scripts/carry-images.sh save or load" 2
[[ $file == *.tar.gz ]] || fail "no archive, but ${file:-nothing}" "its name ends in .tar.gz" 2
choose_tool

if [[ $action == load ]]; then
  [[ -f $file ]] || fail "there is no $file" "scripts/carry-images.sh save --tag TAG $file makes one"
  gzip --decompress --stdout "$file" | "$tool" load
  exit 0
fi
[[ -n $tag ]] || fail "save without a tag" "scripts/carry-images.sh save --tag TAG $file" 2
images=("${roles[@]/#/localhost/fedrisk-}")
images=("${images[@]/%/:$tag}")
for image in "${images[@]}"; do
  "$tool" image inspect "$image" >/dev/null 2>&1 || fail "there is no image $image" "scripts/build-images.sh --tag $tag"
done
several=()
[[ ${tool##*/} == docker ]] || several=(--multi-image-archive)
mkdir -p "$(dirname "$file")"
"$tool" save "${several[@]}" "${images[@]}" | gzip -1 >"$file.part"
mv "$file.part" "$file"
printf '%s: %s MB\n' "$file" "$(($(stat -c %s "$file") / 1000000))"
