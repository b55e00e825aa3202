#!/usr/bin/env bash
# Makes a machine ready to boot rehearsal hosts, or says in one line what it lacks.
# Arguments: further commands that are needed, each in the Debian package of its name or as COMMAND=PACKAGE.
set -euo pipefail

say() { echo "deployer: $*" >&2; exit 1; }

[ "$(uname -s)" = Linux ] || say "rehearsal hosts need Linux; this is $(uname -s)."
[ "$(id -u)" = 0 ] || say "rehearsal hosts need root: they are booted by systemd-nspawn. Try: sudo make …"
[ -d /sys/fs/cgroup ] || say "rehearsal hosts need control groups, and /sys/fs/cgroup is not there."

missing=()
need() { command -v "$1" >/dev/null 2>&1 || missing+=("$2"); }
need systemd-nspawn systemd-container
need mmdebstrap mmdebstrap
need ip iproute2
need ssh openssh-client
need nsenter util-linux
for command in "$@"; do need "${command%=*}" "${command#*=}"; done
[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing+=(debian-archive-keyring)
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
[ ${#missing[@]} = 0 ] && exit 0

command -v apt-get >/dev/null 2>&1 || say "rehearsal hosts need: ${missing[*]}"
echo "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# Services that come along (nginx, for its configuration test) are not to start here.
had_policy=$(test -e /usr/sbin/policy-rc.d && echo yes || true)
[ -n "$had_policy" ] || { printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d; }
trap '[ -n "$had_policy" ] || rm -f /usr/sbin/policy-rc.d' EXIT
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
