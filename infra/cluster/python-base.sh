#!/bin/sh
# Make an image that builds and runs as python:3.11-slim does, from the Debian packages that this machine can reach.
#   python-base.sh REFERENCE
# What differs: Debian's patch release of 3.11, packages in dist-packages (site-packages is a link), no package sources.
set -eu
reference=$1
sources=$(find /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null | head -1)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mmdebstrap --quiet --variant=minbase --include=python3,python3-pip,python3-venv,ca-certificates,libgomp1 \
  --aptopt='Acquire::Check-Valid-Until "false"' --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --customize-hook='rm -f "$1"/usr/lib/python3.11/EXTERNALLY-MANAGED' \
  --customize-hook='cd "$1"/usr/local/bin && ln -s /usr/bin/python3 python && ln -s /usr/bin/python3 python3 && ln -s /usr/bin/pip3 pip' \
  --customize-hook='cd "$1"/usr/local/lib && mkdir -p python3.11/dist-packages && ln -s dist-packages python3.11/site-packages' \
  --customize-hook='rm -f "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/* "$1"/etc/resolv.conf "$1"/etc/hostname' \
  --customize-hook='rm -rf "$1"/var/cache/apt "$1"/var/lib/apt/lists' \
  --customize-hook='mkdir -p "$1"/var/cache/apt/archives/partial "$1"/var/lib/apt/lists/partial' \
  bookworm "$folder/root.tar" "$sources"
container=$(buildah from scratch)
buildah add --quiet "$container" "$folder/root.tar" / > /dev/null
buildah config --env PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin --env LANG=C.UTF-8 --cmd python3 "$container"
buildah commit --quiet --rm "$container" "$reference" > /dev/null
