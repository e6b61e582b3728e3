#!/usr/bin/env bash
# Start a command with passwords that lie in files: with-secrets COMMAND...
#
# libpq and MLflow take some secrets from the environment alone. Where VARIABLE_FILE names a file,
# its first line becomes VARIABLE for the command, and for nobody else.
set -euo pipefail

for variable in PGPASSWORD MLFLOW_TRACKING_PASSWORD MLFLOW_TRACKING_TOKEN; do
  file=${variable}_FILE
  if [[ -n ${!file:-} ]]; then
    secret=
    if ! IFS= read -r secret <"${!file}" && [[ -z $secret ]]; then
      printf 'error: %s names %s, which cannot be read or is empty\n' "$file" "${!file}" >&2
      printf 'hint: mount the secret there, readable by user 10001 or group 10001\n' >&2
      exit 78
    fi
    export "$variable=$secret"
  fi
done
exec "$@"
