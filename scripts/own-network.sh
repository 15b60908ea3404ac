#!/usr/bin/env bash
# own-network.sh COMMAND...: runs it in a network of its own, with nothing but loopback, as a pod has:
# any port is free there, and nothing gets out.
set -euo pipefail

namespaces=(--net)
# Whoever is not root becomes it within a namespace of users.
((EUID == 0)) || namespaces+=(--map-root-user)
# shellcheck disable=SC2016
exec unshare "${namespaces[@]}" -- sh -c 'ip link set lo up && exec "$@"' sh "$@"
