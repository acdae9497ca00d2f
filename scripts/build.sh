#!/usr/bin/env bash
# Builds the release berthd and prints its path. BERTHD=FILE names one that is built already.
# --locked: a build that would change Cargo.lock is a mistake.
set -eu
. "$(dirname "$0")/env.sh"
if [ -z "${BERTHD:-}" ]; then
  "$top/scripts/setup.sh" build
  say "building berthd (release) ..."
  # For `berthd --version`; a tree without git's history builds all the same.
  if commit=$(git -C "$top" rev-parse --short HEAD 2>/dev/null); then export BERTH_COMMIT=$commit; fi
  (cd "$top" && cargo build --locked --release --quiet -p berthd)
fi
echo "${BERTHD:-$target/release/berthd}"
