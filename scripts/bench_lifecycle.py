#!/usr/bin/env python3
"""Times what api_bench.py leaves out, side by side on two daemons, and in the same form:

  bench_lifecycle.py ops NAME=SOCKET NAME=SOCKET [--rounds 15] [--parallel 50] [--json FILE]
      restart of a running container, and that many starts at once, to the last answer
  bench_lifecycle.py fill SOCKET COUNT
      makes COUNT containers that never run
  bench_lifecycle.py await SOCKET COUNT
      waits until a daemon that is being started lists COUNT containers
  bench_lifecycle.py times FILE OPERATION NAME=MS NAME=MS
      adds a measurement of the caller's own to FILE and prints it as a row

Needs api_bench.py's folder in PYTHONPATH.
"""
import json, statistics, sys, time
from concurrent.futures import ThreadPoolExecutor

from api_bench import Conn, Daemon, timed

IMAGE = "busybox"
# Seconds. A daemon that does not come up in this time never will.
PATIENCE = 120


def restart(daemon):
    container = daemon.create(IMAGE, ["/bin/sleep", "1000"], "bridge")
    daemon.call("POST", f"/containers/{container}/start")
    ms, _ = timed(daemon.call, "POST", f"/containers/{container}/restart?t=0")
    daemon.call("DELETE", f"/containers/{container}?force=1")
    return ms


def parallel_starts(name, socket, count):
    daemon = Daemon(name, socket)
    containers = [daemon.create(IMAGE, ["/bin/sleep", "1000"], "bridge") for _ in range(count)]
    # A connection each, made beforehand: what is timed is the starts.
    clients = [Daemon(name, socket) for _ in containers]
    with ThreadPoolExecutor(count) as pool:
        def each(do):
            list(pool.map(do, clients, containers))
        ms, _ = timed(each, lambda client, id: client.call("POST", f"/containers/{id}/start"))
        each(lambda client, id: client.call("DELETE", f"/containers/{id}?force=1"))
    return ms


def row(path, operation, medians):
    ours, others = list(medians.values())[0], list(medians.values())[1:]
    ratio = ours / min(others)
    print(f"{operation:24}" + "".join(f"{ms:16.2f}" for ms in medians.values()) + f"{ratio:24.3f}", flush=True)
    if path:
        try:
            times = json.load(open(path))
        except FileNotFoundError:
            times = {}
        times[operation] = {"median_ms": medians, "ratio": ratio}
        json.dump(times, open(path, "w"), indent=1)


def pairs(words, of=str):
    return {name: of(value) for name, value in (word.split("=", 1) for word in words)}


def ops(words):
    flags = {"--rounds": "15", "--parallel": "50", "--json": ""}
    sockets = []
    words = iter(words)
    for word in words:
        if word in flags:
            flags[word] = next(words)
        else:
            sockets.append(word)
    sockets, rounds, parallel = pairs(sockets), int(flags["--rounds"]), int(flags["--parallel"])
    daemons = [Daemon(name, socket) for name, socket in sockets.items()]
    restarts = {name: [] for name in sockets}
    for number in range(rounds + 1):
        for daemon in daemons:
            ms = restart(daemon)
            if number:  # the first one warms up
                restarts[daemon.name].append(ms)
    row(flags["--json"], "restart/bridge", {name: statistics.median(ms) for name, ms in restarts.items()})
    starts = {name: [] for name in sockets}
    for _ in range(3):
        for name, socket in sockets.items():
            starts[name].append(parallel_starts(name, socket, parallel))
    row(flags["--json"], f"{parallel} starts at once", {name: statistics.median(ms) for name, ms in starts.items()})


def fill(socket, count):
    daemon = Daemon("it", socket)
    for _ in range(int(count)):
        daemon.create(IMAGE, ["/bin/true"], "none")


def wait(socket, count):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            client = Conn(socket)
            client.request("GET", "/containers/json?all=1")
            found = json.loads(client.getresponse().read())
            if len(found) >= int(count):
                return
        except OSError:
            pass
        time.sleep(0.002)
    sys.exit(f"no {count} containers on {socket} within {PATIENCE} s")


def main():
    what, *words = sys.argv[1:] or [""]
    if what == "ops":
        ops(words)
    elif what == "fill":
        fill(*words)
    elif what == "await":
        wait(*words)
    elif what == "times":
        row(words[0], words[1], pairs(words[2:], float))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
