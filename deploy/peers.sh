#!/usr/bin/env bash
# Install the Debian packages of the real peers that the tests need: peers.sh PYTHON
# Only tests need them; a gateway in use does not. Their services are not started.
set -euo pipefail
python=$1

# Peers that cannot stand beside Postfix are only unpacked, in .venv/peers.
unpack() {
  command -v apt-get >/dev/null || return 0
  "$python" -m tests.peers.unpacked || {
    echo "These peers could not be fetched: see above; tests with them will fail" >&2
    [ "${CI:-}" != true ]
  }
}

missing=$("$python" -m tests.peers.presence)
if [ -z "$missing" ]; then
  unpack
  exit
fi

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "To run all tests, install: $missing (as root on Debian: make peers)" >&2
  [ "${CI:-}" = true ] && exit 1
  exit 0
fi

# invoke-rc.d asks this file whether a service may start; 101 is "no".
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install -y --no-install-recommends debconf
echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections
# shellcheck disable=SC2086  # a list of words
apt-get install -y --no-install-recommends $missing

# Nor at the next start of a developer's machine.
if [ -d /run/systemd/system ]; then
  for service in postfix nsd unbound clamav-daemon clamav-freshclam; do
    case " $missing " in *" $service "*) systemctl disable --quiet "$service" ;; esac
  done
fi

left=$("$python" -m tests.peers.presence)
if [ -n "$left" ]; then
  echo "These packages did not bring what the tests need: $left" >&2
  exit 1
fi
unpack
