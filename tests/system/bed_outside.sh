#!/bin/sh
# bed_outside.sh FOLDER PATH...: keeps a bed for as long as its stdin is open, then takes all of it
# away. Runs in a mount namespace of its own, so that what it mounts is gone with it. The Debian
# packages that BED_PACKAGES names lie over what the host has of them.
set -eu
work=$1
mount -t tmpfs -o mode=755 tmpfs "$work"
mkdir "$work/upper" "$work/work" "$work/root" "$work/cgroups"
mount -t overlay overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" "$work/root"
for package in ${BED_PACKAGES:-}; do
    dpkg-deb --fsys-tarfile "$package" | tar -x --keep-directory-symlink -C "$work/root"
done
mount -t cgroup2 none "$work/cgroups"
group=$work/cgroups$(sed -n 's/^0:://p' /proc/self/cgroup)/paddock-bed-$$
mkdir -p "$group"

(
    sh -c "echo \$PPID >'$group/cgroup.procs'"
    exec unshare -p -f --kill-child -C -i -u -n -m --propagation private \
        sh "$(dirname "$0")/bed_inside.sh" "$@"
) </dev/null &
bed=$!
cat >/dev/null
# With PID 1 of the bed all of it ends, and unshare reaps it.
first=$(cat "/proc/$bed/task/$bed/children" 2>/dev/null) || true
# shellcheck disable=SC2086 # one pid, with a blank after it
kill -KILL ${first:-$bed} 2>/dev/null || true
wait "$bed" || true
tries=0
until find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || [ ! -e "$group" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 200 ] || exit 1
    sleep 0.02
done
