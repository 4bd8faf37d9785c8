"""The sockets that several processes share: HTTP's is inherited, and a guard keeps gRPC's port for them."""

import errno
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest

from server.host.listening import CannotListen, listen, reserve_grpc_port
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: SO_REUSEPORT and inherited sockets")
DEADLINE_S = 60
IPV6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
HOSTS = ["127.0.0.1", "0.0.0.0", pytest.param("::", marks=IPV6)]
ACCEPT_ONE = """
import os, socket, sys
listener = socket.socket(fileno=int(sys.argv[1]))
listener.setblocking(True)
print("waiting", flush=True)
connection, _ = listener.accept()
connection.sendall(str(os.getpid()).encode())
"""
GRPC_SERVER = """
import asyncio, os, sys, grpc

async def pid(request, context):
    return str(os.getpid()).encode()

async def main():
    server = grpc.aio.server(options=[("grpc.so_reuseport", 1)])
    handler = grpc.method_handlers_generic_handler("test.Processes", {"Pid": grpc.unary_unary_rpc_method_handler(pid)})
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port(sys.argv[1])
    await server.start()
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@contextmanager
def program(code: str, argument: object, pass_fds: Sequence[int] = ()) -> Iterator["subprocess.Popen[str]"]:
    """A process that runs until its standard input ends, or by itself."""
    command = [sys.executable, "-c", code, str(argument)]
    with subprocess.Popen(
        command, cwd=REPOSITORY, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=pass_fds
    ) as process:
        killing = threading.Timer(DEADLINE_S, process.kill)
        killing.start()
        try:
            yield process
        finally:
            killing.cancel()
            process.kill()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def pid_that_answers(address: str) -> int:
    with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/test.Processes/Pid")
        return int(call(b"", timeout=DEADLINE_S, wait_for_ready=True))


def address_of(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@pytest.mark.parametrize("host", HOSTS)
def test_two_grpc_servers_of_ours_share_a_guarded_port_and_both_get_connections(host: str) -> None:
    with reserve_grpc_port(host, 0) as guard:
        port = guard.getsockname()[1]
        with program(GRPC_SERVER, address_of(host, port)) as one, program(GRPC_SERVER, address_of(host, port)) as two:
            assert (line(one), line(two)) == (str(port), str(port))
            expected, answered = {one.pid, two.pid}, set[int]()
            for _ in range(200):  # the system chooses by a hash of the client's port: 200 times the same is 1 in 2**199
                answered.add(pid_that_answers(f"127.0.0.1:{port}"))
                if answered == expected:
                    break
            assert answered == expected
            if host == "::":
                assert pid_that_answers(f"[::1]:{port}") in expected


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("reuse", [False, True])
def test_nobody_else_takes_a_guarded_port_before_our_servers_listen_or_after(host: str, reuse: bool) -> None:
    with reserve_grpc_port(host, 0) as guard:
        port = guard.getsockname()[1]
        assert_taken(host, port, reuse)
        with program(GRPC_SERVER, address_of(host, port)) as server:
            assert line(server) == str(port)
            assert_taken(host, port, reuse)
        assert_taken(host, port, reuse)


def assert_taken(host: str, port: int, reuse: bool) -> None:
    with pytest.raises(CannotListen, match=r"gRPC cannot listen on .* choose another port with --grpc-port"):
        reserve_grpc_port(host, port)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        with pytest.raises(OSError) as refused:
            plain.bind((host, port))
        assert refused.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize("host", HOSTS)
def test_a_guard_is_refused_where_somebody_listens_and_not_once_they_have_gone(host: str) -> None:
    with listen(host, 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match="--grpc-port"):
            reserve_grpc_port(host, port)
    reserve_grpc_port(host, port).close()


def test_connections_that_a_past_server_closed_do_not_hold_its_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as past:
        port = past.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = past.accept()
            accepted.close()  # the server closes first: its side waits in TIME_WAIT
            assert client.recv(1) == b""
    with socket.socket() as strict, pytest.raises(OSError):
        strict.bind(("127.0.0.1", port))  # the fault is there: without care the port is taken
    with reserve_grpc_port("127.0.0.1", port) as guard:
        assert_taken("127.0.0.1", port, reuse=True)
        with program(GRPC_SERVER, f"127.0.0.1:{guard.getsockname()[1]}") as server:
            assert line(server) == str(port)
            assert pid_that_answers(f"127.0.0.1:{port}") == server.pid


def test_of_several_guards_at_once_one_gets_the_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for _ in range(50):
        together = threading.Barrier(4)

        def reserve(together: threading.Barrier = together) -> socket.socket | None:
            together.wait(DEADLINE_S)
            try:
                return reserve_grpc_port("127.0.0.1", port)
            except CannotListen:
                return None
            finally:
                together.wait(DEADLINE_S)

        with ThreadPoolExecutor(4) as pool:
            guards = [guard for future in [pool.submit(reserve) for _ in range(4)] if (guard := future.result())]
        assert len(guards) == 1
        guards[0].close()


def test_a_guard_does_not_listen() -> None:
    with reserve_grpc_port("127.0.0.1", 0) as guard, pytest.raises(ConnectionRefusedError):
        socket.create_connection(guard.getsockname(), DEADLINE_S)


def test_processes_that_inherit_the_http_socket_share_its_connections() -> None:
    with listen("127.0.0.1", 0) as listener:
        number = listener.fileno()
        with program(ACCEPT_ONE, number, (number,)) as one, program(ACCEPT_ONE, number, (number,)) as two:
            assert line(one) == line(two) == "waiting"
            answered = set()
            for _ in range(2):
                with socket.create_connection(listener.getsockname(), DEADLINE_S) as client:
                    answered.add(int(client.recv(64)))
            assert answered == {one.pid, two.pid}


def test_an_unknown_host_is_refused_with_its_cure() -> None:
    with pytest.raises(CannotListen, match="choose another --host"):
        reserve_grpc_port("nowhere.invalid", 0)
