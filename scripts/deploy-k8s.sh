#!/usr/bin/env bash
# fedrisk on Kubernetes: scripts/deploy-k8s.sh --help
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
manifests=$root/deploy/kubernetes
secret=fedrisk-secrets
first_key=fedrisk-first-key
claim=/var/lib/fedrisk
study=air-wearables

usage() {
  cat <<'END'
usage: scripts/deploy-k8s.sh [OVERLAY] [--tag TAG] [--registry REGISTRY] [--namespace NAME]
                             [--site NAME=FILE ...] [--study STUDY] [--train] [--timeout SECONDS]
                             [--existing-secrets] [--without-metrics] [--no-join] [--render]
       scripts/deploy-k8s.sh [OVERLAY] --delete [--data]

Makes the secrets that are missing, applies an overlay of deploy/kubernetes, joins the sites, waits until
everything is healthy, and shows what is not, with its events and logs. Run again, it does what is missing.

  OVERLAY             local (without), staging, production, or a folder with a kustomization
  --tag TAG           of fedrisk's images; without, what the overlay says
  --registry REGISTRY where they are; without, what the overlay says
  --namespace NAME    another namespace than fedrisk
  --site NAME=FILE    rows of a site in this cluster, CSV or Parquet, put on its volume
  --study STUDY       built-in study, or a file, that local sites approve (air-wearables)
  --train             train a first model where none serves
  --timeout SECONDS   to wait for one piece (300)
  --existing-secrets  make no secret: one that is missing is an error
  --without-metrics   go on where the cluster has no metrics: inference then does not scale
  --no-join           do not join sites that have not joined
  --render            print what would be applied, and end
  --delete            remove all but volumes and secrets; with --data, the namespace and all in it
  --help              this text

In `local`, and for a site whose rows --site gives, it stands in for the operators of both sides: it compares
fingerprints and approves the study, in `local` for simulated rows. Else it says what each of them has to do.
KUBECONFIG names the cluster. No secret is printed: the first API key is in the Secret fedrisk-first-key.
END
}

say() { printf '%s\n' "$*" >&2; }
fail() {
  printf 'error: %s\n' "$1" >&2
  [[ -z ${2:-} ]] || printf 'hint: %s\n' "$2" >&2
  exit "${3:-1}"
}

overlay=local tag='' registry='' namespace=fedrisk timeout=300
train='' existing='' without_metrics='' join=yes render='' delete='' data=''
declare -A rows=()

parse() {
  local named=''
  while (($#)); do
    case $1 in
      --help | -h) usage; exit 0 ;;
      --tag | --registry | --namespace | --timeout | --study | --site)
        (($# > 1)) || fail "$1 needs a value" "scripts/deploy-k8s.sh --help" 2
        case $1 in
          --tag) tag=$2 ;;
          --registry) registry=${2%/} registry=${registry,,} ;; # as scripts/publish-images.sh names it
          --namespace) namespace=$2 ;;
          --timeout) timeout=$2 ;;
          --study) study=$2 ;;
          --site)
            [[ $2 == ?*=?* ]] || fail "--site $2 is not NAME=FILE" "--site north=rows.csv" 2
            [[ -f ${2#*=} ]] || fail "no such file: ${2#*=}" "--site NAME=FILE names a site's rows" 2
            [[ -s ${2#*=} ]] || fail "${2#*=} is empty" "--site NAME=FILE names a site's rows" 2
            [[ $2 == *.csv || $2 == *.parquet ]] || fail "${2#*=} is neither .csv nor .parquet" "--site north=rows.csv" 2
            rows[${2%%=*}]=${2#*=}
            ;;
        esac
        shift 2
        ;;
      --train) train=yes; shift ;;
      --existing-secrets) existing=yes; shift ;;
      --without-metrics) without_metrics=yes; shift ;;
      --no-join) join=''; shift ;;
      --render) render=yes; shift ;;
      --delete) delete=yes; shift ;;
      --data) data=yes; shift ;;
      -*) fail "unknown option $1" "scripts/deploy-k8s.sh --help" 2 ;;
      *)
        [[ -z $named ]] || fail "one overlay at a time: $named, $1" "scripts/deploy-k8s.sh --help" 2
        named=$1 overlay=$1
        shift
        ;;
    esac
  done
  [[ $timeout =~ ^[0-9]+$ ]] || fail "--timeout $timeout is no number of seconds" "--timeout 300" 2
  [[ $tag != latest ]] || fail "the tag latest says nothing of what runs" "--tag, such as scripts/build-images.sh printed" 2
  [[ -z $data || -n $delete ]] || fail "--data goes with --delete" "scripts/deploy-k8s.sh --help" 2
}

k() { kubectl --namespace "$namespace" "$@"; }

# --- what would be applied ---

find_overlay() {
  if [[ -f $manifests/overlays/$overlay/kustomization.yaml ]]; then
    folder=$manifests/overlays/$overlay
  elif [[ $overlay == */* && -f $overlay/kustomization.yaml ]]; then
    folder=$(cd "$overlay" && pwd)
  else
    local known=()
    for each in "$manifests"/overlays/*/kustomization.yaml; do known+=("$(basename "$(dirname "$each")")"); done
    fail "no overlay is named $overlay" "one of: ${known[*]}; or the path of a folder with a kustomization.yaml" 2
  fi
}

# The overlay as it is, with another tag, registry or namespace where they are given.
rendered() { # folder to render
  local around image place built
  built=$(kubectl kustomize "$1") || fail "overlay $overlay does not build" "the reason is above"
  around=$(mktemp -d)
  {
    printf 'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n'
    printf 'namespace: %s\n' "$namespace"
    printf 'resources: ["%s"]\n' "$(realpath --relative-to "$(realpath "$around")" "$1")"
    if [[ -n $tag || -n $registry ]]; then
      printf 'images:\n'
      for image in server client inference mlflow; do
        # With a tag, a digest, or both.
        place=$(sed -n "s#^ *image: \(.*fedrisk-$image\)[:@][^/]*\$#\1#p" <<<"$built" | sed q)
        [[ -n $place ]] || continue
        printf -- '- name: %s\n' "$place"
        [[ -z $registry ]] || printf '  newName: %s/fedrisk-%s\n' "$registry" "$image"
        [[ -z $tag ]] || printf '  newTag: "%s"\n' "$tag"
      done
    fi
  } >"$around/kustomization.yaml"
  if ! kubectl kustomize "$around"; then
    rm -rf "$around"
    fail "overlay $overlay does not build" "the reason is above"
  fi
  rm -rf "$around"
}

# --- the cluster ---

check_cluster() {
  command -v kubectl >/dev/null || fail "kubectl is not installed" "https://kubernetes.io/docs/tasks/tools/" 2
  [[ -n $render ]] && return
  kubectl get --raw /readyz >/dev/null 2>&1 ||
    fail "the cluster does not answer" "KUBECONFIG names it (now: ${KUBECONFIG:-not set}); try: kubectl get nodes"
}

check_storage() { # what is to be applied
  grep -q '^kind: PersistentVolumeClaim' "$1" || return 0
  local classes
  if ! classes=$(kubectl get storageclass -o go-template='{{range .items}}{{with .metadata.annotations}}{{index . "storageclass.kubernetes.io/is-default-class"}} {{end}}{{end}}' 2>/dev/null); then
    say "warning: this account may not list StorageClasses: whether there is a default one is not known"
    return 0
  fi
  [[ $classes == *true* ]] || grep -q '^ *storageClassName:' "$1" ||
    fail "the cluster has no default StorageClass: volumes would wait for ever" \
      "kubectl annotate storageclass NAME storageclass.kubernetes.io/is-default-class=true, or a patch of storageClassName in the overlay; there are: $(kubectl get storageclass -o name | tr '\n' ' ')"
}

check_metrics() { # what is to be applied
  grep -q '^kind: HorizontalPodAutoscaler' "$1" || return 0
  kubectl get --raw /apis/metrics.k8s.io/v1beta1 >/dev/null 2>&1 && return
  [[ -n $without_metrics ]] ||
    fail "the cluster has no metrics: the HorizontalPodAutoscaler of inference cannot act" \
      "install metrics-server (kubectl get apiservice v1beta1.metrics.k8s.io tells its state), or go on with --without-metrics"
  say "warning: the cluster has no metrics; inference does not scale"
}

check_kinds() { # what is to be applied: custom resources need their operators
  local kind known
  for kind in ExternalSecret:external-secrets ServiceMonitor:prometheus-operator; do
    grep -q "^kind: ${kind%%:*}\$" "$1" || continue
    known=$(kubectl api-resources -o name 2>/dev/null) || true
    grep -qi "^${kind%%:*}s\." <<<"$known" ||
      fail "the cluster knows no ${kind%%:*}" "install the operator of component ${kind#*:}, or leave the component out of the overlay"
  done
}

# --- secrets ---

keys=(postgres-password api-keys metrics-key operations-token site-metrics-token)

random() { openssl rand -hex 32; }

api_key() { # name, scopes as JSON: a line with the secret, and one with what is kept of it
  local id value
  id=$(openssl rand -hex 4)
  value=frk_${id}_$(random)
  printf '%s\n{"id": "%s", "name": "%s", "hash": "%s", "scopes": %s, "created": "%s"}\n' "$value" "$id" "$1" \
    "$(printf '%s' "$value" | openssl dgst -sha256 -r | cut -d ' ' -f 1)" "$2" "$(date -u +%Y-%m-%dT%H:%M:%S+00:00)"
}

# shellcheck disable=SC2016 # a template of kubectl's
held() { k get secret "$secret" -o go-template='{{range $name, $value := .data}}{{$name}} {{end}}' 2>/dev/null || true; }

wait_for_secrets() { # an operator makes them
  local end=$((SECONDS + timeout)) missing
  while :; do
    missing=$(missing_keys)
    [[ -n $missing ]] || return 0
    ((SECONDS < end)) || break
    sleep 2
  done
  fail "the Secret $secret in namespace $namespace lacks:$missing" \
    "kubectl -n $namespace describe externalsecret $secret says why"
}

missing_keys() {
  local found missing='' each
  found=" $(held)"
  for each in "${keys[@]}"; do [[ $found == *" $each "* ]] || missing+=" $each"; done
  printf '%s' "$missing"
}

make_secrets() {
  local missing
  missing=$(missing_keys)
  [[ -n $missing ]] || return 0
  [[ -z $existing ]] ||
    fail "the Secret $secret in namespace $namespace lacks:$missing" \
      "make it from files: kubectl -n $namespace create secret generic $secret --from-file=KEY=FILE ...; deploy/kubernetes/README.md says what each holds"
  if [[ $missing == *" postgres-password"* ]] && k get pvc data-postgres-0 >/dev/null 2>&1; then
    fail "the Secret $secret lacks postgres-password, and there is a database with another one" \
      "put the former password back, or remove the database: scripts/deploy-k8s.sh $overlay --delete --data"
  fi
  if [[ $missing == *" api-keys"* && $missing != *" metrics-key"* || $missing == *" metrics-key"* && $missing != *" api-keys"* ]]; then
    fail "of api-keys and metrics-key the Secret $secret has one alone" "they belong together: put the other back, or remove both"
  fi
  local made='' each metrics first
  for each in $missing; do
    case $each in
      api-keys)
        metrics=$(api_key prometheus '["metrics"]')
        first=$(api_key first '["predict", "batch", "admin"]')
        made+="  metrics-key: ${metrics%%$'\n'*}"$'\n'"  api-keys: |"$'\n'
        made+="    {\"format\": 1, \"keys\": ["$'\n'"    ${metrics#*$'\n'},"$'\n'"    ${first#*$'\n'}]}"$'\n'
        printf 'apiVersion: v1\nkind: Secret\nmetadata: {name: %s}\nstringData: {api-key: %s}\n' "$first_key" "${first%%$'\n'*}" |
          k apply --server-side --force-conflicts -f - >/dev/null
        ;;
      metrics-key) ;;
      *) made+="  $each: $(random)"$'\n' ;;
    esac
  done
  k get secret "$secret" >/dev/null 2>&1 || k create secret generic "$secret" >/dev/null
  # Whole or not at all: each key belongs to another.
  printf 'stringData:\n%s' "$made" | k patch secret "$secret" --type merge --patch-file /dev/stdin >/dev/null
  say "made in Secret $secret:$missing"
}

# --- waiting, and what failed ---

# pod container state reason image, a line each; a dash where there is nothing to say.
containers() { # label selector
  # shellcheck disable=SC2016 # a template of kubectl's
  k get pods -l "$1" -o go-template='{{range .items}}{{$pod := .metadata.name}}{{if eq .status.phase "Failed"}}{{$pod}} - failed {{or .status.reason "-"}} -{{"\n"}}{{end}}{{range .status.initContainerStatuses}}{{$pod}} {{.name}} {{with .state.waiting}}waiting {{.reason}}{{else}}{{with .state.terminated}}ended {{.reason}}{{else}}running -{{end}}{{end}} {{.image}}{{"\n"}}{{end}}{{range .status.containerStatuses}}{{$pod}} {{.name}} {{with .state.waiting}}waiting {{.reason}}{{else}}{{with .state.terminated}}ended {{.reason}}{{else}}{{if .ready}}ready -{{else}}running -{{end}}{{end}}{{end}} {{.image}}{{"\n"}}{{end}}{{end}}'
}

# Ends with the reason where waiting longer cannot help.
check_hopeless() { # label selector
  local pod container state reason image
  while read -r pod container state reason image; do
    case $reason in
      ErrImagePull | ImagePullBackOff | ErrImageNeverPull | InvalidImageName)
        explain "$1"
        fail "the image $image does not exist where the cluster looks for it ($reason, pod $pod)" \
          "scripts/build-images.sh makes it (--push to a registry); load it into the cluster (kind load docker-image $image); --tag and --registry say which"
        ;;
      CreateContainerConfigError)
        explain "$1"
        fail "pod $pod lacks a Secret or ConfigMap, or a key of one" "the events above name it; run scripts/deploy-k8s.sh $overlay without --existing-secrets, or add the key"
        ;;
      CrashLoopBackOff | Error | ended)
        # Read whole first: a grep that has found it, or no log of a former container, is no failure.
        said=$(k logs "$pod" -c "$container" --tail=50 2>&1; k logs "$pod" -c "$container" --tail=50 --previous 2>&1) || true
        if grep -qiE 'no space left on device|disk is full|ENOSPC' <<<"$said"; then
          explain "$1"
          fail "a volume of pod $pod is full: $container found no space left on device" \
            "make the claim larger (kubectl -n $namespace edit pvc, where the StorageClass allows expansion), or free space on it"
        fi
        ;;
      Evicted)
        explain "$1"
        fail "pod $pod was evicted: its node, or a temporary volume, is full" "kubectl -n $namespace describe pod $pod"
        ;;
    esac
  done < <(containers "$1")
}

# Events and last lines of everything that is not ready.
explain() { # label selector
  local pod container state reason image shown=''
  while read -r pod container state reason image; do
    [[ $state == ready || $state == ended && $reason == Completed ]] && continue
    if [[ $shown != *" $pod "* ]]; then
      shown+=" $pod "
      say "--- $pod: events"
      k get events --field-selector "involvedObject.name=$pod" --sort-by=.lastTimestamp -o custom-columns=TYPE:.type,REASON:.reason,MESSAGE:.message --no-headers 2>/dev/null | tail -n 8 >&2 || true
    fi
    [[ $container == - || $reason == PodInitializing ]] && continue
    say "--- $pod, container $container ($state ${reason#-}): last lines"
    { k logs "$pod" -c "$container" --previous --tail=15 2>/dev/null || true; k logs "$pod" -c "$container" --tail=15 2>/dev/null || true; } | tail -n 20 >&2
  done < <(containers "$1")
  if [[ -z $(k get pods -l "$1" -o name) ]]; then
    say "--- no pod yet; events of the namespace"
    k get events --sort-by=.lastTimestamp -o custom-columns=REASON:.reason,OBJECT:.involvedObject.name,MESSAGE:.message --no-headers | tail -n 8 >&2
  fi
  local claims
  claims=$(k get pvc -o go-template='{{range .items}}{{if ne .status.phase "Bound"}}{{.metadata.name}} {{.status.phase}}{{"\n"}}{{end}}{{end}}')
  [[ -z $claims ]] || say "--- volumes that are not there: $claims"
}

wait_for() { # kind/name, label selector
  local end=$((SECONDS + timeout)) start=$SECONDS
  until k rollout status "$1" --timeout=5s >/dev/null 2>&1; do
    check_hopeless "$2"
    if ((SECONDS >= end)); then
      explain "$2"
      fail "$1 is not healthy after $timeout s" "what it says is above; --timeout waits longer"
    fi
  done
  say "$1 is healthy ($((SECONDS - start)) s)"
}

component() { printf 'app.kubernetes.io/component=%s' "$1"; }

# --- sites ---

# Run in the coordinator's pod.
coordinator() { k exec -i deployment/federated-server -c coordinator -- "$@"; }

site_pod() { # site: the pod whose site may be joined, or that has joined
  local end=$((SECONDS + timeout)) pod state
  while :; do
    read -r pod state < <(k get pods -l "$(component federated-client),app.kubernetes.io/instance=$1" --field-selector status.phase!=Failed -o go-template='{{range .items}}{{if not .metadata.deletionTimestamp}}{{.metadata.name}} {{range .status.initContainerStatuses}}{{if .state.running}}waits{{else}}{{if .state.terminated}}joined{{end}}{{end}}{{end}}{{"\n"}}{{end}}{{end}}' | tail -n 1) || true
    [[ -n ${state:-} ]] && break
    check_hopeless "$(component federated-client),app.kubernetes.io/instance=$1"
    ((SECONDS < end)) || { explain "$(component federated-client),app.kubernetes.io/instance=$1"; fail "site $1 does not start" "what it says is above"; }
    sleep 1
  done
  printf '%s %s\n' "$pod" "$state"
}

join_sites() {
  local sites site number=0
  mapfile -t sites < <(k get deployments -l "$(component federated-client)" -o go-template='{{range .items}}{{index .metadata.labels "app.kubernetes.io/instance"}}{{"\n"}}{{end}}' | sort)
  for site in "${!rows[@]}"; do
    [[ " ${sites[*]} " == *" $site "* ]] || fail "no site of overlay $overlay is named $site" "there are: ${sites[*]}" 2
  done
  for site in "${sites[@]}"; do
    number=$((number + 1))
    join_site "$site" "$number" "${#sites[@]}"
  done
}

join_site() { # site, its number, how many there are
  local pod state in_site fingerprint
  read -r pod state < <(site_pod "$1")
  if [[ $state != waits ]]; then
    [[ -z ${rows[$1]:-} ]] || say "site $1 has joined: its rows stay, --site gives them to a site that joins"
    return 0
  fi
  in_site=(k exec -i "$pod" -c join --)
  if [[ $overlay != local && -z ${rows[$1]:-} ]]; then
    say "site $1 has not joined: deploy/kubernetes/README.md tells its operator and yours how"
    return 0
  fi
  say "joining site $1"
  # What left its place last is whole: an end in between is made up for by the next run.
  if [[ -n ${rows[$1]:-} ]]; then
    "${in_site[@]}" sh -ec "cat >$claim/rows.part; mv $claim/rows.part $claim/rows.${rows[$1]##*.}" <"${rows[$1]}"
  else
    "${in_site[@]}" sh -ec "[ -f $claim/rows.csv ] || {
      fedrisk simulate --sites $3 --output /tmp/cohort --force >/dev/null 2>&1
      cp \"\$(ls /tmp/cohort/*.csv | sed -n $2p)\" $claim/rows.part; mv $claim/rows.part $claim/rows.csv; }" </dev/null
  fi
  coordinator sh -ec "mkdir -p $claim/bundles; [ -f $claim/bundles/$1.json ] ||
    fedrisk federation add-site $1 --federation $claim/federation --output $claim/bundles/$1.json >/dev/null
    cat $claim/bundles/$1.json" </dev/null |
    "${in_site[@]}" sh -ec "cat >/tmp/bundle.json
      fedrisk site init /tmp/bundle.json --if-missing --folder $claim/site --data \"\$(ls $claim/rows.* | head -n 1)\" \
        --health-listen 0.0.0.0 --health-port 9103 >/dev/null"
  fingerprint=$("${in_site[@]}" fedrisk site request --folder $claim/site --json </dev/null | sed 's/.*"fingerprint": *"\([^"]*\)".*/\1/')
  "${in_site[@]}" cat $claim/site/join-request.json </dev/null |
    coordinator sh -ec "cat >/tmp/request.json; fedrisk federation approve $1 /tmp/request.json --federation $claim/federation --fingerprint '$fingerprint' >/dev/null"
  approve_study "${in_site[@]}"
  "${in_site[@]}" touch $claim/joined </dev/null
}

approve_study() { # how to run in the site
  if [[ -f $study ]]; then
    "$@" sh -ec "cat >/tmp/study.toml; fedrisk site approve /tmp/study.toml --folder $claim/site --yes --json >/dev/null" <"$study"
  else
    "$@" fedrisk site approve "$study" --folder $claim/site --yes --json </dev/null >/dev/null
  fi
}

# --- models ---

has_model() { coordinator test -e $claim/federation/home/models/champion </dev/null 2>/dev/null; }

train_first() {
  local start=$SECONDS
  say "training"
  if [[ -f $study ]]; then
    coordinator sh -ec "cat >/tmp/study.toml; with-secrets.sh fedrisk train --engine deployed --federation $claim/federation --study /tmp/study.toml" <"$study" >&2
  else
    coordinator with-secrets.sh fedrisk train --engine deployed --federation $claim/federation --study "$study" </dev/null >&2
  fi
  say "trained in $((SECONDS - start)) s"
}

# --- the two commands ---

remove() {
  if [[ -n $data ]]; then
    kubectl delete namespace "$namespace" --ignore-not-found --timeout="${timeout}s" >&2
    return
  fi
  rendered "$folder" | awk 'BEGIN {RS = "---\n"; ORS = RS} !/\nkind: (Namespace|PersistentVolumeClaim)\n/' |
    k delete --ignore-not-found --timeout="${timeout}s" -f - >&2
  say "volumes and secrets are kept; --delete --data removes them too"
}

deploy() {
  local wanted
  wanted=$(mktemp)
  # shellcheck disable=SC2064 # the name as it is now
  trap "rm -f '$wanted'" EXIT
  rendered "$folder" >"$wanted"
  if [[ -n $render ]]; then
    cat "$wanted"
    return
  fi
  check_storage "$wanted"
  check_metrics "$wanted"
  check_kinds "$wanted"
  if kubectl auth can-i patch "namespaces/$namespace" >/dev/null 2>&1; then
    kubectl get namespace "$namespace" >/dev/null 2>&1 ||
      awk 'BEGIN {RS = "---\n"} /\nkind: Namespace\n/' "$wanted" | kubectl apply --server-side -f - >/dev/null
  else
    say "warning: this account may not change namespace $namespace: it stays as its owner made it"
    awk 'BEGIN {RS = "---\n"; ORS = RS} !/(^|\n)kind: Namespace\n/' "$wanted" >"$wanted.part"
    mv "$wanted.part" "$wanted"
  fi
  # Component grafana reads one more.
  ! grep -q 'key: grafana-password$' "$wanted" || keys+=(grafana-password)
  grep -q '^kind: ExternalSecret$' "$wanted" || make_secrets
  kubectl apply --server-side --force-conflicts -f "$wanted" >/dev/null ||
    fail "the cluster does not take overlay $overlay" "its reason is above"
  grep -q '^kind: ExternalSecret$' "$wanted" && wait_for_secrets
  wait_all
}

wait_all() {
  ! k get statefulset postgres >/dev/null 2>&1 || wait_for statefulset/postgres "$(component postgres)"
  wait_for deployment/federated-server "$(component federated-server)"
  # No site needs MLflow, which is the slowest to start.
  [[ -z $join ]] || join_sites
  wait_for deployment/mlflow "$(component mlflow)"
  local each
  for each in $(k get deployments -l "$(component federated-client)" -o name); do
    [[ -n $join && $overlay == local ]] || continue
    wait_for "$each" "$(component federated-client),app.kubernetes.io/instance=${each##*federated-client-}"
  done
  for each in prometheus alertmanager grafana loki; do
    ! k get deployment "$each" >/dev/null 2>&1 || wait_for "deployment/$each" "$(component "$each")"
  done
  [[ -z $train ]] || has_model || train_first
  if has_model; then
    wait_for deployment/inference "$(component inference)"
  else
    check_hopeless "$(component inference)"
    say "no model serves yet: train one (deploy/kubernetes/README.md), or run this with --train"
  fi
  k get configmap fedrisk-backup-recipient >/dev/null 2>&1 ||
    say "warning: backups are not sealed, and hold private keys: docs/disaster-recovery.md, \"Seal them\""
  say "deployed. The API: kubectl -n $namespace port-forward service/inference 8080:80; its key: kubectl -n $namespace get secret $first_key -o jsonpath='{.data.api-key}' | base64 -d"
}

parse "$@"
check_cluster
find_overlay
if [[ -n $delete ]]; then remove; else deploy; fi
