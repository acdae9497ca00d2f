# Sourced by every script here: where things are, and a PATH that finds cargo.
# shellcheck shell=bash

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck disable=SC2034
target=${CARGO_TARGET_DIR:-$top/target}

# A login shell of root may lack the sbin folders, and rustup's folder is on nobody's PATH by default.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
command -v cargo >/dev/null 2>&1 || PATH=$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin:/root/.cargo/bin
export PATH

# The private berthd of `make run`: all that it keeps, and all that lives as long as it runs.
BERTH_HOME=${BERTH_HOME:-/var/lib/berth-dev}
BERTH_RUN=${BERTH_RUN:-/run/berth-dev}
bridge=berth0
bridge_exists() { ip link show dev $bridge >/dev/null 2>&1; }

# Debian's dockerd and podman, with which tests and measurements compare: setup.sh unpacks them here and
# installs neither, so none of their services starts and none of the machine's own engines is replaced.
# The testkit (binary.rs) knows the place, too.
# shellcheck disable=SC2034
{
  others=/var/cache/berth
  podman=$others/podman/usr/bin/podman
  dockerd=$others/docker.io/usr/sbin/dockerd
  # What it would look for on PATH.
  dockerd_flags=(--userland-proxy-path "$others/docker.io/usr/sbin/docker-proxy" --init-path /usr/bin/tini-static)
}

say() { printf '%s\n' "$*" >&2; }
die() { say "${0##*/}: $*"; exit 1; }
need_root() { [ "$(id -u)" = 0 ] || die "needs root: containers, mounts and network namespaces do"; }

# The docker CLI with nothing of the caller's own settings: docker_at SOCKET ARGUMENTS...
docker_at() {
  local socket=$1; shift
  env -u DOCKER_CONTEXT -u DOCKER_API_VERSION -u DOCKER_TLS_VERIFY -u DOCKER_CERT_PATH \
    DOCKER_HOST="unix://$socket" DOCKER_CLI_HINTS=false docker "$@"
}

# Waits until PID's daemon answers on SOCKET: await_daemon SOCKET PID LOG SECONDS
await_daemon() {
  local socket=$1 pid=$2 log=$3 deadline=$((SECONDS + $4))
  until docker_at "$socket" version >/dev/null 2>&1; do
    kill -0 "$pid" 2>/dev/null || { tail -n 20 "$log" >&2; die "the daemon ended at once; its log is above"; }
    [ $SECONDS -lt $deadline ] || { tail -n 20 "$log" >&2; die "the daemon did not answer on $socket within $4 s; its log is above"; }
    sleep 0.05
  done
}

# The parents of containers' cgroups, which runc makes and nobody removes. One in use stays: it is
# not empty.
remove_empty_cgroups() { find /sys/fs/cgroup -maxdepth 2 -type d -name docker -exec rmdir {} \; 2>/dev/null || true; }
