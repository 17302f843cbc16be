#!/usr/bin/env bash
# Everything that needs a GPU, in at most 8 minutes on one, without a network; writes one JSON.
#
#   benchmarks/features/gpu.sh [--device cuda:0] [--out gpu.json] [--budget SECONDS]
#   benchmarks/features/gpu.sh --device cpu      # the same script in full, with short sizes
#
# Needs the extras torch, gluon and test; onnxruntime-gpu and TensorRT are measured where they are.
# The checkout is all it reads: weights and photographs are drawn from a seed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
export PYTHONPATH="$(dirname "$root")${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python3}" "$here/gpu.py" "$@"
