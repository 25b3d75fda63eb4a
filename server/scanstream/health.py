"""How a node without doors is: what a supervisor, a balancer and Prometheus ask for, on a port of its own.

Open before all else and closed after it: who asks while the node starts, or while it ends, is told so.
"""

import contextlib
import errno
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from scanstream.core import Core
from scanstream.errors import Forbidden, PortInUse, Restarting, SettingError
from scanstream.metrics import MEDIA_TYPE
from scanstream.push.callers import CallerRule, caller_of
from scanstream.push.host import is_local
from scanstream.push.origin import OriginCheck
from scanstream.push.problem import json_response
from scanstream.push.refusals import REFUSALS, CacheRule
from scanstream.push.transport.listener import listen
from scanstream.security.opening import open_guard
from scanstream.server import answering
from scanstream.settings import Settings

RETRY_SECONDS = 2
MOST_ASKING = 32
"""Connections at once: a supervisor, a balancer, Prometheus."""


class Health:
    """What there is to say of a worker."""

    def __init__(self, *, told: bool) -> None:
        """:param told: whether strangers may have the metrics, or are none there"""
        self._told = told
        self.where = ""
        """The address to ask at; empty if there is none."""
        self._core: Core | None = None
        self._phase = "starts: it takes no shards yet"

    def takes_shards(self, core: Core) -> None:
        """From now on it is ready, as long as nothing is wrong."""
        self._core, self._phase = core, ""

    def ends(self) -> None:
        """From now on it takes no shards."""
        self._phase = "stops: it gives back what it has"

    async def alive(self, _: Request) -> Response:
        """`/healthz`: the process answers."""
        return json_response({"status": "ok"})

    async def ready(self, _: Request) -> Response:
        """`/readyz`: it takes shards.

        :raises Restarting: if it does not, as it starts or stops
        """
        if self._core is None or self._phase:
            raise Restarting(f"The worker {self._phase}", retry_after=RETRY_SECONDS)
        await self._core.readiness.require()
        return json_response({"status": "ready"})

    async def metrics(self, request: Request) -> Response:
        """`/metrics`: as those of a server.

        :raises Forbidden: if others than this machine reach the port, and nobody is asked who they are
        :raises Restarting: if there are none yet
        """
        if not self._told:
            raise Forbidden(
                "Others than this machine reach this port, and with --auth none it asks nobody who they are: give the "
                "worker --auth required and --keys FILE, or --insecure where something else decides who comes in"
            )
        caller_of(request).operates()
        if self._core is None:
            raise Restarting(f"The worker {self._phase}", retry_after=RETRY_SECONDS)
        return Response(await self._core.metrics.text(), media_type=MEDIA_TYPE)


@asynccontextmanager
async def answering_for_health(settings: Settings) -> AsyncIterator[Health]:
    """Answers on `--health-port`, where one is given.

    :raises SetupError: if that cannot be had
    """
    told = settings.asks or settings.insecure or is_local(settings.host)
    health, port = Health(told=told), settings.health_port
    if port is None:
        yield health
        return
    paths = {"/healthz": health.alive, "/readyz": health.ready, "/metrics": health.metrics}
    try:
        listener = listen(settings.host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(f"Port {port} on {settings.host} is in use; name another with --health-port") from error
        says = f"--host {settings.host} --health-port {port}: {error.strerror or error}"
        raise SettingError(says) from error
    with contextlib.closing(listener):
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        health.where = f"http://{host}:{listener.getsockname()[1]}"
        async with open_guard(settings, secrets.token_bytes(32)) as guard:  # scan tokens are nobody's here
            routes = [Route(path, answer) for path, answer in paths.items()]
            app = Starlette(
                routes=routes, middleware=[Middleware(CallerRule, guard=guard)], exception_handlers=REFUSALS
            )
            checked = CacheRule(OriginCheck(app, origins=frozenset(), names=settings.host_names))
            async with answering(checked, listener, MOST_ASKING):
                yield health
