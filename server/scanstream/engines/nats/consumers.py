"""Durable consumers, which nodes share: made if they are not there, and refused if they are not what we stand on."""

from collections.abc import Mapping
from typing import Any

from scanstream.engines.nats.answers import ApiError
from scanstream.engines.nats.connection import Connection
from scanstream.errors import EngineUnusable, SettingError, StoreUnavailable

NO_CONSUMER, CONSUMER_EXISTS = 10014, 10148
SETTINGS = {"ack_wait": "--lease", "max_ack_pending": "--max-running"}
"""What a difference is called by, where an operator's setting makes it."""


def shared(name: str, subjects: str, lease: float, most: int) -> dict[str, Any]:
    """A consumer whose messages one node has at a time.

    :param lease: seconds after which a message is another's if whoever has it gives no sign of life
    :param most: messages that all nodes have together at most; -1: any number
    """
    return {
        "name": name,
        "durable_name": name,
        "filter_subject": subjects,
        "deliver_policy": "all",
        "replay_policy": "instant",
        "ack_policy": "explicit",
        "ack_wait": round(lease * 10**9),
        "max_ack_pending": most,
        "max_deliver": -1,
    }


async def require_consumer(connection: Connection, stream: str, wanted: Mapping[str, Any]) -> None:
    """The consumer is there, and as it is wanted.

    :raises SettingError: if it is there and is another; both values are named
    :raises EngineUnusable: if JetStream does not answer, or does not make it
    """
    name = wanted["name"]
    try:
        found = await _found(connection, stream, name)
        if found is None:
            request = {"stream_name": stream, "config": dict(wanted), "action": "create"}
            try:
                subject = f"CONSUMER.CREATE.{stream}.{name}.{wanted['filter_subject']}"
                found = await connection.request_api(subject, request)
            except ApiError as error:
                found = await _found(connection, stream, name) if error.code == CONSUMER_EXISTS else None
                if found is None:
                    raise
    except (ApiError, StoreUnavailable) as error:
        raise EngineUnusable(f"NATS does not give us the consumer {name} of {stream}: {error}") from error
    _require(name, found["config"], wanted)


async def _found(connection: Connection, stream: str, name: str) -> dict[str, Any] | None:
    try:
        return await connection.request_api(f"CONSUMER.INFO.{stream}.{name}")
    except ApiError as error:
        if error.code != NO_CONSUMER:
            raise
        return None


def _require(name: str, config: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for key, value in wanted.items():
        if (there := config.get(key)) != value:
            here, told = (f"{one / 10**9:g}" if key == "ack_wait" and one else str(one) for one in (value, there))
            raise SettingError(
                f"The other nodes have {SETTINGS.get(key, key)} {told} (the consumer {name} of NATS), and this one has "
                f"{here}; give all the same, or stop all and delete the consumer"
            )
