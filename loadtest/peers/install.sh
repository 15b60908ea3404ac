#!/usr/bin/env bash
# Installs the peers that loadtest/peers/run.sh measures Sidestream against (Debian and Ubuntu, as
# root), and wrk for the requests that are passed through. Services are not started.
set -euo pipefail

apt-get update
# Without this, the packages' services would take ports 80 and 443.
export RUNLEVEL=1
apt-get install -y --no-install-recommends nginx libnginx-mod-nchan haproxy wrk openssl
# Not in every release; the script goes without it.
apt-get install -y --no-install-recommends caddy || printf 'install.sh: no caddy here\n' >&2
