#!/bin/sh
# bed_inside.sh FOLDER PATH...: turns the overlay of / that it finds there into a host, and itself
# into its systemd. Each PATH outside of / (on another file system) or behind a closed folder is made
# to be seen there. Prints the pid, as it is outside, first.
set -eu
read -r pid _ </proc/self/stat
echo "pid $pid"
root=$1/root
shift

mount -t proc proc "$root/proc"
mount --bind -o ro "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
for folder in run tmp dev; do mount -t tmpfs -o mode=755 tmpfs "$root/$folder"; done
chmod 1777 "$root/tmp"
for node in null zero full random urandom tty; do
    touch "$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"

for path in "$@"; do
    # /tmp of the bed is its own: what the tests hand over from there is seen all the same.
    if [ ! -e "$root$path" ] || [ "$(stat -c %d "$path")" != "$(stat -c %d /)" ]; then
        if [ -d "$path" ]; then
            mkdir -p "$root$path"
        else
            mkdir -p "$(dirname "$root$path")"
            touch "$root$path"
        fi
        mount --rbind "$path" "$root$path"
    fi
    until [ "$path" = / ]; do
        path=$(dirname "$path")
        chmod o+x "$root$path"
    done
done

rm -f "$root/etc/fstab" "$root/etc/machine-id"
echo 0123456789abcdef0123456789abcdef >"$root/etc/machine-id"
rm -rf "$root/var/log/journal"
units=$root/etc/systemd/system
mkdir -p "$units" "$root/etc/systemd/journald.conf.d"
printf '[Journal]\nStorage=volatile\nRateLimitBurst=0\n' >"$root/etc/systemd/journald.conf.d/bed.conf"
printf '%s\n' '[Unit]' 'Requires=basic.target systemd-journald.service' \
    'After=basic.target systemd-journald.service' 'AllowIsolate=yes' >"$units/bed.target"
# What would touch the kernel that the bed shares, or is of no use in it.
for unit in systemd-modules-load systemd-sysctl systemd-random-seed systemd-remount-fs \
    systemd-update-utmp systemd-journal-flush systemd-binfmt systemd-timesyncd modprobe@ \
    systemd-udevd systemd-udev-trigger systemd-logind ollama; do
    rm -rf "${units:?}/$unit.service"
    [ "$unit" = ollama ] || ln -s /dev/null "$units/$unit.service"
done
for unit in dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
    sys-fs-fuse-connections.mount sys-kernel-config.mount tmp.mount timers.target paths.target; do
    rm -rf "${units:?}/$unit"
    ln -s /dev/null "$units/$unit"
done

# As a systemd on its own makes it; one in a container counts on whoever made that.
mount --make-rshared "$root"
path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
exec env -i container=bed PATH="$path" TERM=dumb chroot "$root" /lib/systemd/systemd --system \
    --unit=bed.target --show-status=no --log-target=journal
