#!/usr/bin/env bash
# run.sh: the tests of this folder, in a network of their own, of which nothing gets out, and with
# mounts of their own.
set -euo pipefail

cd "$(dirname "$0")"
namespaces=(--net --mount)
# Whoever is not root becomes it within a namespace of users.
((EUID == 0)) || namespaces+=(--map-root-user)
exec unshare "${namespaces[@]}" -- node --test --test-reporter=spec
