#!/bin/busybox sh
# shellcheck shell=dash
# Called by udhcpc with what the server gave in the environment.
PATH=/bin
# shellcheck disable=SC2154 # these variables come from udhcpc
case $1 in
  bound | renew)
    ip -4 addr flush dev "$interface" # those of IPv6 come from elsewhere
    ip addr add "$ip/${mask:-24}" dev "$interface"
    [ -z "$mtu" ] || ip link set "$interface" mtu "$mtu"
    [ -z "$router" ] || ip route replace default via "${router%% *}"
    for server in $dns; do echo "nameserver $server"; done > /etc/resolv.conf
    [ -z "$domain" ] || echo "search $domain" >> /etc/resolv.conf
    echo "$ip" > /tmp/address
    ;;
esac
