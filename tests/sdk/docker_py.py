"""What docker-py sees of a daemon: each function is a check, named on the command line; its
containers are labelled `docker-py=<check>`. Older docker-py asks for older API versions: the
shapes that it reads are those of its time."""

import io
import sys
import tarfile

import docker

client = docker.from_env(version="auto", timeout=60)
label = {}


def run(command, **options):
    return client.containers.run("busybox", command, detach=True, labels=label, **options)


def a_life():
    assert client.ping()
    assert client.version()["ApiVersion"]
    container = run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert container.wait()["StatusCode"] == 3
    assert container.logs(stdout=True, stderr=False) == b"out\n"
    assert container.logs(stdout=False, stderr=True) == b"err\n"
    container.reload()
    assert container.status == "exited"
    assert client.containers.list(all=True, filters={"id": container.id}) == [container]
    container.remove()
    try:
        client.containers.get(container.id)
    except docker.errors.NotFound as error:
        assert f"No such container: {container.id}" in str(error)
    else:
        raise AssertionError("still there")


def failures():
    try:
        client.containers.run("busybox", ["sh", "-c", "echo why >&2; exit 7"], labels=label)
    except docker.errors.ContainerError as error:
        assert (error.exit_status, error.stderr) == (7, b"why\n")
    else:
        raise AssertionError("no error")
    try:
        client.containers.run("no-such-image-here:1", "true", labels=label)
    except (docker.errors.ImageNotFound, docker.errors.APIError):
        pass


def exec():
    container = run(["sleep", "1000"])
    code, output = container.exec_run(["sh", "-c", "echo $WHO; echo e >&2; exit 4"], environment={"WHO": "py"}, demux=True)
    assert (code, output) == (4, (b"py\n", b"e\n")), (code, output)
    code, output = container.exec_run(["pwd"], workdir="/etc", user="nobody")
    assert (code, output) == (0, b"/etc\n")
    # Half-closed: the end of the input reaches the process.
    id = client.api.exec_create(container.id, ["wc", "-c"], stdin=True)["Id"]
    sock = client.api.exec_start(id, socket=True)
    raw = getattr(sock, "_sock", sock)
    raw.sendall(b"12345")
    raw.shutdown(1)
    answer = b""
    while piece := raw.recv(4096):
        answer += piece
    assert answer[8:].strip() == b"5", answer
    assert client.api.exec_inspect(id)["ExitCode"] == 0


def attach():
    container = client.containers.create("busybox", ["sh", "-c", "read x; echo got $x"], stdin_open=True, labels=label)
    sock = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    container.start()
    raw = getattr(sock, "_sock", sock)
    raw.sendall(b"word\n")
    answer = b""
    while piece := raw.recv(4096):
        answer += piece
    assert answer[8:] == b"got word\n", answer


def changes_of_state():
    container = run(["sleep", "1000"])
    container.pause()
    container.reload()
    assert container.status == "paused"
    container.unpause()
    container.rename(container.name + "-renamed")
    container.restart(timeout=0)
    container.stop(timeout=0)
    container.reload()
    assert (container.status, container.attrs["State"]["ExitCode"]) == ("exited", 137)
    assert container.name.endswith("-renamed")
    container.start()
    container.kill()
    assert container.wait()["StatusCode"] == 137


def limits_and_figures():
    container = run(["sleep", "1000"], mem_limit="64m")
    container.update(mem_limit="96m", memswap_limit="96m")
    container.reload()
    assert container.attrs["HostConfig"]["Memory"] == 96 << 20
    stats = container.stats(stream=False)
    assert stats["memory_stats"]["limit"] == 96 << 20
    assert stats["networks"]["eth0"]["rx_bytes"] >= 0
    top = container.top(ps_args="-o pid,comm")
    assert top["Titles"] == ["PID", "COMMAND"] and top["Processes"][0][1] == "sleep"


def files():
    container = run(["sleep", "1000"])
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("note")
        info.size = 4
        tar.addfile(info, io.BytesIO(b"text"))
    assert container.put_archive("/tmp", buffer.getvalue())
    pieces, stat = container.get_archive("/tmp/note")
    assert (stat["name"], stat["size"]) == ("note", 4)
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        assert tar.extractfile("note").read() == b"text"
    assert {"Path": "/tmp/note", "Kind": 1} in container.diff()
    image = container.commit(repository="docker-py-commit", changes="ENV K=v")
    assert "K=v" in image.attrs["Config"]["Env"]
    client.images.remove("docker-py-commit")


def restarts_and_health():
    container = run(["sh", "-c", "exit 2"], restart_policy={"Name": "on-failure", "MaximumRetryCount": 1})
    events = client.events(decode=True, since=0, filters={"container": container.id, "event": "die"})
    assert [next(events)["Action"] for _ in range(2)] == ["die", "die"]
    probe = {"test": ["CMD", "true"], "interval": 200_000_000, "timeout": 30_000_000_000, "retries": 1}
    container = run(["sleep", "1000"], healthcheck=probe)
    for event in client.events(decode=True, since=0, filters={"container": container.id}):
        if event["Action"] == "health_status: healthy":
            break
    container.reload()
    assert container.attrs["State"]["Health"]["Status"] == "healthy"


def prune():
    container = client.containers.create("busybox", "true", labels=label)
    pruned = client.containers.prune(filters={"label": f"docker-py={label['docker-py']}"})
    assert pruned["ContainersDeleted"] == [container.id], pruned
    assert pruned["SpaceReclaimed"] >= 0


def volumes_and_networks():
    volume = client.volumes.create(labels=label)
    container = run(["sleep", "1000"], volumes={volume.name: {"bind": "/v", "mode": "rw"}})
    network = client.networks.create("docker-py", driver="bridge")
    network.connect(container, aliases=["py"])
    network.reload()
    assert [one.id for one in network.containers] == [container.id]
    network.disconnect(container)
    container.remove(force=True)
    network.remove()
    volume.remove()


def disk_usage():
    # It knows the lists alone, and asks for the newest version.
    usage = client.df()
    assert usage["LayersSize"] > 0, usage
    assert any("busybox:latest" in image["RepoTags"] for image in usage["Images"]), usage
    assert isinstance(usage["Containers"], list) and isinstance(usage["Volumes"], list), usage


def main(check):
    label["docker-py"] = check
    try:
        globals()[check]()
    finally:
        for container in client.containers.list(all=True, filters={"label": f"docker-py={check}"}):
            container.remove(force=True, v=True)


main(sys.argv[1])
