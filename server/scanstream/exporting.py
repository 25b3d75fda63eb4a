"""Where traces go, as OpenTelemetry's standard variables say: what cannot be used is said, and costs only the traces.

OpenTelemetry tells in its log what of these it cannot use, with all that is in it. That may be a password or a token.
"""

import logging
import os
import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any
from urllib.parse import unquote

from scanstream import __version__
from scanstream.about import node_name

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
HEADERS = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
"""Variables in which credentials stand."""
TELLING = ("opentelemetry.util.re", "opentelemetry.exporter.otlp.proto.http.trace_exporter")
"""Loggers that say what is in them."""
_LOGIN = re.compile(r"[^@/]*:([^@]+)@")

logger = logging.getLogger("scanstream")


def _wanted(environ: Mapping[str, str]) -> bool:
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if environ.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() == "none":
        return False
    named = next((name for name in ENDPOINTS if environ.get(name)), None)
    if named is None:
        return False
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        logger.warning("%s is set, and OpenTelemetry is not installed: pip install 'scanstream[otel]'", named)
        return False
    return True


def tracer_provider() -> Any | None:
    """What makes spans and sends them off, in a thread of its own; None where there are to be none, or can be none."""
    if not _wanted(os.environ):
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    keep = _Kept(sorted(secrets(os.environ), key=len, reverse=True))
    for telling in TELLING:
        logging.getLogger(telling).addFilter(keep)
    told = {"service.version": __version__, "service.instance.id": node_name()}
    name = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "scanstream"}
    try:
        made = TracerProvider(resource=Resource.create({**name, **told}), shutdown_on_exit=False)
        made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    except ValueError as error:
        logger.warning("no traces are sent: the variables OTEL_… cannot be used together: %s", keep.out_of(str(error)))
        return None
    return made


def secrets(environ: Mapping[str, str]) -> Iterator[str]:
    """What of the variables nobody is told, in each form in which it may be met."""
    for text in filter(None, map(environ.get, HEADERS)):
        for piece in text.split(","):
            value = piece.partition("=")[2] or piece
            yield from filter(None, (value.strip(), unquote(value).strip()))
            yield from filter(None, (repr(unquote(value))[1:-1], unquote(value)))
    for text in filter(None, map(environ.get, ENDPOINTS)):
        if (login := _LOGIN.search(text.partition("://")[2] or text)) is not None:
            yield from {login[1], unquote(login[1])}


class _Kept(logging.Filter):
    """Has a logger tell all but these."""

    def __init__(self, known: list[str]) -> None:
        super().__init__()
        self._known = known

    def filter(self, record: logging.LogRecord) -> bool:
        """See `logging.Filter.filter`."""
        record.msg, record.args = self.out_of(record.getMessage()), None
        return True

    def out_of(self, text: str) -> str:
        """The text without them."""
        for secret in self._known:
            text = text.replace(secret, "***")
        return text
