#!/bin/busybox sh
# shellcheck shell=dash
# The first process of the Linux guest. Words on the kernel command line:
#   seq=MS  write a sequence every MS milliseconds   hb=S  heartbeat every S seconds (default 1)
#   ip=A/L  static address on eth0                   noacpi  ignore the power button
#   host=N  host name told to the DHCP server        ping=A  ping an address once a second
#   sizes   tell the size of the disk when it changes, in sectors of 512 bytes
# Lines on the console: poweroff, reboot, panic, or any command of busybox.
PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev 2>/dev/null
for module in /modules/*; do insmod "$module"; done

hb=1 seq='' ip='' acpi=1 host='' peer='' sizes=0
read -r line < /proc/cmdline
for word in $line; do
  case $word in
    hb=*) hb=${word#*=} ;;
    seq=*) seq=${word#*=} ;;
    ip=*) ip=${word#*=} ;;
    host=*) host=${word#*=} ;;
    ping=*) peer=${word#*=} ;;
    noacpi) acpi=0 ;;
    sizes) sizes=1 ;;
  esac
done

halt() { echo "$1"; sync; poweroff -f; }

network() {
  [ -d /sys/class/net/eth0 ] || return 0
  ip link set eth0 up
  if [ -n "$ip" ]; then
    ip addr add "$ip" dev eth0
  else
    udhcpc -i eth0 -s /dhcp.sh ${host:+-x "hostname:$host"} -O mtu -O search -t 40 -T 1 -A 2 -S >/dev/null 2>&1 &
  fi
}

answers() {
  while sleep 1; do
    if ping -c 1 -W 1 "$peer" >/dev/null 2>&1; then echo "PING $peer answers"; else echo "PING $peer is silent"; fi
  done
}

disk_size() {
  size=''
  while sleep 1; do
    read -r now < /sys/block/vda/size
    [ "$now" = "$size" ] || echo "DISK vda $now"
    size=$now
  done
}

# The power button is an input device: the first event of 24 bytes is a press.
button() {
  for input in /sys/class/input/event*; do
    read -r name < "$input/device/name"
    [ "$name" = 'Power Button' ] || continue
    { dd if="/dev/input/${input##*/}" of=/dev/null bs=24 count=1 2>/dev/null
      halt 'power button: powering off'; } &
  done
}

console() {
  while read -r line; do
    case $line in
      '') ;;
      poweroff) halt 'console: powering off' ;;
      reboot) reboot -f ;;
      panic) echo c > /proc/sysrq-trigger ;;
      *) sh -c "$line" 2>&1; echo "RC $?" ;;
    esac
  done
}

ip link set lo up
network
[ -z "$peer" ] || answers &
[ $sizes = 0 ] || disk_size &
[ $acpi = 0 ] || button
console < /dev/console &
read -r boot < /proc/sys/kernel/random/boot_id
read -r up _ < /proc/uptime
echo "BOOT $boot"
echo "READY up=$up"
# Not with exec: it fails when the disk goes at power off, and the kernel panics
# when its first process ends.
[ -z "$seq" ] || /bin/seq "$seq"
n=0
while :; do
  n=$((n + 1)) address=-
  read -r up _ < /proc/uptime
  [ ! -f /tmp/address ] || read -r address < /tmp/address
  echo "HB $n up=$up ip=$address"
  sleep "$hb"
done
