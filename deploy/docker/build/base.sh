#!/usr/bin/env bash
# In a build: make the base image ready: a user, and the standard library's byte code: base.sh
#
# The user is a number, because Kubernetes can only tell from a number that it is not root. The
# public image comes without byte code, and the running container could not write any.
set -euo pipefail

printf 'fedrisk:x:10001:10001::/var/lib/fedrisk:/usr/sbin/nologin\n' >>/etc/passwd
printf 'fedrisk:x:10001:\n' >>/etc/group
install --directory --owner 10001 --group 10001 --mode 0750 /var/lib/fedrisk

library=$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
python -m compileall -q -j 0 --invalidation-mode timestamp \
  -x '/(site-packages|dist-packages|test|tests|idlelib|lib2to3|tkinter|turtledemo|ensurepip)/' "$library"
