#!/usr/bin/env bash
# Runs a load test on this machine, over loopback, and ends what it started.
#
#   loadtest/run.sh [demo]   subscribers of the ticker of a running `make demo`, on both origins
#   loadtest/run.sh core     publisher -> sidestream -> 8,000 h1 and 10,000 h2 subscribers
#   loadtest/run.sh memory   what an idle subscriber costs sidestream, h1 and h2
#   loadtest/run.sh stalled  what 10,000 subscribers that read nothing cost the others, h1 and h2
#   loadtest/run.sh direct   publisher -> 8,000 h1 subscribers: what client and machine can do
#   loadtest/run.sh NAME [option...]     the scenario in loadtest/scenarios/NAME.yaml, or in the file
#                            NAME: publisher, sidestream, subscribers, and a report in HTML and JSON;
#                            options go to `loadtest scenario`, as --scale 0.1 or --runs 5
#   loadtest/run.sh tune [option...]     the caps for a budget: `loadtest tune`, as --memory-mib 512
#
# Exit code 0: every check passed. 1: a check failed. 2: the test could not be run.
# Settings, all optional (the numbers are those of `core`):
#   H1 H2 RATE SIZE DURATION             subscribers, events per second, bytes, seconds
#   BATCH_DELAY                          how long sidestream lets events wait for others, as in 20ms
#   SMALL LARGE                          subscribers of the two readings of `memory`
#   STALLED ROUNDS                       of `stalled`: who reads nothing; runs of which the middle counts
#   DEMO_HTTP DEMO_HTTPS DEMO_PATH       where the demo listens
#   SIDESTREAM_BIN LOADTEST_BIN          programs to use instead of building them (release)
#   RESULTS                              folder for reports and logs [target/loadtest]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
results=${RESULTS:-$root/target/loadtest}

# shellcheck source=processes.sh
source "$root/loadtest/processes.sh"
trap stop_all EXIT
trap 'exit 130' INT TERM

# The first port from $1 on that nobody listens on.
free_port() {
  local port
  for ((port = $1; port < $1 + 200; port++)); do
    if ! is_open "$port"; then
      printf '%s\n' "$port"
      return
    fi
  done
  fail "no free port from $1 on"
}

# The publisher, at $1 events per second; sets app_port.
start_app() {
  app_port=$(free_port 18005)
  "$loadtest" app --listen "127.0.0.1:$app_port" --rate "$1" --size "${SIZE:-200}" \
    >"$results/app.log" 2>&1 &
  started+=($!)
  wait_open $! "the publisher" "$app_port" "$results/app.log"
}

# A fresh sidestream before the publisher, on conf/$1.yaml; sets server_port, admin_port and server_pid.
start_sidestream() {
  server_port=$(free_port 18080)
  admin_port=$(free_port 19901)
  LOADTEST_LISTEN=127.0.0.1:$server_port LOADTEST_APP=127.0.0.1:$app_port \
    LOADTEST_ADMIN=127.0.0.1:$admin_port \
    "$sidestream" run --config "$root/loadtest/conf/${1:-core}.yaml" >"$results/sidestream.log" 2>&1 &
  server_pid=$!
  started+=("$server_pid")
  wait_open "$server_pid" sidestream "$server_port" "$results/sidestream.log"
}

demo() {
  local http=${DEMO_HTTP:-http://127.0.0.1:8080} https=${DEMO_HTTPS:-https://localhost:8443}
  local path=${DEMO_PATH:-/demo/ticker}
  is_open "${http##*:}" || fail "nothing listens at $http; start \`make demo\` in another terminal"
  # The demo's events are not ours: sidestream's own ids tell whether one is missing. The demo makes
  # its certificate at start, so it is taken as it is.
  "$loadtest" fanout "$http$path" --h2-url "$https$path" --insecure --expect ids \
    --h1 "${H1:-500}" --h2 "${H2:-1000}" --duration "${DURATION:-15}" \
    --json "$results/demo.json"
}

core() {
  start_app "${RATE:-5}"
  start_sidestream
  "$loadtest" fanout "http://127.0.0.1:$server_port/events" \
    --h1 "${H1:-8000}" --h2 "${H2:-10000}" --streams-per-connection 100 \
    --duration "${DURATION:-30}" --stats "http://127.0.0.1:$app_port/stats" \
    --upstream-connections 1 --server-pid "$server_pid" --json "$results/core.json"
}

# One protocol ($1) with its bar in bytes ($2) up to $3 subscribers, against a fresh process.
memory_of() {
  start_sidestream
  printf '%s:\n' "$1"
  "$loadtest" memory "http://127.0.0.1:$server_port/events" --server-pid "$server_pid" \
    --protocol "$1" --small "${SMALL:-1000}" --large "${LARGE:-$3}" --bytes-max "$2" \
    --json "$results/memory-$1.json"
}

memory() {
  local status=0
  start_app 0
  memory_of h1 6144 6000 || status=$?
  memory_of h2 3072 11000 || status=$?
  return "$status"
}

# The value of sidestream's series $1; 0 while there is none.
metric() {
  exec 3<>"/dev/tcp/127.0.0.1/$admin_port"
  printf 'GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n' >&3
  awk -v series="$1 " 'index($0, series) == 1 { value = $NF } END { print value + 0 }' <&3
  exec 3<&-
}

# Waits until the series $1 is $2 at least.
until_metric() {
  local _
  for _ in {1..600}; do
    (($(metric "$1") >= $2)) && return
    sleep 0.1
  done
  fail "$1 is $(metric "$1") after 60 s, not $2"
}

# Sends signal $1 to the client $2 and its processes.
signal_client() {
  local pid
  for pid in "$2" $(pgrep -P "$2"); do
    kill "-$1" "$pid" 2>/dev/null || true
  done
}

# Latency of 500 + 500 healthy subscribers, the middle one of some runs; $1 names the runs. Prints
# microseconds of the 99th percentile, the worse of both protocols.
healthy_p99() {
  local round
  for ((round = 1; round <= ${ROUNDS:-3}; round++)); do
    local report=$results/stalled-$1-$round.json
    "$loadtest" fanout "http://127.0.0.1:$server_port/events" --h1 "${H1:-500}" --h2 "${H2:-500}" \
      --duration "${DURATION:-10}" --stats "http://127.0.0.1:$app_port/stats" --quiet \
      --json "$report" >"$results/stalled-$1-$round.log" || fail "healthy subscribers: $report"
    awk -F'[:,]' '/"p99":/ { if ($2 * 1000 > most) most = $2 * 1000 } END { print int(most) }' "$report"
  done | sort -n | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'
}

resident_kib() {
  awk '/^VmRSS:/ { print $2 }' "/proc/$server_pid/status"
}

# $2 subscribers of protocol $1 connect and are then stopped as processes.
stalled_of() {
  local status=0 count=$2 alone beside before after client
  start_sidestream stalled
  alone=$(healthy_p99 "$1-alone") || exit 2
  before=$(resident_kib)
  "$loadtest" fanout "http://127.0.0.1:$server_port/events" "--$1" "$count" --receive-buffer 4096 \
    --expect any --duration 3600 --quiet >"$results/stalled-$1.log" 2>&1 &
  client=$!
  started+=("$client")
  until_metric "sidestream_subscribers{route=\"events\",protocol=\"$1\"}" "$count"
  signal_client STOP "$client"
  until_metric sidestream_behind_subscribers "$count"
  beside=$(healthy_p99 "$1-beside") || exit 2
  after=$(resident_kib)
  # Nobody was let go meanwhile.
  until_metric sidestream_behind_subscribers "$count"
  signal_client KILL "$client"
  wait "$client" 2>/dev/null || true
  printf '%s: %s stalled; healthy p99 %s us alone, %s us beside; resident %s KiB, then %s KiB\n' \
    "$1" "$count" "$alone" "$beside" "$before" "$after"
  if ((beside * 10 > alone * 12)); then
    printf 'FAIL  healthy p99 is more than 1.2 times what it was\n'
    status=1
  fi
  if ((after - before > 160 * 1024)); then
    printf 'FAIL  resident memory grew by more than 160 MiB\n'
    status=1
  fi
  return "$status"
}

stalled() {
  local status=0
  SIZE=${SIZE:-2000} start_app "${RATE:-5}"
  stalled_of h1 "${STALLED:-10000}" || status=$?
  stalled_of h2 "${STALLED:-10000}" || status=$?
  return "$status"
}

direct() {
  start_app "${RATE:-5}"
  "$loadtest" fanout "http://127.0.0.1:$app_port/events" --h1 "${H1:-8000}" \
    --duration "${DURATION:-10}" --stats "http://127.0.0.1:$app_port/stats" \
    --json "$results/direct.json"
}

# The scenario in the file $1; the other arguments are options.
from_file() {
  local file=$1
  shift
  "$loadtest" scenario "$file" --sidestream "$sidestream" --results "$results" "$@"
}

tune() {
  "$loadtest" tune --sidestream "$sidestream" --results "$results" "$@"
}

names() {
  local file
  for file in "$root"/loadtest/scenarios/*.yaml; do
    file=${file##*/}
    printf ', %s' "${file%.yaml}"
  done
}

scenario=${1:-demo}
(($# == 0)) || shift
mkdir -p "$results"
case $scenario in
  demo | direct) run=("$scenario") ;;
  core | memory | stalled | tune)
    sidestream=${SIDESTREAM_BIN:-$(build sidestream)}
    run=("$scenario" "$@")
    ;;
  *)
    file=$root/loadtest/scenarios/$scenario.yaml
    [[ -f $file ]] || file=$scenario
    [[ -f $file ]] ||
      fail "no scenario \`$scenario\`; there are demo, core, memory, stalled, direct, tune$(names), or give a file"
    sidestream=${SIDESTREAM_BIN:-$(build sidestream)}
    run=(from_file "$file" "$@")
    ;;
esac
loadtest=${LOADTEST_BIN:-$(build loadtest)}

status=0
"${run[@]}" || status=$?
((status == 0)) && verdict=PASS || verdict="FAIL (exit $status)"
printf '\n%s: %s; reports and logs in %s\n' "$scenario" "$verdict" "$results"
exit "$status"
