#!/bin/busybox sh
# shellcheck shell=dash
# The first process of a guest that runs /bin/program once, with the arguments of this script.
PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev 2>/dev/null
for module in /modules/*; do insmod "$module" || echo "no $module"; done
ip link set lo up
if program "$@"; then echo 'VERDICT pass'; else echo "VERDICT fail: $?"; fi
stty -F /dev/console sane # returns when everything is written
poweroff -f
