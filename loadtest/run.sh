#!/usr/bin/env bash
# Runs a load test on this machine, over loopback, and ends what it started.
#
#   loadtest/run.sh [demo]   subscribers of the ticker of a running `make demo`, on both origins
#   loadtest/run.sh core     publisher -> sidestream -> 8,000 h1 and 10,000 h2 subscribers
#   loadtest/run.sh memory   what an idle subscriber costs sidestream, h1 and h2
#   loadtest/run.sh direct   publisher -> 8,000 h1 subscribers: what client and machine can do
#   loadtest/run.sh NAME [option...]     the scenario in loadtest/scenarios/NAME.yaml, or in the file
#                            NAME: publisher, sidestream, subscribers, and a report in HTML and JSON;
#                            options go to `loadtest scenario`, as --scale 0.1 or --runs 5
#   loadtest/run.sh tune [option...]     the caps for a budget: `loadtest tune`, as --memory-mib 512
#
# Exit code 0: every check passed. 1: a check failed. 2: the test could not be run.
# Settings, all optional (the numbers are those of `core`):
#   H1 H2 RATE SIZE DURATION             subscribers, events per second, bytes, seconds
#   SMALL LARGE                          subscribers of the two readings of `memory`
#   DEMO_HTTP DEMO_HTTPS DEMO_PATH       where the demo listens
#   SIDESTREAM_BIN LOADTEST_BIN          programs to use instead of building them (release)
#   RESULTS                              folder for reports and logs [target/loadtest]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
results=${RESULTS:-$root/target/loadtest}
started=()

# Many systems start a shell with 1,024 descriptors.
ulimit -S -n "$(ulimit -H -n)" 2>/dev/null || true

fail() {
  printf 'run.sh: %s\n' "$1" >&2
  exit 2
}

stop_all() {
  local pid
  for pid in ${started[@]+"${started[@]}"}; do
    kill "$pid" 2>/dev/null || true
  done
  for pid in ${started[@]+"${started[@]}"}; do
    # A drain ends by itself; nobody is connected any more, so it is short.
    for _ in {1..50}; do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null || true
  done
  started=()
}
trap stop_all EXIT
trap 'exit 130' INT TERM

build() {
  local package=$1
  cargo build --release --quiet --manifest-path "$root/Cargo.toml" -p "$package" --bins >&2 ||
    fail "cannot build $package"
  printf '%s/release/%s\n' "${CARGO_TARGET_DIR:-$root/target}" "$package"
}

is_open() {
  (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

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

# Waits until process $1 (called $2) listens on port $3; its output is in the file $4.
wait_open() {
  local _
  for _ in {1..100}; do
    kill -0 "$1" 2>/dev/null || fail "$2 ended: $(tail -n 5 "$4")"
    if is_open "$3"; then
      return
    fi
    sleep 0.1
  done
  fail "$2 does not listen on port $3 after 10 s: $(tail -n 5 "$4")"
}

# The publisher, at $1 events per second; sets app_port.
start_app() {
  app_port=$(free_port 18005)
  "$loadtest" app --listen "127.0.0.1:$app_port" --rate "$1" --size "${SIZE:-200}" \
    >"$results/app.log" 2>&1 &
  started+=($!)
  wait_open $! "the publisher" "$app_port" "$results/app.log"
}

# A fresh sidestream before the publisher; sets server_port and server_pid.
start_sidestream() {
  server_port=$(free_port 18080)
  local admin_port
  admin_port=$(free_port 19901)
  LOADTEST_LISTEN=127.0.0.1:$server_port LOADTEST_APP=127.0.0.1:$app_port \
    LOADTEST_ADMIN=127.0.0.1:$admin_port \
    "$sidestream" run --config "$root/loadtest/conf/core.yaml" >"$results/sidestream.log" 2>&1 &
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
  core | memory | tune)
    sidestream=${SIDESTREAM_BIN:-$(build sidestream)}
    run=("$scenario" "$@")
    ;;
  *)
    file=$root/loadtest/scenarios/$scenario.yaml
    [[ -f $file ]] || file=$scenario
    [[ -f $file ]] ||
      fail "no scenario \`$scenario\`; there are demo, core, memory, direct, tune$(names), or give a file"
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
