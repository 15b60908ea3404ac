#!/usr/bin/env bash
# ensure.sh build|pod|real|browser|static|k8s: makes sure that the system packages a target needs are there.
#
# Each is checked by running it, so that an install of any origin counts. What is missing comes from
# apt-get, through sudo where we are not root; what is still missing then is an error, never a skip.
set -euo pipefail

# What the `engines` of the npm packages ask for; Debian has it from 13 on.
NODE_VERSION_MIN='20.0.0'
PYTHON_VERSION_MIN='3.10'
MUSL_TARGET=$(uname -m)-unknown-linux-musl

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

has_rust() { cargo --version && cargo fmt --version && cargo clippy --version; }
has_cargo() { cargo --version; }
has_musl() { musl-gcc --version; }
has_rust_musl() { echo 'fn main() {}' | rustc --target "$MUSL_TARGET" --emit metadata -o "$scratch/main" -; }
has_authorities() { [[ -s /etc/ssl/certs/ca-certificates.crt ]]; }
has_ip() { ip -V; }
has_unshare() { unshare --version && setpriv --version && nsenter --version; }
has_cmake() { cmake --version; }
has_cc() { printf 'int main(void) { return 0; }\n' | cc -x c -o "$scratch/a.out" - && "$scratch/a.out"; }
has_curl() { curl --version | grep -w HTTP2; }
has_openssl() { openssl version; }
has_nghttp() { nghttp --version; }
has_npm() { npm --version; }
has_nginx() { PATH=$PATH:/usr/sbin nginx -v; }
has_chromium() { "$(dirname "$0")/find-chromium.sh"; }
has_node() {
  local version
  version=$(node --version) || return 1
  [[ $(printf '%s\n' "$NODE_VERSION_MIN" "${version#v}" | sort -V | head -n 1) == "$NODE_VERSION_MIN" ]]
}
has_python() { PYTHON_VERSION_MIN=$PYTHON_VERSION_MIN "$(dirname "$0")/find-python.sh"; }

# The names of what a target needs, and the Debian packages that bring each.
case ${1:?build, pod, real, browser, static or k8s} in
  build) needs=(rust cmake cc) ;;
  pod) needs=(ip unshare node) ;;
  real) needs=(curl openssl nginx nghttp node npm python) ;;
  browser) needs=(node npm chromium) ;;
  static) needs=(cargo cmake cc musl rust_musl authorities) ;;
  k8s) needs=(python ip unshare) ;;
  *) echo "ensure.sh: unknown group $1" >&2; exit 2 ;;
esac
packages_of() {
  case $1 in
    cmake) echo cmake make ;;
    ip) echo iproute2 ;;
    unshare) echo util-linux ;;
    cc) echo gcc libc6-dev ;;
    node) echo nodejs ;;
    python) echo python3 python3-venv ;;
    nghttp) echo nghttp2-client ;;
    musl) echo musl-tools ;;
    authorities) echo ca-certificates ;;
    *) echo "$1" ;;
  esac
}

missing() {
  local need
  for need in "${needs[@]}"; do
    "has_$need" >/dev/null 2>&1 || echo "$need"
  done
}

mapfile -t wanted < <(missing)
((${#wanted[@]})) || exit 0
if [[ " ${wanted[*]} " =~ " rust "|" cargo " ]]; then
  echo "cargo, rustfmt or clippy is missing: install Rust with rustup (https://rustup.rs)" >&2
  exit 1
fi
if [[ " ${wanted[*]} " == *" rust_musl "* ]]; then
  # Not a package of the system: it comes from where Rust itself came from.
  echo "missing: Rust's standard library for static binaries; installing with rustup: $MUSL_TARGET"
  rustup --quiet target add "$MUSL_TARGET"
  mapfile -t wanted < <(missing)
  ((${#wanted[@]})) || exit 0
fi

packages=()
for need in "${wanted[@]}"; do
  read -ra names <<<"$(packages_of "$need")"
  packages+=("${names[@]}")
done
if ! command -v apt-get >/dev/null; then
  echo "missing: ${wanted[*]}; there is no apt-get here, install them yourself" >&2
  exit 1
fi
as_root=()
((EUID == 0)) || as_root=(sudo)
echo "missing: ${wanted[*]}; installing with apt-get: ${packages[*]}"
apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@"; }
apt update
apt install --yes --no-install-recommends "${packages[@]}" >"$scratch/apt.log" 2>&1 || {
  cat "$scratch/apt.log" >&2
  echo "apt-get could not install: ${packages[*]}" >&2
  exit 1
}

mapfile -t wanted < <(missing)
if ((${#wanted[@]})); then
  echo "installed ${packages[*]}, but still not usable: ${wanted[*]}" >&2
  echo "wanted: node >= $NODE_VERSION_MIN, python >= $PYTHON_VERSION_MIN with venv, curl with HTTP/2" >&2
  echo "where apt-get brings an older node (Debian 12 does), take one from https://nodejs.org" >&2
  exit 1
fi
