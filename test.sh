#!/usr/bin/env bash
# Sets up a virtual environment in .venv and runs lint and tests in it.
#
#   bash test.sh [BACKEND ...]     tensorflow, jax, torch; default: tensorflow
#
# PYTHON names the interpreter, 3.11 or newer (default: python3). With
# EXTRAS=test,demo,docs, tests of the demo page and of the notebooks run, too;
# the first also needs chromium and chromedriver.
set -euo pipefail
cd "$(dirname "$0")"
backends=("${@:-tensorflow}")

if [ ! -x .venv/bin/python ]; then
    "${PYTHON:-python3}" -m venv .venv
fi
pip=(.venv/bin/python -m pip --disable-pip-version-check install --quiet)
for backend in "${backends[@]}"; do
    case "$backend" in
    tensorflow) ;;
    jax) "${pip[@]}" "jax>=0.6" ;;
    # A plain "torch" would bring several GB of CUDA on Linux.
    torch) "${pip[@]}" "torch==${TORCH_VERSION:-2.13.0}" ;;
    *)
        echo "test.sh: unknown backend '$backend': tensorflow, jax or torch" >&2
        exit 2
        ;;
    esac
done
"${pip[@]}" --editable ".[${EXTRAS:-test}]"

.venv/bin/ruff check .
.venv/bin/ruff format --check .
for backend in "${backends[@]}"; do
    echo "== Keras backend: $backend"
    KERAS_BACKEND="$backend" TF_CPP_MIN_LOG_LEVEL=2 \
        .venv/bin/python -m pytest -q -p no:cacheprovider \
        --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
done

# The oldest Keras and TensorFlow that pyproject.toml allows, on the fast tests.
oldest() {
    sed -nE "s/.*\"$1>=([0-9.]+).*/\1/p" pyproject.toml | head -n 1
}
keras="$(oldest keras)" tensorflow="$(oldest tensorflow)"
echo "== Keras $keras, TensorFlow $tensorflow"
folder=".venv/oldest-$keras-$tensorflow"
if [ ! -e "$folder/keras" ]; then
    "${pip[@]}" --no-deps --target "$folder" "keras==$keras" \
        "tensorflow==$tensorflow.*"
fi
PYTHONPATH="$folder" KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=2 \
    .venv/bin/python -m pytest -q -p no:cacheprovider \
    --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
    tests/layers tests/models tests/training/test_muon.py
