#!/usr/bin/env bash
# `make test`: installs what the tests need and runs them all. cargo counts for each test binary;
# the last line here counts for all.
set -eu
. "$(dirname "$0")/env.sh"
need_root
"$top/scripts/setup.sh" test
cd "$top"
cargo build --locked -p berthd
set +e
cargo test --locked --workspace --no-fail-fast 2>&1 | awk '
  { print; fflush() }
  /^test result: / { passed += $4; failed += $6; skipped += $8 }
  END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped }'
exit "${PIPESTATUS[0]}"
