#!/usr/bin/env bash
# venv.sh FOLDER REQUIREMENTS: a fresh virtual environment with exactly these packages.
set -euo pipefail

python=$("$(dirname "$0")/find-python.sh")
"$python" -m venv --clear "$1"
"$1/bin/pip" install --quiet --disable-pip-version-check --requirement "$2"
