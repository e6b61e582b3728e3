#!/usr/bin/env bash
# In a build: list what an image is made of, as CycloneDX JSON: sbom.sh ENVIRONMENT OUTPUT NAME VERSION
set -euo pipefail

/opt/tools/bin/cyclonedx-py environment --output-reproducible --output-format JSON \
  --output-file /tmp/python.json "$1/bin/python"
mkdir -p "$(dirname "$2")"
/opt/tools/bin/python "$(dirname "${BASH_SOURCE[0]}")/bill.py" /tmp/python.json "$2" "$3" "$4"
rm /tmp/python.json
