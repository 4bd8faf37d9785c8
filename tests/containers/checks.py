"""Checks: what a user expects of the stack, in the order in which a user meets it.

Each returns what was seen, and raises Complaint where it is not what was expected.
"""

import asyncio
import json
import os
import re
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from server.pb.sesame.v1 import classifier_pb2 as pb
from tests.attacks.attack import Target
from tests.attacks.photos import made
from tests.attacks.wire import senders
from tests.containers.load import Load
from tests.containers.stack import ROOT, TOKEN, Complaint, Stack

_PHOTO = made(500, 375, 0)
_ENOUGH = 300
_LIMIT_S = 120.0
_USER = "10001"
_MEMORY_BYTES, _PIDS = 4 << 30, 4096
_WRITABLE = ("/tmp", "/cache")
_READ_ONLY = ("/", "/app", "/app/model_repository", "/venv", "/run/secrets")


def is_valid(stack: Stack) -> str:
    """The file is one that Compose reads, with every profile, and with the file for GPUs."""
    gpu = ["-f", str(ROOT / "docker-compose.gpu.yml"), "config"]
    watched = stack.compose("--profile", "watch", "--profile", "traces", "config")
    missing = [name for name in ("sesame", "prometheus", "grafana", "otel-collector") if f"{name}:" not in watched]
    if missing or "nvidia" not in stack.compose(*gpu):
        raise Complaint(f"not in the configuration: {missing or 'the GPUs'}")
    return "four services; one on GPUs"


def is_built(stack: Stack) -> str:
    began_s = time.monotonic()
    stack.compose("build")
    return f"{time.monotonic() - began_s:.0f} s"


def comes_up(stack: Stack) -> str:
    stack.compose("up", "--detach")
    ready_s = stack.until_ready()
    end_s = time.monotonic() + _LIMIT_S
    while not stack.healthy():  # Docker runs the check every ten seconds
        if time.monotonic() > end_s:
            raise Complaint("its health check fails though it is ready")
        time.sleep(1)
    return f"ready {ready_s:.1f} s after `up`; its health check succeeds"


def answers_http(stack: Stack) -> str:
    status, text = stack.get("/classify", _PHOTO)
    if status != 200:
        raise Complaint(f"{status}: {text}")
    return f"/classify: {json.loads(text)['predictions'][0]['label']}"


def answers_grpc(stack: Stack) -> str:
    async def ask() -> str:
        async with senders.stub(Target(stack.http_port, stack.grpc_port, "rpc", 0)) as stub:
            answer = await stub.Classify(pb.ClassifyRequest(image=_PHOTO), timeout=60)
        return str(answer.predictions[0].label)

    return f"Classify: {asyncio.run(ask())}"


def explains(stack: Stack) -> str:
    """In a process of its own, which the confined one starts."""
    status, text = stack.get("/explain", _PHOTO)
    if status != 200:
        raise Complaint(f"{status}: {text}")
    return "/explain: 200"


def is_read_only(stack: Stack) -> str:
    for folder in _READ_ONLY:
        code, said = stack.inside(f"touch {folder}/written")
        if code == 0 or not ("Read-only" in said or "Permission denied" in said):
            raise Complaint(f"{folder} can be written to: {said}")
    if "Read-only" not in stack.inside("touch /written")[1]:
        raise Complaint("the root is not read-only")
    for folder in _WRITABLE:
        if stack.inside(f"touch {folder}/written && rm {folder}/written")[0]:
            raise Complaint(f"{folder} cannot be written to")
    return f"only {' and '.join(_WRITABLE)} can be written to"


def is_confined(stack: Stack) -> str:
    user = stack.inside("id -u")[1]
    status = stack.inside("cat /proc/1/status")[1]
    rights = dict(re.findall(r"^(Cap\w+|NoNewPrivs):\s+(\w+)$", status, re.MULTILINE))
    capabilities = {name: value for name, value in rights.items() if name.startswith("Cap") and int(value, 16)}
    if user != _USER or capabilities or rights["NoNewPrivs"] != "1":
        raise Complaint(f"user {user}, capabilities {capabilities}, NoNewPrivs {rights['NoNewPrivs']}")
    return f"user {user}, no capability, no new privileges"


def is_limited(stack: Stack) -> str:
    """As the engine was told; a container without cgroups cannot show it from inside."""
    host = stack.inspect()["HostConfig"]
    found = host["Memory"], host["PidsLimit"], host["RestartPolicy"]["Name"]
    if found != (_MEMORY_BYTES, _PIDS, "unless-stopped"):
        raise Complaint(f"memory, processes and restart policy are {found}")
    return f"memory {found[0] >> 30} GiB, {found[1]} processes, {found[2]}"


def keeps_its_secret(stack: Stack) -> str:
    authorized = {"Authorization": f"Bearer {TOKEN}"}
    statuses = [stack.get("/admin/models/demo/load", b"", **headers)[0] for headers in ({}, authorized)]
    if statuses != [401, 200]:
        raise Complaint(f"/admin answers without and with the token of the file: {statuses}")
    if TOKEN in json.dumps(stack.inspect()):
        raise Complaint("the engine shows the token")
    return "/admin takes the token of the file, and the engine does not show it"


def serves_metrics(stack: Stack) -> str:
    text = stack.get("/metrics")[1]
    for name in ("sesame_build_info{", "process_resident_memory_bytes{", "sesame_model_ready{"):
        if name not in text:
            raise Complaint(f"no {name}}}")
    return f"{len(re.findall('^# TYPE', text, re.MULTILINE))} metrics"


def comes_back(stack: Stack) -> str:
    """SIGKILL ends the server's process, from outside: the restart policy starts another one."""
    pid = stack.inspect()["State"]["Pid"]
    os.kill(pid, signal.SIGKILL)
    began_s = time.monotonic()
    while (now := stack.inspect()["State"]["Pid"]) in (0, pid):
        if time.monotonic() - began_s > _LIMIT_S:
            raise Complaint("its process was killed, and no other one was started")
        time.sleep(0.2)
    stack.until_ready()
    return f"process {pid} was killed, {now} is ready {time.monotonic() - began_s:.1f} s later"


def leaves_in_order(stack: Stack) -> str:
    """`down` under load: every image that the server has admitted was answered, and the answer arrived."""
    with tempfile.TemporaryDirectory(prefix="sesame-containers-") as folder:
        log = Path(folder) / "server.log"
        following = stack.follow_log(log)
        with Load(stack.http_port, stack.grpc_port) as load:
            if not load.until_answered(_ENOUGH, _LIMIT_S):
                raise Complaint(f"too little was answered: {dict(load.told)}")
            began_s = time.monotonic()
            stack.compose("down")
            took_s = time.monotonic() - began_s
        following.wait(_LIMIT_S)
        stopped = re.findall(r" stopped(.*) images admitted=(\d+)", log.read_text(errors="replace"))
    if not stopped:
        raise Complaint("the server did not say that it stopped in order")
    admitted = sum(int(images) for _, images in stopped)  # by each front
    how = "".join(how for how, _ in stopped)
    if how or admitted != load.answered:
        raise Complaint(f"admitted {admitted}{how}, answered {load.answered}: {dict(load.told)}")
    return f"{took_s:.1f} s; admitted {admitted}, answered {load.answered}; {dict(load.told)}"


CHECKS: list[tuple[str, Callable[[Stack], str]]] = [
    ("the file is valid", is_valid),
    ("the image is built", is_built),
    ("it comes up healthy", comes_up),
    ("it answers over HTTP", answers_http),
    ("it answers over gRPC", answers_grpc),
    ("it explains", explains),
    ("its root is read-only", is_read_only),
    ("it is not root", is_confined),
    ("it has limits", is_limited),
    ("it keeps its secret", keeps_its_secret),
    ("it serves metrics", serves_metrics),
    ("kill -9 is survived", comes_back),
    ("down loses nothing", leaves_in_order),
]
"""In this order: the last ones end the server."""
