#!/bin/busybox sh
# shellcheck shell=dash
# Called by udhcpc with what the server gave in the environment.
PATH=/bin
# shellcheck disable=SC2154 # interface, ip, mask and router come from udhcpc
case $1 in
  bound | renew)
    ip addr flush dev "$interface"
    ip addr add "$ip/${mask:-24}" dev "$interface"
    [ -z "$router" ] || ip route replace default via "${router%% *}"
    echo "$ip" > /tmp/address
    ;;
esac
