"""A process that uses an embedded server as it is told, one line at a time, and answers each line with one line.

acquire URL | acquire-in-thread URL | release | get KEY | set KEY VALUE | incr KEY | cycle URL TIMES | spawn | fork |
fork-and-stay | exit
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

from redis import Redis, UnixDomainSocketConnection
from redis.connection import ConnectionPool

from rqsqs import embedded


def client(server: embedded.EmbeddedServer) -> Redis:
    return Redis(connection_pool=ConnectionPool(UnixDomainSocketConnection, **server.redis_kwargs()))


def call(server: embedded.EmbeddedServer, *command: str) -> str:
    with client(server) as redis:
        reply = redis.execute_command(*command)
        redis.connection_pool.disconnect()
    return reply.decode() if isinstance(reply, bytes) else str(reply)


def fork(server: embedded.EmbeddedServer) -> str:
    """Fork a child that uses the server, takes another hold, gives everything up and ends like any program."""
    child = os.fork()
    if child == 0:
        with embedded.acquire(current_url) as again:
            assert again.pid == server.pid
            call(again, "SET", "child", "was here")
        server.release()
        sys.exit()  # through atexit, unlike os._exit
    return str(os.waitpid(child, 0)[1])


def fork_and_stay() -> str:
    """Fork a child that does nothing until it is killed."""
    child = os.fork()
    if child == 0:
        signal.pause()
    return str(child)


def acquire_in_thread(url: str) -> embedded.EmbeddedServer:
    servers: list[embedded.EmbeddedServer] = []
    thread = threading.Thread(target=lambda: servers.append(embedded.acquire(url)))
    thread.start()
    thread.join()
    return servers[0]


current_url = ""
server: embedded.EmbeddedServer | None = None
for line in sys.stdin:
    name, *args = line.split()
    if name in ("acquire", "acquire-in-thread"):
        current_url = args[0]
        server = embedded.acquire(current_url) if name == "acquire" else acquire_in_thread(current_url)
        answer = f"{server.pid} {server.socket_path}"
    elif name == "cycle":
        for _ in range(int(args[1])):
            with embedded.acquire(args[0]) as held:
                answer = call(held, "INCR", "cycles")
    elif name == "exit":
        sys.exit(0)
    else:
        assert server is not None
        if name == "release":
            server.release()
            answer = "released"
        elif name == "spawn":
            answer = str(subprocess.Popen(["sleep", "60"], close_fds=False, stdout=subprocess.DEVNULL).pid)
        elif name == "fork":
            answer = fork(server)
        elif name == "fork-and-stay":
            answer = fork_and_stay()
        else:
            answer = call(server, name, *args)
    print(answer, flush=True)
