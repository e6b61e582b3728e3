# shellcheck shell=bash
# Sourced by the scripts that have a Job run and follow it, in the namespace that is meant.

namespace=fedrisk

k() { kubectl --namespace "$namespace" "$@"; }

# Whether a Job has a condition.
job_is() { # job, condition
  [[ $(k get job "$1" -o "jsonpath={.status.conditions[?(@.type==\"$2\")].status}" 2>/dev/null) == True ]]
}

ended() { job_is "$1" Complete || job_is "$1" Failed; }

# Wait for a Job's end and print what each of its containers said; 1 where it did not complete.
follow_job() { # job, seconds
  local end=$((SECONDS + $2)) names each
  until ended "$1" || ((SECONDS >= end)); do sleep 2; done
  names=$(k get job "$1" -o 'jsonpath={.spec.template.spec.initContainers[*].name} {.spec.template.spec.containers[*].name}') || true
  # One by one: a container that never began would hide what the one before it said.
  for each in $names; do k logs "job/$1" --container="$each" --tail=50 2>/dev/null || true; done
  job_is "$1" Complete
}
