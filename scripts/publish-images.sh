#!/usr/bin/env bash
# Push the images to a registry, and sign each with its bill of materials by cosign, without a key.
#
#   scripts/publish-images.sh --registry NAME --tag TAG [--also TAG] [--sbom DIR] [--no-sign]
#
#   --registry NAME   registry and path, such as ghcr.io/hospital
#   --tag TAG         the images localhost/fedrisk-*:TAG that scripts/build-images.sh made
#   --also TAG        a second tag, such as a version or a branch
#   --sbom DIR        fedrisk-ROLE.cdx.json of each image, attested beside the signature
#   --no-sign         push alone
#
# Log in to the registry first. cosign signs by the identity that the pipeline proves (OIDC). What was
# pushed is written by digest to dist/image-digests.txt. CONTAINER_TOOL names docker or podman.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

roles=(server client inference mlflow)

fail() {
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit "${3:-1}"
}

registry='' tag='' also='' sbom='' sign=yes tool=''
while (($#)); do
  case "$1" in
    -h | --help)
      sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p;}' scripts/publish-images.sh
      exit 0
      ;;
    --registry) registry=${2:-} && shift ;;
    --tag) tag=${2:-} && shift ;;
    --also) also=${2:-} && shift ;;
    --sbom) sbom=${2:-} && shift ;;
    --no-sign) sign=no ;;
    *) fail "unknown option: $1" "scripts/publish-images.sh --help says what there is" 2 ;;
  esac
  shift || true
done
[[ -n $registry ]] || fail "no registry" "--registry ghcr.io/OWNER" 2
[[ -n $tag ]] || fail "no tag" "--tag TAG, as scripts/build-images.sh was given" 2
registry=${registry,,} # names of a registry are in small letters, owners need not be
also=${also//\//-}

for candidate in ${CONTAINER_TOOL:-docker podman}; do
  if [[ -z $tool ]] && command -v "$candidate" >/dev/null; then tool=$candidate; fi
done
[[ -n $tool ]] || fail "neither docker nor podman is installed" "install one"
[[ $sign == no ]] || command -v cosign >/dev/null ||
  fail "cosign is not installed" "https://docs.sigstore.dev tells how; --no-sign pushes without a signature"

push() { # local image, name in the registry
  "$tool" tag "$1" "$2"
  "$tool" push "$2" >&2 || fail "$2 was not pushed" "log in first: $tool login ${registry%%/*}"
}

digest_of() { # name in the registry with its tag: prints NAME@sha256:...
  "$tool" image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$1" | grep -m 1 "^${1%:*}@sha256:"
}

mkdir -p dist
: >dist/image-digests.txt
for role in "${roles[@]}"; do
  made=localhost/fedrisk-$role:$tag
  name=$registry/fedrisk-$role
  "$tool" image inspect "$made" >/dev/null 2>&1 || fail "there is no image $made" "scripts/build-images.sh --tag $tag"
  push "$made" "$name:$tag"
  [[ -z $also || $also == "$tag" ]] || push "$made" "$name:$also"
  digest=$(digest_of "$name:$tag") || fail "$name:$tag has no digest after the push" "push again"
  if [[ $sign == yes ]]; then
    cosign sign --yes "$digest"
    if [[ -n $sbom ]]; then
      cosign attest --yes --type cyclonedx --predicate "$sbom/fedrisk-$role.cdx.json" "$digest"
    fi
  fi
  printf '%s\n' "$digest" | tee -a dist/image-digests.txt
done
