# The janitor of one sandbox: holds its namespaces, ends everything in them and removes its files.
# outer: bash -c THIS janitor outer STATE_DIR RUN_DIR   (stdin: a pipe that nobody writes to)
# inner: the same script as PID 1 of the sandbox's namespaces.
set -u
case $1 in
outer)
  trap '' INT TERM HUP
  state=$2 run=$3
  unshare --net --mount --pid --fork --mount-proc --kill-child --propagation private \
    bash -c "$BASH_EXECUTION_STRING" janitor inner "$state"
  # The PID namespace is gone, and with it every process, mount and interface of the sandbox.
  for id in $(cat "$state/cgroups"; ls "$state/data/containers"); do
    case $id in *[!0-9a-f]*|'') continue;; esac
    find /sys/fs/cgroup -maxdepth 5 -depth -type d -path "*$id*" -exec rmdir {} \; 2>/dev/null
  done 2>/dev/null
  # Those that bear the sandbox's name: podman's.
  [ ! -d "$state/podman" ] || find /sys/fs/cgroup -maxdepth 5 -depth -type d -path "*/${state##*/}*" -exec rmdir {} \; 2>/dev/null
  rm -rf --one-file-system -- "$state" "$run"
  ;;
inner)
  set -e
  ip link set lo up
  # containerd 1.6 keeps its shims' sockets in one place for all containerds of a host.
  mkdir -p /run/containerd /etc/docker /var/lib/containers
  mount -t tmpfs -o mode=711 tmpfs /run/containerd
  mount -t tmpfs -o mode=755 tmpfs /etc/docker
  # skopeo and podman remember there what which registry has; podman keeps its locks in the other.
  mount -t tmpfs -o mode=755 tmpfs /var/lib/containers
  mount -t tmpfs -o mode=1777 tmpfs /dev/shm
  mine=$(readlink /proc/self/ns/net)
  unshare --net sleep infinity </dev/null >/dev/null 2>&1 &
  outside=$!
  until [ "$(readlink /proc/$outside/ns/net)" != "$mine" ]; do :; done
  ip link add up0 type veth peer name out0 netns $outside
  ip addr add 192.0.2.1/24 dev up0
  ip link set up0 up
  ip route add default via 192.0.2.2
  nsenter --target $outside --net ip addr add 192.0.2.2/24 dev out0
  nsenter --target $outside --net ip link set out0 up
  nsenter --target $outside --net ip link set lo up
  echo ready
  set +e
  # Ends when the other side of the pipe is closed: the test is over, or its process dead.
  while read -r _; do :; done
  # Cgroups are all that outlives us: those of containers, with a record or (--rm) without.
  grep -hoE '[0-9a-f]{64}' /proc/[0-9]*/cgroup 2>/dev/null | sort -u >"$2/cgroups"
  # A container that a test left paused cannot be killed, and would be waited for without end.
  grep -hoE '.*[0-9a-f]{64}(\.scope)?' /proc/[0-9]*/cgroup 2>/dev/null | sort -u |
    while IFS=: read -r _ controllers path; do
      case $controllers in
      freezer) echo THAWED >"/sys/fs/cgroup/freezer$path/freezer.state" ;;
      '') [ ! -e "/sys/fs/cgroup$path/cgroup.freeze" ] || echo 0 >"/sys/fs/cgroup$path/cgroup.freeze" ;;
      esac
    done
  ;;
esac
