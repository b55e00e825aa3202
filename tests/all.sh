#!/usr/bin/env bash
# Runs every layer of tests, whatever the others come to, and lists those that failed: `make test`.
# What the tests on hosts need is downloaded and built while the first layers run.
set -uo pipefail
cd "$(dirname "$0")/.."

failed=()
finished() { [ "$1" = 0 ] || failed+=("$2"); }

make machine || exit
logs=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$logs"' EXIT
trap 'exit 130' INT TERM

make --no-print-directory images requisites >"$logs/prepared" 2>&1 &
preparing=$!
make setup || exit
make --no-print-directory sslyze ansible >"$logs/sslyze" 2>&1 &
fetching=$!
make --no-print-directory lint >"$logs/lint" 2>&1 &
linting=$!
make --no-print-directory unit
finished $? unit
wait $linting
finished $? lint
cat "$logs/lint"
wait $preparing $fetching # what went wrong there goes wrong again, and is shown, in the next line
make --no-print-directory hosts
finished $? hosts

[ ${#failed[@]} = 0 ] && exit
echo "make test: failed: ${failed[*]}" >&2
exit 1
