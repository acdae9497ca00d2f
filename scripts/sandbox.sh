# Sourced, after env.sh, by what measures or checks whole daemons: each in network, mount and PID
# namespaces of its own, that end, with all that is in them, when the script does.
# shellcheck shell=bash disable=SC2034,SC2154

declare -A sandbox_state=() sandbox_run=() sandbox_init=() sandbox_outer=() sandbox_hold=() sandbox_daemon=()

first_child() { awk '{ print $1 }' "/proc/$1/task/$1/children"; }

# sandbox_open NAME: makes NAME's namespaces. Sets sandbox_state[NAME] and sandbox_run[NAME]
# (folders), sandbox_init[NAME] (the PID, here, of its PID 1).

sandbox_open() {
  local name=$1 state run ready hold
  state=$(mktemp -d /var/tmp/berth-sandbox.XXXXXX)
  run=/run/${state##*/}
  mkdir -m 711 "$run"
  sandbox_state[$name]=$state sandbox_run[$name]=$run
  # Its PID 1 reads from a pipe that only this shell holds open for writing: however this shell
  # ends, PID 1 ends then, and the kernel ends the rest.
  mkfifo "$state/hold" "$state/ready"
  exec {ready}<>"$state/ready"
  exec {hold}<>"$state/hold"
  unshare --net --mount --pid --fork --mount-proc --kill-child --propagation private \
    bash "$top/scripts/sandbox-init.sh" <"$state/hold" >"$state/ready" 2>"$state/sandbox.log" {hold}>&- {ready}>&- &
  sandbox_outer[$name]=$! sandbox_hold[$name]=$hold
  read -r -t 20 -u "$ready" _ || die "no namespaces for $name: $(cat "$state/sandbox.log")"
  exec {ready}>&-
  sandbox_init[$name]=$(first_child "${sandbox_outer[$name]}")
}

# sandbox_exec NAME COMMAND...: runs a command in all of its namespaces.
sandbox_exec() {
  local name=$1 hold=${sandbox_hold[$1]}
  shift
  nsenter --target "${sandbox_init[$name]}" --net --mount --pid -- "$@" {hold}>&-
}

# sandbox_spawn NAME BINARY [FLAGS...]: starts a daemon and does not wait for it. Sets spawned to
# the PID of what holds it.
sandbox_spawn() {
  local name=$1 binary=$2 state=${sandbox_state[$1]} run=${sandbox_run[$1]} hold=${sandbox_hold[$1]}
  shift 2
  echo '{}' >"$state/daemon.json"
  nsenter --target "${sandbox_init[$name]}" --net --mount --pid -- "$binary" --config-file "$state/daemon.json" \
    --data-root "$state/data" --exec-root "$run/exec" --pidfile "$run/docker.pid" --host "unix://$run/docker.sock" "$@" \
    </dev/null >"$state/daemon.log" 2>&1 {hold}>&- &
  spawned=$!
}

# sandbox_daemon NAME BINARY [FLAGS...]: starts a daemon, waits until it answers, and sets
# sandbox_daemon[NAME] to its PID here. Its socket is sandbox_run[NAME]/docker.sock.
sandbox_daemon() {
  local spawned
  sandbox_spawn "$@"
  await_daemon "${sandbox_run[$1]}/docker.sock" $spawned "${sandbox_state[$1]}/daemon.log" 40
  sandbox_daemon[$1]=$(first_child $spawned)
}

# sandbox_podman NAME REGISTRY: the same with podman's service, for which REGISTRY speaks plain HTTP.
sandbox_podman() {
  local name=$1 state=${sandbox_state[$1]} run=${sandbox_run[$1]} hold=${sandbox_hold[$1]}
  printf '[[registry]]\nlocation = "%s"\ninsecure = true\n' "$2" >"$state/registries.conf"
  TMPDIR=$state CONTAINERS_REGISTRIES_CONF=$state/registries.conf \
    nsenter --target "${sandbox_init[$name]}" --net --mount --pid -- "$podman" --root "$state/data" \
    --runroot "$run/exec" --tmpdir "$run/tmp" --storage-driver overlay --cgroup-manager cgroupfs --events-backend none \
    system service --time 0 "unix://$run/docker.sock" </dev/null >"$state/daemon.log" 2>&1 {hold}>&- &
  await_daemon "$run/docker.sock" $! "$state/daemon.log" 40
  sandbox_daemon[$name]=$(first_child $!)
}

# sandbox_stop NAME: ends its daemon as a service manager would, and waits for its end.
sandbox_stop() {
  kill "${sandbox_daemon[$1]}"
  timeout 60 tail --pid="${sandbox_daemon[$1]}" -f /dev/null || die "the daemon of $1 did not stop within 60 s"
}

# sandbox_close NAME: ends it and removes its folders, and the cgroups that its containers leave
# where the daemon was not asked to remove them.
sandbox_close() {
  local name=$1 state=${sandbox_state[$1]:-} run=${sandbox_run[$1]:-} hold=${sandbox_hold[$1]:-} dir id
  [ -n "$state" ] || return 0
  # Not only by the pipe: a child of this shell that still runs may hold its other end.
  [ -z "${sandbox_init[$name]:-}" ] || kill -9 "${sandbox_init[$name]}" 2>/dev/null || true
  [ -z "$hold" ] || exec {hold}>&-
  [ -z "${sandbox_outer[$name]:-}" ] || wait "${sandbox_outer[$name]}" 2>/dev/null || true
  for dir in "$state"/data/containers/*/; do
    id=${dir%/} id=${id##*/}
    [[ $id =~ ^[0-9a-f]{64}$ ]] || continue
    find /sys/fs/cgroup -maxdepth 5 -depth -type d -path "*$id*" -exec rmdir {} \; 2>/dev/null || true
  done
  remove_empty_cgroups
  rm -rf --one-file-system -- "$state" "$run"
  unset "sandbox_state[$name]"
}

sandbox_close_all() { local name; for name in "${!sandbox_state[@]}"; do sandbox_close "$name"; done; }
trap sandbox_close_all EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
