#!/bin/sh
# Make the environments that the Makefile's targets need: infra/local/bootstrap.sh services|dev|triton|vllm|litellm|peers|helm|uv...
# This script only finds a Python; bootstrap.py does the work.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
for python in ${PYTHON:-} python3.11 python3.12 python3.13 python3; do
  # a name on PATH may be a shim of a version manager that has no such version: ask it
  if "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
    exec "$python" "$here/bootstrap.py" "$@"
  fi
done
echo "headrace: Python 3.11, 3.12 or 3.13 is needed, and none of python3.11, python3.12, python3.13, python3 is one." >&2
echo "Install it (Debian, Ubuntu: apt-get install python3 python3-venv) or name it: make up PYTHON=/path/to/python3" >&2
exit 1
