#!/usr/bin/env bash
# `make test`: installs what the tests need, builds, and runs them all. cargo counts for each test
# binary; the last line here counts for all.
#   TEST_MINUTES=40   when the tests, once built, are ended as hanging
#   TEST_THREADS=N    how many of a binary's tests run at once; see below
set -eu
. "$(dirname "$0")/env.sh"
need_root
"$top/scripts/setup.sh" test
cd "$top"
cargo build --locked -p berthd
cargo test --locked --workspace --no-run --quiet

# Without it each test binary would ask cargo for the daemon, and wait for cargo's lock.
export BERTHD=${BERTHD:-$target/debug/berthd}
# The binaries run one after the other. Within one, tests of containers mostly wait, for a runc or
# for each other's disk writes; still, more of them at once than cores makes time limits fail.
export RUST_TEST_THREADS=${TEST_THREADS:-$(nproc)}

# What a test starts ends with the test's process, so ending those is enough. `timeout` makes a
# process group of them all, so a Ctrl-C is passed on by hand.
exec {count}> >(trap '' INT; exec awk '
  { print; fflush() }
  /^test result: / { passed += $4; failed += $6; skipped += $8 }
  END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped }')
counter=$!
timeout --kill-after=30 "${TEST_MINUTES:-40}m" cargo test --locked --workspace --no-fail-fast >&"$count" 2>&1 {count}>&- &
tests=$!
exec {count}>&-
trap 'kill "$tests"' HUP INT TERM
status=0
wait "$tests" || status=$?
trap - HUP INT TERM
wait "$counter" || true
[ "$status" != 124 ] || say "the tests were still running after ${TEST_MINUTES:-40} minutes and were ended"
exit "$status"
