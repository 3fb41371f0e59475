#!/usr/bin/env bash
# Sets up a virtual environment in .venv, encodes and decodes a photograph
# with the pretrained model, and saves both side by side.
#
#   bash demo.sh [IMAGE]           default: the photograph of matplotlib
#
# PYTHON names the interpreter, 3.11 or newer (default: python3).
set -euo pipefail
cd "$(dirname "$0")"

if [ ! -x .venv/bin/python ]; then
    "${PYTHON:-python3}" -m venv .venv
fi
.venv/bin/python -m pip --disable-pip-version-check install --quiet --editable .
.venv/bin/keras-vqvae2 reconstruct --levels --overwrite \
    --output reconstruction.png \
    "${@:---sample}"
