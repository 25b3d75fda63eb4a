"""The streams of JetStream: made if they are not there, and refused if they are not what we stand on.

An older server takes a configuration with what it does not know, and leaves that out: so what is there is looked at,
whoever made it.
"""

from collections.abc import Mapping
from typing import Any

import anyio

from scanstream.engines.nats.answers import RETRY_AFTER, ApiError
from scanstream.engines.nats.connection import Connection
from scanstream.errors import EngineUnusable, SettingError, StoreUnavailable

SCANS = "SCANS"
DUPLICATES_SECONDS = 120
"""How long JetStream knows a message again by its `Nats-Msg-Id`. Nothing but room rests on it."""

NO_STREAM, NAME_IN_USE = 10059, 10058
_UNLIMITED = -1
LEAST_MESSAGE = 1024 * 1024
"""In bytes: what one message of a stream may hold (`max_msg_size`), where that is bounded."""


def of_scans(connection: Connection) -> dict[str, Any]:
    """What the stream of all scans must be: it refuses what it has no room for, and forgets nothing by itself."""
    names = connection.names
    return {
        "name": names.stream(SCANS),
        "subjects": [names.subject(subject) for subject in ("scan.>", "note.>", "barrier.*")],
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "max_age": 0,
        "max_msgs": _UNLIMITED,
        "max_msgs_per_subject": _UNLIMITED,
        "duplicate_window": DUPLICATES_SECONDS * 10**9,
        "allow_direct": True,
        "allow_msg_ttl": True,
        "allow_rollup_hdrs": True,
        "deny_delete": False,
        "deny_purge": False,
    }


def of_queue(connection: Connection, name: str, subjects: str) -> dict[str, Any]:
    """What a stream must be whose messages are work: one goes when it is done, and a subject has one."""
    names = connection.names
    return {
        "name": names.stream(name),
        "subjects": [names.subject(subjects)],
        "storage": "file",
        "retention": "workqueue",
        "discard": "new",
        "max_age": 0,
        "max_msgs_per_subject": 1,
        "deny_delete": False,
        "deny_purge": False,
    }


async def require_stream(connection: Connection, wanted: Mapping[str, Any], patience: float) -> dict[str, Any]:
    """The stream as it is now, made if it was not there. What `wanted` does not name is the operator's to set.

    :raises SettingError: if it is there and is another; both values are named
    :raises EngineUnusable: if JetStream does not answer, or does not make it
    """
    until = anyio.current_time() + patience
    name, options = wanted["name"], connection.options
    while True:
        left = max(0.0, until - anyio.current_time())
        try:
            try:
                found = await connection.request_api(f"STREAM.INFO.{name}", patience=left)
            except ApiError as error:
                if error.code != NO_STREAM:
                    raise
                config = {**wanted, "num_replicas": options.replicas_of_new}
                found = await connection.request_api(f"STREAM.CREATE.{name}", config, patience=left)
        except ApiError as error:
            if error.code == NAME_IN_USE:  # another node has made it meanwhile
                await anyio.sleep(0.1)
                continue
            raise EngineUnusable(f"NATS does not give us the stream {name}: {error}") from error
        except StoreUnavailable as error:
            raise EngineUnusable(f"JetStream of NATS does not answer for the stream {name}: {error}") from error
        _require(name, found["config"], wanted, options.replicas)
        return found


async def still_as(connection: Connection, wanted: Mapping[str, Any], patience: float) -> None:
    """See to it that nobody has changed the stream since.

    :raises StoreUnavailable: if somebody has, so that we do not stand on it; or if nobody says
    """
    try:
        found = await connection.request_api(f"STREAM.INFO.{wanted['name']}", patience=patience)
        _require(wanted["name"], found["config"], wanted, None)
    except ApiError as error:
        told = f"NATS: {error} ({wanted['name']}): if it was deleted, bring back a backup, or start all nodes anew"
        raise StoreUnavailable(told, retry_after=RETRY_AFTER) from error
    except SettingError as error:
        raise StoreUnavailable(str(error), retry_after=RETRY_AFTER) from error


def _require(name: str, config: Mapping[str, Any], wanted: Mapping[str, Any], replicas: int | None) -> None:
    demanded = dict(wanted) if replicas is None else {**wanted, "num_replicas": replicas}
    for key, value in demanded.items():
        there = config.get(key, False if isinstance(value, bool) else 0)
        if there != value:
            what = "--replicas" if key == "num_replicas" else key
            raise SettingError(
                f"The stream {name} of NATS has {what} {_told(key, there)}, and this node wants {_told(key, value)}; "
                "change the one or the other"
            )
    if 0 < (most := config.get("max_msg_size", _UNLIMITED)) < LEAST_MESSAGE:
        raise SettingError(
            f"The stream {name} of NATS has max_msg_size {most}, and this node wants {LEAST_MESSAGE} or none; change it"
        )


def _told(key: str, value: object) -> str:
    """A value as an operator writes it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if key in {"duplicate_window", "max_age"} and isinstance(value, int):
        return f"{value / 10**9:g} s"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
