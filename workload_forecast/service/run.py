"""The service's process: the app on uvicorn, until it is told to end."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import threading
from collections.abc import Iterator

import uvicorn

from workload_forecast.errors import EnvironmentProblem
from workload_forecast.service.app import create_app
from workload_forecast.service.logs import LOGGER, log_to_stderr
from workload_forecast.service.options import ServiceOptions
from workload_forecast.service.protocol import bounded

#: Connections that wait to be accepted.
BACKLOG = 4_096

#: Seconds for which a connection without a request is kept: longer than the usual 60 s of load balancers' own.
KEEP_ALIVE_S = 75


#: Seconds for which a thread that works on a large request keeps the event loop waiting; Python's own are 0.005.
SWITCH_S = 0.001


def run_service(options: ServiceOptions) -> None:
    """Serve until SIGTERM or SIGINT; requests that are being worked on are answered before the end.

    Raises:
        EnvironmentProblem: the address is taken, or is none of this machine.
    """
    log_to_stderr()
    sys.setswitchinterval(SWITCH_S)
    listening = _listen(options.host, options.port)
    with listening, _ends_quietly():
        _allow_connections()
        config = uvicorn.Config(
            create_app(options), http=bounded(options.request_timeout_s), ws="none", lifespan="on", log_config=None,
            access_log=False, server_header=False, backlog=BACKLOG, timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=int(2 * options.request_timeout_s) + 1, proxy_headers=False,
        )  # fmt: skip
        host, port = listening.getsockname()[:2]
        LOGGER.info("listening on http://%s:%d", f"[{host}]" if ":" in host else host, port)
        uvicorn.Server(config).run(sockets=[listening])
    LOGGER.info("ended")


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as problem:
        raise EnvironmentProblem(f"{host} is no address to listen on: {problem.strerror}.") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as problem:
        listening.close()
        raise EnvironmentProblem(
            f"the service cannot listen on {host}:{port}: {problem.strerror}. Give another --port."
        ) from None
    return listening


@contextlib.contextmanager
def _ends_quietly() -> Iterator[None]:
    """Let a signal end the server and nothing else: uvicorn raises it again when it has ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _allow_connections() -> None:
    """Raise the soft limit of open files to the hard one: each connection is a file."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
