#!/usr/bin/env bash
# `make run`: a private berthd on this machine, and a first container in it. Any Docker that is
# here already is left alone: own data, own sockets, own bridge, own subnet. Again while it runs:
# the same daemon goes on, or a newly built one takes its place.
set -eu
. "$(dirname "$0")/env.sh"
need_root
"$top/scripts/setup.sh" run

socket=$BERTH_RUN/docker.sock pidfile=$BERTH_RUN/berthd.pid log=$BERTH_HOME/berthd.log binary=$BERTH_HOME/berthd

built=$("$top/scripts/build.sh")

# A /16 of 172.16.0.0/12 that no route of this machine touches.
free_subnet() {
  local n
  for n in 31 30 29 28 27 26 25 24 23 22 21 20 19 18; do
    [ -z "$(ip -4 route show table all root 172.$n.0.0/16; ip -4 route show table all match 172.$n.0.0/16 | grep -v '^default')" ] || continue
    echo 172.$n
    return
  done
  die "no free subnet between 172.18.0.0/16 and 172.31.0.0/16 for the bridge $bridge"
}

start_daemon() {
  local net
  install -d -m 700 "$BERTH_HOME"
  install -d -m 711 "$BERTH_RUN"
  install -m 755 "$built" "$binary"
  # As dockerd has it: a bridge named with --bridge is the user's own and must be there before.
  if ! bridge_exists; then
    net=$(free_subnet)
    ip link add $bridge type bridge
    ip addr add "$net.0.1/16" dev $bridge
    ip link set $bridge up
  fi
  [ -e "$BERTH_HOME/daemon.json" ] || echo '{}' >"$BERTH_HOME/daemon.json"
  setsid "$binary" --config-file "$BERTH_HOME/daemon.json" --data-root "$BERTH_HOME/data" --exec-root "$BERTH_RUN/exec" \
    --pidfile "$pidfile" --host "unix://$socket" --bridge $bridge >>"$log" 2>&1 </dev/null &
  await_daemon "$socket" $! "$log" 30
}

pid=$(cat "$pidfile" 2>/dev/null || true)
if [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = berthd ]; then
  if cmp -s "$built" "$binary"; then
    say "berthd runs already (PID $pid)"
  else
    say "berthd (PID $pid) is of another build: starting the new one in its place"
    kill "$pid"
    timeout 60 tail --pid="$pid" -f /dev/null || die "the old berthd (PID $pid) did not stop within 60 s"
    start_daemon
  fi
else
  start_daemon
fi

if ! docker_at "$socket" image inspect busybox >/dev/null 2>&1; then
  image=$(mktemp)
  trap 'rm -f "$image"' EXIT
  "$top/scripts/bundled-image.sh" image "$image"
  docker_at "$socket" load --quiet --input "$image"
fi

say "\$ docker run --rm busybox echo 'Hello from a container on Berth'"
docker_at "$socket" run --rm busybox echo 'Hello from a container on Berth'
cat <<END

berthd answers on $socket, and logs to $log. To go on with it:

  export DOCKER_HOST=unix://$socket

To stop it, and remove all that it keeps: make stop
END
