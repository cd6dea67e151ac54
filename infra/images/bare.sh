#!/bin/sh
# Take from a Python base image what neither Python nor our services use at run time: package managers, perl, accounts,
# tools for disks, translations. Their records go from dpkg's list as well, so that the list of contents stays true.
set -eu
gone='apt|libapt-pkg.*|adduser|gpgv|debian-archive-keyring|libgnutls30.*|libunistring.*|libp11-kit0|libgcrypt20|libgpg-error0
|libhogweed.*|libnettle.*|libtasn1-6|libidn2-0|libgmp10.*|libseccomp2|libsystemd0|libudev1|libapparmor1
|perl|perl-base|perl-modules-.*|libperl.*|libgdbm.*|libdb5.3.*|libnsl2|libtirpc.*|libgssapi-krb5-2|libkrb5.*|libk5crypto3|libkeyutils1|libcom-err2.*
|passwd|login.*|libpam.*|libaudit.*|libcap-ng0|libsemanage.*|libsepol2|debconf|sysvinit-utils|init-system-helpers
|util-linux.*|mount|libmount1.*|libblkid1.*|libsmartcols1.*|fdisk|libfdisk1.*|e2fsprogs|logsave|libext2fs2.*|libss2.*
|diffutils|tar|gzip|hostname|openssl.*|netbase|bsdutils|ncurses-bin|mailcap|mime-support|tzdata-legacy
|python3-pip.*|python3-setuptools.*|python3-wheel.*|python3-pkg-resources|python3-distutils|python3-lib2to3|python3.*-venv'
gone=$(echo "$gone" | tr -d '\n')
for package in $(dpkg-query -W -f '${Package}\n' | grep -xE "$gone"); do
  dpkg -L "$package" | while read -r path; do
    # folders are shared, and some are links
    if [ ! -d "$path" ]; then rm -f "$path"; fi
  done
  rm -f "/var/lib/dpkg/info/$package".* "/var/lib/dpkg/info/$package":*
  awk -v package="$package" 'BEGIN { RS = ""; ORS = "\n\n" } $2 != package' /var/lib/dpkg/status > /var/lib/dpkg/status.new
  mv /var/lib/dpkg/status.new /var/lib/dpkg/status
done
for library in /usr/local/lib/python3.11 /usr/lib/python3.11; do
  rm -rf "$library/ensurepip" "$library/idlelib" "$library/lib2to3" "$library/pydoc_data" "$library/test" "$library/tkinter" \
    "$library/turtledemo" "$library"/config-3.11-* "$library"/site-packages/pip* "$library"/site-packages/setuptools* \
    "$library"/site-packages/wheel* "$library"/dist-packages/pip* "$library"/dist-packages/setuptools*
done
rm -rf /usr/local/bin/pip* /usr/local/bin/wheel /usr/local/include /usr/lib/python3/dist-packages/pip* \
  /usr/lib/*/gconv /usr/lib/*/perl* /usr/share/perl* /usr/share/doc /usr/share/man /usr/share/info /usr/share/locale \
  /usr/share/zoneinfo/right /usr/share/zoneinfo/posix /usr/share/python-wheels /usr/share/i18n /usr/share/bash-completion \
  /var/cache/apt /var/cache/debconf /var/lib/apt /var/lib/dpkg/*-old /var/log/* ~/.cache /tmp/*
# the user that everything runs as
mkdir -p /etc/headrace /var/lib/headrace /var/cache/headrace
chown 10001:10001 /var/lib/headrace /var/cache/headrace
echo 'headrace:x:10001:10001:headrace:/tmp:/usr/sbin/nologin' >> /etc/passwd
echo 'headrace:x:10001:' >> /etc/group
