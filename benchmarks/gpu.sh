#!/bin/sh
# What a GPU is worth: its tests, then steps and evaluations on synthetic data of gowalla's size,
# on the GPU and on the CPU, with ratios and peak memory. At most 8 minutes; needs CUDA.
#     sh benchmarks/gpu.sh [--quick]
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
if ! "$python" -c "import sys, torch; sys.exit(not torch.cuda.is_available())"; then
    echo "benchmarks/gpu.sh: torch finds no CUDA" >&2
    exit 2
fi
"$python" -c "import torch; print(torch.cuda.get_device_name(), 'torch', torch.__version__)"
# A test that fails does not hide what the others cost.
timeout 180 "$python" -m pytest -q -m gpu tests || echo "gpu tests: status $?"
timeout 290 "$python" benchmarks/gpu.py "$@"
