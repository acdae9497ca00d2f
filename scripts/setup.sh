#!/usr/bin/env bash
# Installs, with apt-get, what is missing for one purpose, and says nothing when nothing is:
#   setup.sh build|run|test|bench
# Packages that bring a service do not get to start it: see `quietly` below.
set -eu
. "$(dirname "$0")/env.sh"

rust_wanted=1.88
missing=()  # packages to install
unpacked=() # packages to unpack beside the system

have() { command -v "$1" >/dev/null 2>&1; }
# want PACKAGE CONDITION... : the package goes on the list unless the condition holds
want() { local package=$1; shift; "$@" || missing+=("$package"); }

is_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
static_busybox() {
  local path
  path=$(command -v busybox) && ! ldd "$path" >/dev/null 2>&1
}

docker_py() { /usr/bin/python3 -c 'import docker' 2>/dev/null; }
docker_init() { have docker-init || have tini-static; }

# Debian 13 has the CLI by itself; before that it comes with the daemon.
docker_cli_package() {
  if [ -n "$(apt-cache --quiet=0 policy docker-cli 2>/dev/null | sed -n 's/^  Candidate: \([^(]*\).*/\1/p')" ]; then
    echo docker-cli
  else
    echo docker.io
  fi
}

for_build() {
  want gcc have cc
  want libc6-dev test -e /usr/include/stdio.h
  want protobuf-compiler have protoc
  want libprotobuf-dev test -e /usr/include/google/protobuf/empty.proto
}

for_run() {
  want containerd have containerd
  want runc have runc
  want nftables have nft
  want iproute2 have ip
  want tini docker_init # for `docker run --init`
  want procps have ps
  want busybox-static static_busybox
  have docker || docker_cli_wanted=yes
}

for_test() {
  want docker-registry have docker-registry
  want skopeo have skopeo
  want curl have curl
  want openssl have openssl
  want xz-utils have xz
  want zstd have zstd
  want python3-docker docker_py
  for_others
}

for_bench() {
  want python3 have python3
  want docker-registry have docker-registry
  for_others
}

# Debian's dockerd and podman, and the programs that they use. Libraries: see fetch_packages.
for_others() {
  want tini test -x /usr/bin/tini-static
  want iptables have iptables
  want conmon have conmon
  want containernetworking-plugins test -x /usr/lib/cni/bridge
  want golang-github-containers-common test -e /usr/share/containers/containers.conf
  [ -x "$dockerd" ] || unpacked+=(docker.io)
  [ -x "$podman" ] || unpacked+=(podman)
}

# Debian starts and enables the service of every package that it installs. A second containerd or
# dockerd on the machine is none of our business: refuse the start while we install, and take
# back the enabling of what was not there before.
quietly() {
  local policy=/usr/sbin/policy-rc.d kept=
  if [ -e $policy ]; then kept=$policy.before-berth; mv $policy $kept; fi
  # shellcheck disable=SC2064
  trap "rm -f $policy; [ -z '$kept' ] || mv '$kept' $policy" EXIT
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod 755 $policy
  local status=0
  "$@" || status=$?
  rm -f $policy
  [ -z "$kept" ] || mv "$kept" $policy
  trap - EXIT
  return $status
}

install_packages() {
  need_root
  have apt-get || die "missing here: ${missing[*]} (only Debian's apt-get is known to this script)"
  say "setup: installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  local log new=() unit
  for unit in containerd.service docker.service docker.socket docker-registry.service; do
    [ -e "/lib/systemd/system/$unit" ] || new+=("$unit")
  done
  log=$(mktemp)
  if ! quietly apt-get install -y --no-install-recommends "${missing[@]}" >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    die "apt-get could not install: ${missing[*]}"
  fi
  rm -f "$log"
  for unit in "${new[@]}"; do
    [ ! -e "/lib/systemd/system/$unit" ] || systemctl disable --quiet "$unit" 2>/dev/null || true
  done
}

# Downloads and unpacks them beside their places, and has the libraries that they need installed.
fetch_packages() {
  local package fresh library
  have apt-get || die "missing here: ${unpacked[*]} (only Debian's apt-get is known to this script)"
  say "setup: unpacking Debian's ${unpacked[*]} into $others"
  mkdir -p "$others"
  for package in "${unpacked[@]}"; do
    fresh=$others/.$package.new
    rm -rf "$fresh"
    mkdir "$fresh"
    (cd "$fresh" && apt-get download "$package" && dpkg -x "$package"_*.deb root) >"$fresh/log" 2>&1 || {
      tail -n 20 "$fresh/log" >&2
      die "apt-get could not download $package"
    }
    for library in $(dpkg-deb -f "$fresh/$package"_*.deb Depends | tr , '\n' | sed -n 's/^ *\(lib[^ ]*\).*/\1/p'); do
      want "$library" is_installed "$library"
    done
  done
}

# What is in its place is whole, and so are its libraries.
place_packages() {
  local package
  for package in "${unpacked[@]}"; do
    rm -rf "${others:?}/$package"
    mv -T "$others/.$package.new/root" "$others/$package"
    rm -rf "$others/.$package.new"
  done
}

rust_version() { cargo --version 2>/dev/null | sed -n 's/^cargo \([0-9]*\.[0-9]*\).*/\1/p'; }
rust_is_new_enough() {
  local found
  found=$(rust_version)
  [ -n "$found" ] && printf '%s\n%s\n' "$rust_wanted" "$found" | sort -C -V
}

install_rust() {
  local script status=0
  say "setup: no Rust $rust_wanted or newer here ($(rust_version || true)); asking rustup for the stable one"
  if have rustup; then
    rustup toolchain install stable --profile minimal -c rustfmt -c clippy >&2 && rustup default stable >&2 || status=$?
  else
    script=$(mktemp)
    { curl --proto '=https' --tlsv1.2 --connect-timeout 20 --max-time 120 -sSf -o "$script" https://sh.rustup.rs &&
      sh "$script" -y --no-modify-path --profile minimal -c rustfmt -c clippy >&2; } || status=$?
    rm -f "$script"
  fi
  hash -r
  [ $status = 0 ] && rust_is_new_enough ||
    die "no Rust $rust_wanted or newer, and rustup could not install it: install it by hand (https://rustup.rs) and come again"
}

docker_cli_wanted=
case ${1:-} in
build) for_build ;;
run) for_build; for_run ;;
test) for_build; for_run; for_test ;;
bench) for_build; for_run; for_bench ;;
*) die "usage: setup.sh build|run|test|bench" ;;
esac
rust_is_new_enough || have rustup || want curl have curl
if [ ${#missing[@]} -gt 0 ] || [ ${#unpacked[@]} -gt 0 ] || [ -n "$docker_cli_wanted" ]; then
  need_root
  # What the machine knows of its packages may be older than what the mirror still has.
  apt-get update -qq >/dev/null 2>&1 || say "setup: apt-get update failed; going on with what is known"
  [ -z "$docker_cli_wanted" ] || missing+=("$(docker_cli_package)")
  [ ${#unpacked[@]} = 0 ] || fetch_packages
  [ ${#missing[@]} = 0 ] || install_packages
  place_packages
fi
rust_is_new_enough || install_rust
