#!/usr/bin/env bash
# Prints the first Python on this machine that is new enough and can make virtual environments.
set -euo pipefail

version=${PYTHON_VERSION_MIN:-3.10}
check="import sys, venv, ensurepip; sys.exit(sys.version_info[:2] < (${version/./, }))"

for python in python3 /usr/bin/python3; do
  if "$python" -c "$check" 2>/dev/null; then
    echo "$python"
    exit 0
  fi
done
exit 1
