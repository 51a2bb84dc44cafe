#!/bin/sh
# Checks that this machine can build PVC and run its testbed, and installs the
# Debian packages that are missing. Changes nothing else. Run by make.
#
#   preflight.sh          for everything: tests and linters too
#   preflight.sh --demo   for building and the demonstration
#   preflight.sh --check  for building and the demonstration; installs nothing, needs no root
set -eu

go_wanted=1.26.4
packages="zookeeper libvirt-daemon-system libvirt-clients libvirt-dev \
qemu-system-x86 qemu-utils busybox-static binutils iproute2 nftables dnsmasq-base curl \
ceph-mon ceph-mgr ceph-osd ceph-common librados-dev librbd-dev qemu-block-extra \
gcc libc6-dev pkg-config ca-certificates"
test_packages="python3-kazoo shellcheck openvswitch-switch"

mode=${1:-}
case $mode in
  '') packages="$packages $test_packages" ;;
  --demo | --check) ;;
  *) echo "usage: preflight.sh [--demo | --check]" >&2; exit 2 ;;
esac

problems=''
problem() { problems="$problems  - $1
"; }

# at_least A B: version A is B or newer
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]; }

check_go() {
  if ! command -v go >/dev/null 2>&1; then
    problem "Go is missing: install Go $go_wanted or newer from https://go.dev/dl (Debian's is too old)"
    return
  fi
  # "local": the version that is installed, not one that go would fetch
  version=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) || version=unknown
  at_least "${version#go}" "$go_wanted" ||
    problem "Go is $version: install Go $go_wanted or newer from https://go.dev/dl"
}

check_machine() {
  [ "$mode" = --check ] || [ "$(id -u)" = 0 ] ||
    problem "you are not root: the testbed makes network and process namespaces"
  [ "$(uname -m)" = x86_64 ] || problem "this machine is $(uname -m): the test guests are x86_64"
  command -v dpkg-query >/dev/null 2>&1 || problem "this is no Debian system: Debian 12 or newer is needed"
  for tool in make git; do
    command -v "$tool" >/dev/null 2>&1 || problem "$tool is missing: apt-get install $tool"
  done
}

# missing_packages: those of the list that are not installed
missing_packages() {
  # shellcheck disable=SC2016,SC2086 # dpkg's own variables; a list of names
  installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' $packages 2>/dev/null |
    awk '$2 == "installed" { print $1 }') || :
  for package in $packages; do
    printf '%s\n' "$installed" | grep -qx "$package" || printf '%s ' "$package"
  done
}

install() {
  echo "preflight: installing $1"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q
  # shellcheck disable=SC2086 # a list of names
  apt-get install -y -q --no-install-recommends $1
}

check_machine
check_go
if [ -n "$problems" ]; then
  printf 'preflight: this machine cannot run the demo yet:\n%s' "$problems" >&2
  exit 1
fi
missing=$(missing_packages)
if [ -z "$missing" ]; then
  [ "$mode" = --check ] || echo 'preflight: everything that is needed is installed'
elif [ "$mode" = --check ]; then
  echo "preflight: missing Debian packages: $missing" >&2
  exit 1
else
  install "$missing"
fi
