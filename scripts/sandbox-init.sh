# PID 1 of a sandbox (see sandbox.sh): readies the namespaces, says so, and waits for the end of
# its input. No word of a daemon may stand on its command line: memory.sh counts by such words.
set -e
ip link set lo up
# An address that is not loopback and a default route, as a host has.
ip link add up0 type veth peer name out0
ip addr add 192.0.2.1/24 dev up0
ip link set up0 up
ip link set out0 up
ip route add default via 192.0.2.2
# What daemons share on a host: the shims' sockets, dockerd's key, what podman knows of registries and
# its locks.
mkdir -p /run/containerd /etc/docker /var/lib/containers
mount -t tmpfs -o mode=711 tmpfs /run/containerd
mount -t tmpfs -o mode=755 tmpfs /etc/docker
mount -t tmpfs -o mode=755 tmpfs /var/lib/containers
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
echo ready
set +e
while read -r _; do :; done
