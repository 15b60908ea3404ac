#!/usr/bin/env bash
# Prints the Chromium that browser tests drive: the one that CHROMIUM names, else the first of the
# usual names that runs.
set -euo pipefail

names=(chromium chromium-browser google-chrome-stable google-chrome)
if [[ -n ${CHROMIUM:-} ]]; then
  names=("$CHROMIUM")
fi
for name in "${names[@]}"; do
  if path=$(command -v "$name") && "$path" --version >/dev/null 2>&1; then
    echo "$path"
    exit 0
  fi
done
echo "no Chromium that runs (tried ${names[*]}): install one, or say in CHROMIUM where it is" >&2
exit 1
