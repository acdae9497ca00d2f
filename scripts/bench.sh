#!/usr/bin/env bash
# Times berthd beside Debian's dockerd and, with images, podman, all in namespaces of their own, in one
# run, with the same images, and tells which of the promised figures are met. It fails when it cannot
# measure, never because of a figure.
#   ROUNDS=15 FLEET=100   as api_bench.py has them      BENCH     its folder (default ../shared/bench)
#   CONTAINERS=20         for the memory of a container  BERTHD    a berthd that is built already
#   LAYERS=10 LAYER_MB=50 the image that is pushed, pulled, loaded and saved
#   PARALLEL=50           starts at once                 STOPPED=1000  containers there when a daemon starts
set -eu
. "$(dirname "$0")/env.sh"
need_root
bench=${BENCH:-$top/../shared/bench}
[ -r "$bench/api_bench.py" ] || die "no $bench/api_bench.py: say where it is with BENCH=FOLDER"
"$top/scripts/setup.sh" bench
berthd=$("$top/scripts/build.sh")

. "$top/scripts/sandbox.sh"
image=$(mktemp -p /var/tmp)
results=$(mktemp -d)
trap 'sandbox_close_all; rm -rf "$image" "$results"' EXIT
"$top/scripts/bundled-image.sh" image "$image"

declare -A idle_pss=()
open() { # NAME BINARY FLAGS...
  sandbox_open "$1"
  sandbox_daemon "$@"
  docker_at "${sandbox_run[$1]}/docker.sock" load --quiet --input "$image" >/dev/null
}
berthd_flags=()
open berthd "$berthd"
open dockerd "$dockerd" "${dockerd_flags[@]}"

# Idle: after start and one load, once both have been left alone for a moment.
sleep 3
for name in berthd dockerd; do
  idle_pss[$name]=$(awk '/^Pss:/ { print $2 }' "/proc/${sandbox_daemon[$name]}/smaps_rollup")
done

echo "$(uname -srm), $(nproc) cores; $("$berthd" --version | head -n 1) beside $("$dockerd" --version | head -n 1) and $("$podman" --version); $(containerd --version | awk '{print "containerd " $3}'), $(runc --version | head -n 1)"
echo
python3 "$bench/api_bench.py" "berthd=${sandbox_run[berthd]}/docker.sock" "dockerd=${sandbox_run[dockerd]}/docker.sock" \
  --rounds "${ROUNDS:-15}" --fleet "${FLEET:-100}" --json "$results/times.json"
lifecycle() { PYTHONPATH=$bench PYTHONDONTWRITEBYTECODE=1 python3 "$top/scripts/bench_lifecycle.py" "$@"; }
lifecycle ops "berthd=${sandbox_run[berthd]}/docker.sock" "dockerd=${sandbox_run[dockerd]}/docker.sock" \
  --rounds "${ROUNDS:-15}" --parallel "${PARALLEL:-50}" --json "$results/times.json"
# Images, with a registry on the loopback of each, all of one storage. podman's service tells of an exec
# that has ended as of one that never was, so api_bench.py cannot measure it: it is here for images only.
sandbox_open podman
sandbox_podman podman 127.0.0.1:5000
engines=(berthd dockerd podman)
sockets=() processes=()
for name in "${engines[@]}"; do
  config=${sandbox_state[$name]}/registry.yml
  printf 'version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: %s\nhttp:\n  addr: 127.0.0.1:5000\n' \
    "${sandbox_state[berthd]}/registry" >"$config"
  sandbox_exec "$name" docker-registry serve "$config" >/dev/null 2>&1 </dev/null &
  sockets+=("$name=${sandbox_run[$name]}/docker.sock") processes+=("$name=${sandbox_daemon[$name]}")
done
for name in "${engines[@]}"; do
  timeout 20 bash -c "until nsenter --target ${sandbox_init[$name]} --net bash -c ': </dev/tcp/127.0.0.1/5000' 2>/dev/null; do sleep 0.1; done" ||
    die "the registry of $name did not come up within 20 s"
done
PYTHONPATH=$bench PYTHONDONTWRITEBYTECODE=1 python3 "$top/scripts/bench_images.py" "${sockets[@]}" \
  --layers "${LAYERS:-10}" --megabytes "${LAYER_MB:-50}" --json "$results/times.json" --peak "${processes[@]}"

echo
for name in berthd dockerd; do
  # Its whole engine: daemon, containerd, shims and proxies.
  printf '%s' "memory of $name, KiB PSS: daemon_idle=${idle_pss[$name]} "
  env -u DOCKER_CONTEXT bash "$bench/memory.sh" "${sandbox_run[$name]}/docker.sock" "${sandbox_daemon[$name]}" "${CONTAINERS:-20}" 2>&1 ||
    echo "memory.sh failed on $name"
done

# From the start of the process to a list of all of them.
stopped=${STOPPED:-1000}
declare -A start_up=()
for name in berthd dockerd; do
  socket=${sandbox_run[$name]}/docker.sock
  lifecycle fill "$socket" "$stopped"
  sandbox_stop "$name"
  began=${EPOCHREALTIME/./}
  flags=${name}_flags[@]
  sandbox_spawn "$name" "${!name}" "${!flags}"
  lifecycle await "$socket" "$stopped"
  start_up[$name]=$(((${EPOCHREALTIME/./} - began) / 1000))
done
echo
lifecycle times "$results/times.json" "start-up/$stopped" "berthd=${start_up[berthd]}" "dockerd=${start_up[dockerd]}"

echo
python3 - "$results/times.json" "${idle_pss[berthd]}" <<'PYTHON'
import json, sys

PROMISED = {  # berthd's median over the best other's, at most
    "run-to-removal/bridge": 0.45,
    "start/bridge": 0.45,
    "list": 0.3,
    "inspect": 0.5,
    "exec/bridge": 0.7,
    "image-pull": 0.7,
    "image-list": 0.1,
}
PROMISED_PSS_KIB = 15 * 1024
PROMISED_START_UP_MS = 1000

times = json.load(open(sys.argv[1]))
met = []
def row(what, measured, promised, unit=""):
    met.append(measured <= promised)
    print(f"{what:24}{measured:>10.3f}{unit}  promised {promised:.2f}{unit}  {'met' if met[-1] else 'NOT MET'}")

for name, promised in PROMISED.items():
    op = next((op for op in times if op.split()[0] == name or op.startswith(f"{name}/")), None)
    if op is None:
        met.append(False)
        print(f"{name:24} not measured")
    else:
        row(name, times[op]["ratio"], promised)
for name, op in times.items():
    if name.startswith("start-up/"):
        row(f"{name}, s", op["median_ms"]["berthd"] / 1000, PROMISED_START_UP_MS / 1000)
row("berthd idle, MiB PSS", int(sys.argv[2]) / 1024, PROMISED_PSS_KIB / 1024)
print(f"{sum(met)} of {len(met)} promised figures met")
PYTHON

echo
(cd "$top" && cargo bench --locked --quiet -p berth-config --bench reload)
