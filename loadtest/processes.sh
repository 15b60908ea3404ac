# Programs under test, for both run.sh: built, started, waited for, and ended. Who sources this sets
# root, and calls stop_all at its end.
# shellcheck shell=bash disable=SC2154

# Process ids of what was started and not yet ended.
started=()

# Many systems start a shell with 1,024 descriptors.
ulimit -S -n "$(ulimit -H -n)" 2>/dev/null || true

fail() {
  printf 'run.sh: %s\n' "$1" >&2
  exit 2
}

# Builds the package $1 and prints where its program is.
build() {
  cargo build --release --quiet --manifest-path "$root/Cargo.toml" -p "$1" --bins >&2 ||
    fail "cannot build $1"
  printf '%s/release/%s\n' "${CARGO_TARGET_DIR:-$root/target}" "$1"
}

is_open() {
  (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Waits until process $1 (called $2) listens on port $3; its output is in the file $4.
wait_open() {
  local _
  for _ in {1..100}; do
    kill -0 "$1" 2>/dev/null || fail "$2 ended: $(tail -n 5 "$4")"
    is_open "$3" && return
    sleep 0.1
  done
  fail "$2 does not listen on port $3 after 10 s: $(tail -n 5 "$4")"
}

# Ends what was started, and waits for it.
stop_all() {
  local pid
  for pid in ${started[@]+"${started[@]}"}; do
    kill "$pid" 2>/dev/null || true
  done
  for pid in ${started[@]+"${started[@]}"}; do
    local _
    # A drain ends by itself; nobody is connected any more, so it is short.
    for _ in {1..50}; do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null || true
  done
  started=()
}
