#!/usr/bin/env bash
# step.sh TITLE COMMAND...: runs one step of a make target with a heading and its time.
set -euo pipefail

title=$1
shift

# Tests hold thousands of sockets; many systems start a shell with 1,024 descriptors.
ulimit -S -n "$(ulimit -H -n)" 2>/dev/null || true

printf '\n==> %s\n' "$title"
started=$SECONDS
status=0
"$@" || status=$?
if ((status == 0)); then
  printf '==> %s: done in %d s\n' "$title" $((SECONDS - started))
else
  printf '==> %s: FAILED (exit %d) after %d s\n' "$title" "$status" $((SECONDS - started)) >&2
fi
exit "$status"
