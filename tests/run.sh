#!/usr/bin/env bash
# The one test command. Installs what is missing, builds, and runs everything: format, lints, every test.
#   tests/run.sh            all of it
#   tests/run.sh NAME...    only tests whose name contains one of these
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$*"; }

# Debian packages that the tests use, by the command that shows they are there.
need() {
  command -v "$1" >/dev/null 2>&1 || missing+=("$2")
}
missing=()
need cc gcc
need git git
need strace strace
need sqlite3 sqlite3
need python3 python3
if [ "${#missing[@]}" -gt 0 ]; then
  say "installing ${missing[*]}"
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "tests/run.sh: install these first: ${missing[*]}" >&2
    exit 2
  fi
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y "${missing[@]}"
fi
command -v cargo >/dev/null 2>&1 || { echo "tests/run.sh: install Rust 1.95 or newer first" >&2; exit 2; }

export RUST_BACKTRACE=1 CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}"

if [ "$#" -gt 0 ]; then
  cargo build --release --locked
  for name in "$@"; do
    cargo test --workspace --locked -- "$name"
  done
  exit
fi

say "format"
cargo fmt --all --check
say "lints"
cargo clippy --workspace --all-targets --locked -- -D warnings
say "release build"
cargo build --release --locked
say "tests"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
cargo test --workspace --locked 2>&1 | tee "$log"
# Every test binary has a line of its own; this one counts them all.
awk '/^test result: /{passed += $4; failed += $6} END {printf "\ntotal: %d passed, %d failed\n", passed, failed}' "$log"
