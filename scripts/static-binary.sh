#!/usr/bin/env bash
# static-binary.sh [FOLDER]: builds the binary of the container image, for musl and linked statically,
# and with FOLDER puts it there as FOLDER/sidestream, after a look at whether it is what it should be.
#
# The Dockerfile runs this, and so does the test that needs no Docker.
set -euo pipefail
cd "$(dirname "$0")/.."

SIZE_MIB_MAX=20

target=$(uname -m)-unknown-linux-musl
cargo build --locked --profile image --package sidestream --bin sidestream --target "$target"
(($#)) || exit 0

binary=$1/sidestream
install -D --mode=0755 "${CARGO_TARGET_DIR:-target}/$target/image/sidestream" "$binary"

fail() { echo "static-binary.sh: $binary $1" >&2; exit 1; }
[[ $(readelf --program-headers --wide "$binary") != *INTERP* ]] || fail "asks for a loader: it is not static"
size_mib=$(($(stat --format=%s "$binary") / 1024 / 1024))
((size_mib < SIZE_MIB_MAX)) || fail "has $size_mib MiB, more than $SIZE_MIB_MAX"
version=$("$binary" --version) || fail "does not run"
[[ $version == "sidestream "* ]] || fail "is something else: $version"
echo "$binary: $version, static, $size_mib MiB"
