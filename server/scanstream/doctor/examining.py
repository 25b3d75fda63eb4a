"""Everything that is looked at, in order."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import anyio
import click
import msgspec
from anyio import to_thread

from scanstream.client.addresses import address
from scanstream.client.token import Secret
from scanstream.doctor import data, machine
from scanstream.doctor.finding import Finding, bad, good, lines
from scanstream.doctor.running import of_running
from scanstream.errors import ScanstreamError, SetupError

MARKET_SECONDS = 60.0


def told(flags: Mapping[str, Any], url: str | None, secret: Secret = None, *, as_json: bool) -> int:
    """Print what is found; 0 if all holds, else 1."""
    findings = anyio.run(examine, flags, url, secret)
    holds = all(one.holds for one in findings)
    if as_json:
        click.echo(msgspec.json.encode({"ok": holds, "checks": findings}))
    else:
        for line in lines(findings):
            click.echo(line)
        bad_ones = sum(not one.holds for one in findings)
        click.echo("All holds." if holds else f"{bad_ones} of {len(findings)} do not hold.")
    return 0 if holds else 1


async def examine(flags: Mapping[str, Any], url: str | None, secret: Secret = None) -> list[Finding]:
    """What is found of a server that runs at `url`; where that is None, of one with these settings.

    :param flags: of `scanstream serve`
    """
    findings = [*machine.versions(), *machine.clock()]
    if url is not None:
        try:
            there = address(url)
        except ValueError as error:
            return [*findings, bad("url", str(error), "write http://HOST:PORT")]
        return [*findings, *[one async for one in of_running(there, secret)]]
    return [*findings, *[one async for one in _of_settings(flags)]]


async def _of_settings(flags: Mapping[str, Any]) -> AsyncIterator[Finding]:
    try:
        from scanstream.settings import Settings  # noqa: PLC0415  # the server is an extra
    except ImportError as error:
        yield bad("settings", f"the server is not installed ({error.name})", "pip install 'scanstream[server]'")
        return
    try:
        settings = Settings(**flags)
    except SetupError as error:
        yield bad("settings", str(error), "give it as that says; docs/settings.md has all of them")
        return
    yield good("settings", "they can work", "; ".join(settings.doubts(set())))
    for one in machine.limits(settings.workers, settings.directory):
        yield one
    if settings.nats is None:
        for one in data.of_sqlite(settings):
            yield one
    else:
        async for one in data.of_nats(settings):
            yield one
    yield await _credentials(settings)
    yield await _market(settings)
    for one in _port(settings.host, settings.port):
        yield one
    yield _page()
    for one in _strategies():
        yield one


async def _credentials(settings: Any) -> Finding:
    """Whether what callers are known by can be read. Nothing of it is told."""
    from scanstream.security.opening import open_guard  # noqa: PLC0415

    try:
        async with open_guard(settings, bytes(32)) as guard:
            if guard.required:
                return good("credentials", "a credential is asked for, and what it is known by can be read")
    except ScanstreamError as error:
        return bad("credentials", str(error), "docs/security.md says what is needed")
    return good("credentials", "none is asked for: whoever reaches the port may use the server")


async def _market(settings: Any) -> Finding:
    """Whether there is one. Files are read, as the start reads them; an exchange is not asked, but must be known."""
    kind, _, path = settings.market.partition(":")
    try:
        market = settings.open_market()
        if kind == "ccxt":
            await to_thread.run_sync(_known, path)
        if kind != "files":
            return good("market", f"{settings.market}" + (", which is not read here" if kind == "ccxt" else ""))
        async with asyncio.timeout(MARKET_SECONDS):
            panel = await to_thread.run_sync(market.load, abandon_on_cancel=True)
    except TimeoutError:
        return good("market", f"{path} takes over {MARKET_SECONDS:g} s to be read", "scanstream market check says more")
    except ScanstreamError as error:
        more = f"scanstream market check {path or 'PATH'} says more"
        return bad("market", str(error), more if kind == "files" else "docs/market.md has all kinds")
    return good("market", f"{settings.market}: {len(panel.symbols)} symbols, {panel.bars} bars")


def _known(venues: str) -> None:
    """:raises MarketError: if ccxt is not installed, or knows one of these exchanges not; nobody is asked"""
    from scanstream.market.venue import connect  # noqa: PLC0415

    for venue in venues.split(","):
        connect(venue.strip())


def _page() -> Finding:
    """Whether its files are there: without them no server starts."""
    from scanstream.routes import static_files  # noqa: PLC0415

    try:
        return good("page", f"its files are in {static_files()}")
    except SetupError as error:
        return bad("page", str(error), "pip install --force-reinstall scanstream")


def _port(host: str, port: int) -> Iterator[Finding]:
    """Whether it can be listened on, just now."""
    if not port:
        yield good("port", "a free one is picked")
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family):
            pass
    except OSError as error:
        yield bad("port", f"{host} port {port}: {_reason(error)}", _instead(error))
    else:
        yield good("port", f"{host} port {port} is free")


def _reason(error: OSError) -> str:
    """Without the address that Python puts behind it."""
    return str(error.strerror or error).partition(" (while ")[0]


def _instead(error: OSError) -> str:
    """What to do where a port cannot be listened on."""
    if error.errno == errno.EADDRINUSE:
        return "stop who listens there (or is it this server? then see --url), or name another --port"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "name a --port from 1024 on, or give the process the right to lower ones (CAP_NET_BIND_SERVICE)"
    return "name an address of this machine with --host: 127.0.0.1, or 0.0.0.0 for all"


def _strategies() -> Iterator[Finding]:
    """Those that are installed; one that is broken is told by its package."""
    from scanstream.strategies.installed import registry, require_all  # noqa: PLC0415

    try:
        require_all()
    except ScanstreamError as error:
        yield bad("strategies", str(error), "mend or uninstall the package that brings it")
    else:
        yield good("strategies", ", ".join(registry()))
