"""Bytes to messages and back. Decoding is validation; what is wrong is said in terms of the field."""

import re
from typing import NoReturn, TypeVar

import msgspec
from msgspec import UNSET

from scanstream.errors import FieldError, InvalidJson, InvalidMessage, InvalidRequest, ScanstreamError
from scanstream.log.scanlog import Frame, ScanLog
from scanstream.message import ClientMessage, Error, FieldProblem, ServerMessage, Snapshot, Update
from scanstream.model import DiscoverRequest

T = TypeVar("T")

_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(.*?)`")

_messages = msgspec.json.Decoder(ClientMessage)
_requests = msgspec.json.Decoder(DiscoverRequest)
_encoder = msgspec.json.Encoder()


def decode_message(text: str | bytes) -> ClientMessage:
    """A client's WebSocket message.

    :raises InvalidJson: if it is not JSON
    :raises InvalidMessage: if it is no message of the protocol
    """
    try:
        message: ClientMessage = _decode(_messages, text)
    except msgspec.ValidationError as error:
        field, reason = _located(error)
        raise InvalidMessage(f"{field}: {reason}", errors=[FieldError(field, reason)]) from error
    return message


def decode_request(body: bytes | msgspec.Raw) -> DiscoverRequest:
    """A discover request; an empty body asks for everything.

    :raises InvalidJson: if it is not JSON
    :raises InvalidRequest: naming the field
    """
    if not bytes(body).strip():
        return DiscoverRequest()
    try:
        return _decode(_requests, body)
    except msgspec.ValidationError as error:
        raise InvalidRequest.of(*_located(error)) from error


def _decode(decoder: msgspec.json.Decoder[T], text: str | bytes | msgspec.Raw) -> T:
    try:
        return decoder.decode(text)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        _not_json(error)
    except RecursionError:
        _not_json("it is nested too deep")


def _not_json(why: object) -> NoReturn:
    raise InvalidJson(f"This is not valid JSON: {why}")


def _located(error: msgspec.ValidationError) -> tuple[str, str]:
    """(field, reason) out of msgspec's text, which ends with the path: … - at `$.symbols[0]`."""
    reason, _, path = str(error).partition(" - at `$")
    field = path.rstrip("`").lstrip(".")
    if unknown := _UNKNOWN_FIELD.match(reason):
        field = f"{field}.{unknown[1]}".lstrip(".")
        reason = "there is no such field"
    return field or "request", reason


def id_of(text: str | bytes) -> str | msgspec.UnsetType:
    """The id of a message that is not valid otherwise, so that its sender knows which one was refused."""
    try:
        message = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return UNSET
    identity = message.get("id") if isinstance(message, dict) else None
    return identity if isinstance(identity, str) and len(identity) <= 64 else UNSET


def encode(message: ServerMessage) -> str:
    """A message as a WebSocket text frame."""
    return _encoder.encode(message).decode()


def frame_message(log: ScanLog, frame: Frame) -> Snapshot | Update:
    """A frame of a log as the message that carries it."""
    cursor = str(log.cursor(frame.position))
    found = list(frame.opportunities)
    if frame.snapshot:
        return Snapshot(
            scan_id=log.scan_id, cursor=cursor, state=frame.body, opportunities=found, offset=0, more=frame.more
        )
    return Update(
        scan_id=log.scan_id,
        cursor=cursor,
        patch=frame.body,
        opportunities=found or UNSET,
        offset=frame.offset if found else UNSET,
        more=frame.more,
        skipped=frame.skipped,
    )


def error_message(error: ScanstreamError, message_id: str | msgspec.UnsetType = UNSET) -> Error:
    """A failure as the message that reports it."""
    return Error(
        id=message_id,
        scan_id=error.scan_id or UNSET,
        code=error.code,
        detail=error.detail,
        errors=[FieldProblem(*item) for item in error.errors] or UNSET,
        retry_after=UNSET if error.retry_after is None else error.retry_after,
    )
