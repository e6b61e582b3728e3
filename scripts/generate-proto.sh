#!/usr/bin/env bash
# Turn the Open Inference Protocol's .proto into Python.
#
#   scripts/generate-proto.sh [FOLDER]
#
# The messages get a descriptor pool of their own. In the default pool they would meet those of
# every other library that speaks the protocol (tritonclient, kserve), under the same names, and one
# of the two could not be imported.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case "${1:-}" in
  -h | --help)
    sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p;}' scripts/generate-proto.sh
    exit 0
    ;;
  -*)
    printf 'error: unknown option: %s\nhint: scripts/generate-proto.sh --help says what there is\n' "$1" >&2
    exit 2
    ;;
esac

source=src/fedrisk/serving/grpc
target=${1:-$source/generated}

.venv/bin/python -m grpc_tools.protoc "-I$source" "--python_out=$target" "--pyi_out=$target" inference.proto
sed -i 's/_descriptor_pool\.Default()/_descriptor_pool.DescriptorPool()/' "$target/inference_pb2.py"
grep -q '_descriptor_pool\.DescriptorPool()' "$target/inference_pb2.py"
