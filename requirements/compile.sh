#!/bin/sh
# Write the locks from the .in files and every package's pyproject.toml: hashes, no index address, no package of ours.
#   requirements/compile.sh [uv options, for example --upgrade]
# Where NAME.overrides or NAME.excludes stands beside NAME.in, they change what its packages ask for.
set -eu
cd "$(dirname "$0")/.."
ours=$(sed -n 's/^name = "\(headrace[a-z-]*\)"/--no-emit-package \1/p' libs/*/pyproject.toml services/*/pyproject.toml infra/local/pyproject.toml)
images=$(cd requirements && ls images/*.in | sed 's/\.in$//')
for lock in services dev triton vllm litellm peers presidio search-peers phoenix $images; do
  echo "requirements/$lock.lock"
  changes=
  for kind in overrides excludes; do
    if [ -f "requirements/$lock.$kind" ]; then changes="$changes --$kind requirements/$lock.$kind"; fi
  done
  # no image has pip in it
  case $lock in images/*) changes="$changes --no-emit-package pip" ;; esac
  # shellcheck disable=SC2086
  "${UV:-uv}" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header $ours $changes "$@" \
    "requirements/$lock.in" -o "requirements/$lock.lock"
done
