#!/usr/bin/env bash
# A kind cluster for the end-to-end tests, whose network plugin is proven to enforce NetworkPolicy.
#
#   scripts/kind-cluster.sh up            make it, wait for it, print the line that exports KUBECONFIG
#   scripts/kind-cluster.sh load IMAGE... copy images of this machine into it
#   scripts/kind-cluster.sh down          delete it
#
#   --name NAME        fedrisk
#   --network PLUGIN   calico (default), or kindnet, which kind brings along
#
# Needs kind, kubectl and docker or podman. Calico and the metrics server are fetched by their release.
# CALICO_VERSION and METRICS_SERVER_VERSION name others.
set -euo pipefail

calico=${CALICO_VERSION:-v3.31.4}
metrics=${METRICS_SERVER_VERSION:-v0.8.0}
probe_image=registry.k8s.io/e2e-test-images/agnhost:2.53
name=fedrisk
network=calico

fail() {
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit "${3:-1}"
}

usage() {
  sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p;}' "${BASH_SOURCE[0]}"
}

need() {
  command -v "$1" >/dev/null || fail "$1 is not installed" "$2"
}

k() {
  kubectl --context "kind-$name" "$@"
}

config() {
  printf 'kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnetworking:\n'
  if [[ $network == calico ]]; then
    printf '  disableDefaultCNI: true\n  podSubnet: 192.168.0.0/16\n'
  else
    printf '  disableDefaultCNI: false\n'
  fi
  printf 'nodes:\n  - role: control-plane\n'
}

install_network() {
  [[ $network == calico ]] || return 0
  k apply --filename "https://raw.githubusercontent.com/projectcalico/calico/$calico/manifests/calico.yaml"
  k --namespace kube-system rollout status daemonset/calico-node --timeout 300s
}

install_metrics() {
  k apply --filename "https://github.com/kubernetes-sigs/metrics-server/releases/download/$metrics/components.yaml"
  # kind's kubelets serve certificates that no authority of the cluster signed.
  k --namespace kube-system patch deployment metrics-server --type json --patch \
    '[{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--kubelet-insecure-tls"}]'
  k --namespace kube-system rollout status deployment/metrics-server --timeout 180s
}

# A server and a client: they talk, a policy that denies is added, they no longer do.
prove_enforcement() {
  local space=policy-probe address
  k create namespace "$space" --dry-run=client --output yaml | k apply --filename -
  k --namespace "$space" delete pods,networkpolicies --all --wait
  k --namespace "$space" run server --image "$probe_image" -- netexec --http-port=8080
  k --namespace "$space" run client --image "$probe_image" -- pause
  k --namespace "$space" wait --for=condition=Ready pod/server pod/client --timeout 180s
  address=$(k --namespace "$space" get pod server --output 'jsonpath={.status.podIP}'):8080
  k --namespace "$space" exec client -- /agnhost connect --timeout=10s "$address" ||
    fail "two pods of the cluster cannot talk to each other" "kubectl --context kind-$name get pods -A shows what does not run"
  k --namespace "$space" apply --filename - <<'YAML'
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
YAML
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    if ! k --namespace "$space" exec client -- /agnhost connect --timeout=3s "$address" 2>/dev/null; then
      k delete namespace "$space" --wait=false
      printf 'NetworkPolicy is enforced by %s\n' "$network"
      return
    fi
    sleep 2
  done
  fail "$network does not enforce NetworkPolicy" "take another plugin: --network calico, or a newer kind"
}

up() {
  need kind "https://kind.sigs.k8s.io tells how; it needs docker or podman"
  need kubectl "https://kubernetes.io/docs/tasks/tools tells how"
  if kind get clusters 2>/dev/null | grep -qx "$name"; then
    printf 'the cluster %s is there\n' "$name"
  else
    config | kind create cluster --name "$name" --config -
  fi
  install_network
  k wait --for=condition=Ready node --all --timeout 300s
  install_metrics
  prove_enforcement
  local file="${TMPDIR:-/tmp}/kubeconfig-$name"
  (umask 077 && kind get kubeconfig --name "$name" >"$file")
  # A pipeline's later steps take it from there.
  [[ -z ${GITHUB_ENV:-} ]] || printf 'KUBECONFIG=%s\nFEDRISK_LOAD_IMAGES=%s load\n' "$file" "$(realpath "${BASH_SOURCE[0]}")" >>"$GITHUB_ENV"
  printf 'export KUBECONFIG=%s\n' "$file"
}

# podman's images are no images of docker's to kind: they go through an archive.
load() {
  local image archive
  need kind "https://kind.sigs.k8s.io tells how"
  (($#)) || fail "no image is named" "scripts/kind-cluster.sh load IMAGE..." 2
  if command -v docker >/dev/null && docker image inspect "$1" >/dev/null 2>&1; then
    kind load docker-image --name "$name" "$@"
    return
  fi
  need podman "build the images first: scripts/build-images.sh"
  archive=$(mktemp --suffix .tar)
  trap 'rm -f "$archive"' EXIT
  for image in "$@"; do
    podman save --quiet --output "$archive" "$image"
    kind load image-archive --name "$name" "$archive"
  done
}

action=
images=()
while (($#)); do
  case "$1" in
    -h | --help) usage && exit 0 ;;
    --name) name=${2:-} && shift ;;
    --network) network=${2:-} && shift ;;
    -*) fail "unknown option: $1" "scripts/kind-cluster.sh --help says what there is" 2 ;;
    *) if [[ -z $action ]]; then action=$1; else images+=("$1"); fi ;;
  esac
  shift || true
done
[[ $network == calico || $network == kindnet ]] ||
  fail "unknown network plugin: ${network:-none}" "--network calico, or --network kindnet" 2

case "$action" in
  up) up ;;
  load) load "${images[@]}" ;;
  down)
    need kind "https://kind.sigs.k8s.io tells how"
    kind delete cluster --name "$name"
    ;;
  *) fail "unknown command: ${action:-none}" "scripts/kind-cluster.sh up, load IMAGE... or down" 2 ;;
esac
