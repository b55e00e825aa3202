#!/usr/bin/env bash
# Shows the whole of deployer on a disposable host: a real Debian with systemd and sshd, and the real
# GoAccess behind nginx. Everything that it makes is gone when it ends. `make demo` prepares and starts it.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
lab=demo-$$
bold=$(tput bold 2>/dev/null || true)
plain=$(tput sgr0 2>/dev/null || true)
[ -n "${NO_COLOR:-}" ] || [ ! -t 1 ] && bold='' plain=''

cleanup() {
    deployer lab down --name "$lab" >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

title() { printf '\n%s── %s%s\n' "$bold" "$1" "$plain"; }
run() {
    printf '%s$ %s%s\n' "$bold" "$*" "$plain"
    "$@"
}
expect_exit() {
    local wanted=$1 code=0
    shift
    run "$@" || code=$?
    printf '%sexit code %s%s\n' "$bold" "$code" "$plain"
    [ "$code" = "$wanted" ] || { echo "demo: expected exit code $wanted" >&2; exit 1; }
}

cd "$work"
title "A disposable host, and a project of two files"
run deployer lab up 1 --name "$lab" --inventory inventory.lab.yml
run deployer init goaccess
mv inventory.lab.yml inventory.yml
host=$(deployer lab status --json | python "$here/first_host.py" "$lab")

title "1. plan: the dry run on the bare host"
expect_exit 2 deployer plan site.yml --detailed-exitcode

title "2. apply: install, configure, verify with real handshakes, confirm"
run deployer apply site.yml --yes --no-diff

title "   and the service works, not only its handshake: a line in the log arrives in a WebSocket client"
run python "$here/log_line_arrives.py" --host "$host" --ca .deployer/ca/root.pem

title "3. apply again: nothing to do"
time run deployer apply site.yml --yes

title "4. a change that breaks the route: the handshake fails, the host goes back"
run sed -i 's/127.0.0.1:{{ report_port }}/127.0.0.1:7999/' site.yml
expect_exit 3 deployer apply site.yml --yes

title "   and the old service still answers a handshake"
run python "$here/log_line_arrives.py" --host "$host" --ca .deployer/ca/root.pem

title "5. verify and history"
run sed -i 's/127.0.0.1:7999/127.0.0.1:{{ report_port }}/' site.yml
run deployer verify site.yml
run deployer history site.yml
