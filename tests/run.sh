#!/usr/bin/env bash
# The one test command. Installs what is missing, builds, and runs everything: format, lints, every test.
#   tests/run.sh            all of it
#   tests/run.sh NAME...    only tests whose name contains one of these
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$*"; }

. tests/install.sh
install_missing

export RUST_BACKTRACE=1 CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}"

if [ "$#" -gt 0 ]; then
  cargo build --release --locked
  exec tests/stack engines -- bash -c 'for name; do cargo test --workspace --locked -- "$name" || exit; done' names "$@"
fi

say "format"
cargo fmt --all --check
say "lints"
cargo clippy --workspace --all-targets --locked -- -D warnings
say "release build"
cargo build --release --locked
say "instructions"
status=0
bench/instructions || status=$?
say "tests"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
tests/stack engines -- cargo test --workspace --locked --no-fail-fast 2>&1 | tee "$log" || status=$?
# Every test binary has a line of its own; this one counts them all.
awk '/^test result: /{passed += $4; failed += $6} END {printf "\ntotal: %d passed, %d failed\n", passed, failed}' "$log"
exit "$status"
