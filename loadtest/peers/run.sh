#!/usr/bin/env bash
# Measures Sidestream beside its peers and a bare loop of send(2), and prints the ratios.
#
#   loadtest/peers/run.sh SHAPE... [--runs 5] [--seconds 5] [--servers "sidestream nchan"]
#   loadtest/peers/run.sh all
#
# Server on core 0, publisher and subscribers on core 1; in every run the servers take turns, each
# freshly started, so that a ratio is made of neighbours in time. Shapes are listed in shapes.sh, the
# peers are installed by install.sh. Results: a JSON file per run, the table as results.md and
# results.json.
#
# Exit code 0: every bar is met. 1: one is not. 2: it could not be run.
# Settings, all optional:
#   SIDESTREAM_BIN LOADTEST_BIN   programs to use instead of building them (release)
#   RESULTS                       folder for results and logs [target/peers]
#   PORT                          the first of seven ports [18100]
#   SPIN                          1: the load never sleeps, and the server never pays for waking it
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
results=${RESULTS:-$root/target/peers}
work=$results/work
port=${PORT:-18100}
plain=$port h2c=$((port + 1)) tls=$((port + 2)) source_port=$((port + 3)) origin=$((port + 4))
admin=$((port + 5)) app=$((port + 6))

# shellcheck source=../processes.sh
source "$here/../processes.sh"
# shellcheck source=servers.sh
source "$here/servers.sh"
# shellcheck source=shapes.sh
source "$here/shapes.sh"

trap stop_all EXIT
trap 'exit 130' INT TERM

on_load_core() {
  ${load_cores:+taskset -c "$load_cores"} "$@"
}

# run_bench SERVER JSON
run_bench() {
  local server=$1 json=$2 url extra=() pid
  url=$(url_of "$server" "$way")
  mapfile -t extra < <(way_in "$server")
  for pid in "${server_pids[@]}"; do
    extra+=(--server-pid "$pid")
  done
  if [[ " ${args[*]} " != *" --duration "* ]]; then
    extra+=(--duration "$seconds")
  fi
  # Slow servers need long for what is on its way when the time is over.
  extra+=(--grace 30)
  if [[ ${SPIN:-0} == 1 && " ${args[*]} " == *" --window "* ]]; then
    extra+=(--spin)
  fi
  on_load_core "$loadtest" bench "$url" --insecure "${args[@]}" "${extra[@]}" --json "$json"
}

# run_memory SERVER JSON
run_memory() {
  local server=$1 json=$2 url
  launch app 1 "$app" "$loadtest" app --rate 0 --listen "127.0.0.1:$app"
  url=$(url_of "$server" "$way")
  on_load_core "$loadtest" memory "$url" --insecure --server-pid "${server_pids[0]}" \
    "${args[@]}" --json "$json"
}

# CPU of the server so far, in hundredths of a second.
ticks() {
  local pid sum=0 stat
  for pid in "${server_pids[@]}"; do
    read -ra stat <"/proc/$pid/stat"
    sum=$((sum + stat[13] + stat[14]))
  done
  printf '%s\n' "$sum"
}

# run_pass SERVER JSON
run_pass() {
  local json=$2 out rate bad before used
  launch origin 1 "$origin" nginx -c "$work/origin.conf"
  before=$(ticks)
  out=$(on_load_core wrk --threads 1 --connections 64 --duration "${seconds}s" \
    "http://127.0.0.1:$plain/origin/kilobyte")
  used=$(($(ticks) - before))
  rate=$(awk '/^Requests\/sec:/ { print $2 }' <<<"$out")
  bad=$(awk '/Non-2xx/ { n += $NF } /Socket errors/ { n += $4 + $6 + $8 + $10 } END { print n + 0 }' \
    <<<"$out")
  awk -v rate="$rate" -v bad="$bad" -v used="$used" -v seconds="$seconds" -v json="$json" 'BEGIN {
    micros = used * 10000 / (rate * seconds)
    printf "requests %s/s, %.1f us of the server'"'"'s CPU each, %s bad\n", rate, micros, bad
    printf "{\"requests_per_second\": %s, \"server_us_per_request\": %s, \"faults\": {\"bad answers\": %s}}\n",
      rate, micros, bad >json
  }'
}

# One run of a shape against a server.
run_once() {
  local name=$1 server=$2 number=$3
  local json=$results/$name/$server-$number.json
  mkdir -p "$results/$name"
  rm -f "$json"
  if [[ $kind == memory ]]; then
    # Nothing is published; the source is the app of the loadtest program.
    local source_port=$app
  fi
  start_server "$server" "$server_cores"
  printf '\n%s, run %s: %s\n' "$name" "$number" "$server"
  "run_$kind" "$server" "$json" || printf 'exit code %s\n' $?
  # Without a result of its own it would be as if there had been no such run.
  [[ -s $json ]] || printf '{"faults": {"not run": 1}}\n' >"$json"
  stop_all
}

shapes=() runs=5 seconds=5 only=()
while (($#)); do
  case $1 in
    --runs) runs=$2 && shift 2 ;;
    --seconds) seconds=$2 && shift 2 ;;
    --servers) read -ra only <<<"$2" && shift 2 ;;
    all) shapes=("${all_shapes[@]}") && shift ;;
    -*) fail "no option \`$1\`; there are --runs, --seconds, --servers" ;;
    *) shapes+=("$1") && shift ;;
  esac
done
((${#shapes[@]})) || fail "name a shape, or all; there are: ${all_shapes[*]}"

mkdir -p "$work/nginx-temp"
sidestream=${SIDESTREAM_BIN:-$(build sidestream)}
loadtest=${LOADTEST_BIN:-$(build loadtest)}
prepare
for name in "${shapes[@]}"; do
  shape "$name"
  ((${#only[@]})) && servers=("${only[@]}")
  rm -f "$results/$name"/*.json
  for ((number = 1; number <= runs; number++)); do
    for server in "${servers[@]}"; do
      run_once "$name" "$server" "$number"
    done
  done
done
"$loadtest" ratios "$results" "${shapes[@]}" --json "$results/results.json" --markdown "$results/results.md"
