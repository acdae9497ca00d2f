#!/usr/bin/env python3
"""Times images side by side on several daemons, in the form of api_bench.py:

  bench_images.py NAME=SOCKET NAME=SOCKET... [--layers 10] [--megabytes 50] [--rounds 3]
                  [--images 100] [--json FILE] [--peak NAME=PID...]
      load, save, push and pull of an image of that many layers of that size, and a list of that many
      images. A registry answers at 127.0.0.1:5000 of each daemon's network, and all of them have one
      storage: what is pulled is what the second daemon has pushed. --peak tells the most memory that
      these processes have had during the pulls.

Layers are half random and half zeros. Needs api_bench.py's folder in PYTHONPATH.
"""
import argparse, hashlib, http.client, io, json, os, random, socket, statistics, sys, tarfile, tempfile

from api_bench import timed
from bench_lifecycle import pairs, row

REGISTRY = "127.0.0.1:5000/bench"
# Seconds. The slowest step takes a small part of it.
PATIENCE = 600
# How many lists at least and at most: a list takes a fraction of a millisecond, so that a few tell
# little, but podman needs seconds for one.
LISTS = (7, 100)
# Seconds after which the least will do.
LISTING = 10


class Client(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=PATIENCE)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self.path)


def call(path, method, target, body=None, fine=(200, 201)):
    """Reads the answer to its end and returns its tail; a stream that ends in an error fails."""
    client = Client(path)
    headers = {"X-Registry-Auth": "e30="}
    client.request(method, "/v1.41" + target, body=body, headers=headers)
    answer = client.getresponse()
    tail = b""
    while chunk := answer.read(1 << 20):
        tail = (tail + chunk)[-4096:] if len(chunk) < 4096 else chunk[-4096:]
    client.close()
    if answer.status not in fine or b'"errorDetail"' in tail:
        sys.exit(f"{method} {target}: {answer.status} {tail[-500:]!r}")
    return answer.status


def add(archive, name, content):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def layer(number, size):
    noise = random.Random(number).randbytes(size // 2)
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        add(tar, f"data/{number}", noise + bytes(size - len(noise)))
    return content.getvalue()


def pack(file, tags, layers, comment):
    """A `docker save` archive with one image for each tag; they share the layers."""
    with tarfile.open(fileobj=file, mode="w") as archive:
        names = []
        for content in layers:
            digest = hashlib.sha256(content).hexdigest()
            names.append((digest, f"{digest}/layer.tar"))
            add(archive, names[-1][1], content)
        manifest = []
        for tag in tags:
            config = json.dumps({
                "architecture": "amd64", "os": "linux", "config": {"Labels": {"tag": tag}}, "comment": comment,
                "created": "2024-01-01T00:00:00Z", "history": [{"created": "2024-01-01T00:00:00Z"} for _ in names],
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest, _ in names]},
            }).encode()
            name = hashlib.sha256(config).hexdigest() + ".json"
            add(archive, name, config)
            manifest.append({"Config": name, "RepoTags": [tag], "Layers": [path for _, path in names]})
        add(archive, "manifest.json", json.dumps(manifest).encode())
    file.flush()


def load(path, file):
    with open(file, "rb") as body:
        call(path, "POST", "/images/load?quiet=1", body)


def remove(path, name):
    call(path, "DELETE", f"/images/{name}?force=1", fine=(200, 404))


def pull(path, repository):
    call(path, "POST", f"/images/create?fromImage={repository}&tag=1")
    # Some tell an error as one more line of what went well.
    call(path, "GET", f"/images/{repository}:1/json")


def images(daemons, file, rounds, before_pulls):
    """The times of each operation of each daemon, in milliseconds. Each round does the same on one
    daemon after the other, so that a drift of the machine's speed hits all of them alike."""
    times = {operation: {name: [] for name in daemons} for operation in ("load", "save", "push", "pull")}

    def take(operation, name, *what):
        times[operation][name].append(timed(*what)[0])

    for _ in range(rounds):
        for name, path in daemons.items():
            remove(path, f"{REGISTRY}:1")
            take("load", name, load, path, file)
            take("save", name, call, path, "GET", f"/images/{REGISTRY}:1/get")
    for name, path in daemons.items():
        call(path, "POST", f"/images/{REGISTRY}:1/tag?repo={REGISTRY}/{name}&tag=1")
        take("push", name, call, path, "POST", f"/images/{REGISTRY}/{name}/push?tag=1")
        for pushed in (f"{REGISTRY}:1", f"{REGISTRY}/{name}:1"):
            remove(path, pushed)
    repository = f"{REGISTRY}/{list(daemons)[1]}"
    before_pulls()
    for _ in range(rounds):
        for name, path in daemons.items():
            take("pull", name, pull, path, repository)
            remove(path, f"{repository}:1")
    return {operation: {name: statistics.median(ms) for name, ms in of.items()} for operation, of in times.items()}


def listed(path):
    """The times of lists of images, in milliseconds."""
    times, least, most = [], *LISTS
    while len(times) < least or (len(times) < most and sum(times) < LISTING * 1000):
        times.append(timed(call, path, "GET", "/images/json")[0])
    return times


def forget_peak(pid):
    with open(f"/proc/{pid}/clear_refs", "w") as file:
        file.write("5")


def peak(pid):
    """The most that a process has had in memory, in KiB."""
    with open(f"/proc/{pid}/status") as file:
        return int(next(line.split()[1] for line in file if line.startswith("VmHWM:")))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("daemons", nargs="+")
    for name, default in (("layers", 10), ("megabytes", 50), ("rounds", 3), ("images", 100)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--peak", nargs="*", default=[])
    parser.add_argument("--json")
    options = parser.parse_args()
    daemons, processes = pairs(options.daemons), pairs(options.peak, int)
    size = f"{options.layers}x{options.megabytes}MB"
    with tempfile.NamedTemporaryFile(dir="/var/tmp") as large, tempfile.NamedTemporaryFile(dir="/var/tmp") as many:
        pack(large, [f"{REGISTRY}:1"], [layer(n, options.megabytes << 20) for n in range(options.layers)], "bench")
        tags = [f"many:{n}" for n in range(options.images)]
        pack(many, tags, [layer(-1, 4096)], "many")

        def before_pulls():
            for pid in processes.values():
                forget_peak(pid)

        times = images(daemons, large.name, options.rounds, before_pulls)
        peaks = {name: peak(pid) for name, pid in processes.items()}
        print(f"{'median ms':24}" + "".join(f"{name:>16}" for name in daemons) + f"{'ratio to the best other':>24}")
        for operation, of in times.items():
            row(options.json, f"image-{operation}/{size}", of)
        lists = {}
        for name, path in daemons.items():
            load(path, many.name)
            lists[name] = statistics.median(listed(path))
            for tag in tags:
                remove(path, tag)
        row(options.json, f"image-list/{options.images}", lists)
        if peaks:
            print("peak memory while it pulled, MiB: " + ", ".join(f"{n} {kib / 1024:.0f}" for n, kib in peaks.items()))


main()
