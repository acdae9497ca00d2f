#!/usr/bin/env bash
# `make lint`: formatting, clippy, the shell scripts, and licences and advisories with cargo-deny.
# Of the checkers, shellcheck and cargo-deny are used where they are installed.
set -eu
. "$(dirname "$0")/env.sh"
"$top/scripts/setup.sh" build
cd "$top"

cargo fmt --all --check
cargo clippy --locked --workspace --all-targets -- -D warnings

mapfile -t scripts < <(git ls-files --cached --others --exclude-standard -- '*.sh' .ci/run)
for script in "${scripts[@]}"; do bash -n "$script"; done
if command -v shellcheck >/dev/null 2>&1; then
  shellcheck --severity=warning --shell=bash --external-sources --source-path=SCRIPTDIR "${scripts[@]}"
else
  echo "lint: no shellcheck here: ${#scripts[@]} shell scripts were only parsed"
fi
if cargo deny --version >/dev/null 2>&1; then
  cargo deny --locked check
else
  echo "lint: no cargo-deny here: licences and advisories were not checked"
fi
