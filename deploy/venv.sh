#!/usr/bin/env bash
# Make the Python environment from the lock file: venv.sh PYTHON FOLDER
# Every package must have one of the hashes in requirements.lock; nothing else comes in.
set -euo pipefail
python=$1 folder=$2

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "Ketenmail needs Python 3.11 or newer: run make PYTHON=/path/to/python3.11" >&2
  exit 1
fi

# Debian ships venv and pip in a package of their own.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  if [ "$(id -u)" -ne 0 ]; then
    echo "Python has no venv module: install python3-venv, then run make again" >&2
    exit 1
  fi
  apt-get update
  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3-venv
fi

if [ ! -x "$folder/bin/python" ]; then
  "$python" -m venv "$folder"
fi
pip=("$folder/bin/python" -m pip --disable-pip-version-check --quiet)
"${pip[@]}" install --require-hashes --only-binary :all: -r requirements.lock
"${pip[@]}" install --no-deps --no-build-isolation -e .
