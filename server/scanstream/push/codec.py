"""Bytes to messages and back, in JSON and in MessagePack, equal value for value. Decoding is validation."""

import re
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from scanstream.errors import FieldError, InvalidJson, InvalidMessage, InvalidRequest, ScanstreamError
from scanstream.log.scanlog import Frame, ScanLog
from scanstream.message import ClientMessage, Error, FieldProblem, FollowRequest, ServerMessage, Snapshot, Update
from scanstream.model import DiscoverRequest

Payload = str | bytes
"""A message on the wire: text in JSON, bytes in MessagePack."""

_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(.*?)`")
_MISSING_FIELD = re.compile(r"Object missing required field `(.*?)`")


class Codec:
    """One of the two formats."""

    def __init__(self, name: str, subprotocol: str, format: Any, *, text: bool) -> None:
        self.name = name
        self.subprotocol = subprotocol
        self.text = text
        """Whether its messages are text frames."""
        self._format = format
        self._messages = format.Decoder(ClientMessage)
        self._requests = format.Decoder(DiscoverRequest)
        self._follows = format.Decoder(FollowRequest)
        self._encoder = format.Encoder()

    def decode_message(self, payload: Payload) -> ClientMessage:
        """A client's WebSocket message.

        :raises InvalidJson: if it is not of this format
        :raises InvalidMessage: if it is no message of the protocol
        """
        try:
            message: ClientMessage = self._decode(self._messages, payload)
        except msgspec.ValidationError as error:
            field, reason = _located(error)
            raise InvalidMessage(f"{field}: {reason}", errors=[FieldError(field, reason)]) from error
        return message

    def decode_request(self, body: bytes | msgspec.Raw | UnsetType) -> DiscoverRequest:
        """A discover request; an absent one asks for everything.

        :raises InvalidJson: if it is not of this format
        :raises InvalidRequest: naming the field
        """
        if isinstance(body, UnsetType) or not bytes(body).strip():
            return DiscoverRequest()
        request: DiscoverRequest = self._valid(self._requests, body)
        return request

    def decode_follow(self, body: bytes) -> FollowRequest:
        """What a `follow` asks for; an absent body is an empty object.

        :raises InvalidJson: if it is not of this format
        :raises InvalidRequest: naming the field
        """
        request: FollowRequest = self._valid(self._follows, body.strip() or b"{}")
        return request

    def _valid(self, decoder: Any, body: bytes | msgspec.Raw) -> Any:
        try:
            return self._decode(decoder, body)
        except msgspec.ValidationError as error:
            raise InvalidRequest.of(*_located(error)) from error

    def _decode(self, decoder: Any, payload: Payload | msgspec.Raw) -> Any:
        try:
            return decoder.decode(payload)
        except msgspec.ValidationError:
            raise
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidJson(f"This is not valid {self.name}: {error}") from error
        except RecursionError as error:
            raise InvalidJson(f"This is not valid {self.name}: it is nested too deep") from error

    def id_of(self, payload: Payload) -> str | UnsetType:
        """The id of a message that is not valid otherwise, so that its sender knows which one was refused."""
        try:
            message = self._format.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return UNSET
        identity = message.get("id") if isinstance(message, dict) else None
        return identity if isinstance(identity, str) and len(identity) <= 64 else UNSET

    def encode(self, message: ServerMessage) -> Payload:
        """A message as one WebSocket frame carries it."""
        encoded: bytes = self._encoder.encode(message)
        return encoded.decode() if self.text else encoded


JSON = Codec("JSON", "scanstream.v1.json", msgspec.json, text=True)
MESSAGEPACK = Codec("MessagePack", "scanstream.v1.msgpack", msgspec.msgpack, text=False)
CODECS = (JSON, MESSAGEPACK)


def _located(error: msgspec.ValidationError) -> tuple[str, str]:
    """(field, reason) out of msgspec's text, which ends with the path: … - at `$.symbols[0]`."""
    reason, _, path = str(error).partition(" - at `$")
    field = path.rstrip("`").lstrip(".")
    if unknown := _UNKNOWN_FIELD.match(reason):
        field = f"{field}.{unknown[1]}".lstrip(".")
        reason = "there is no such field"
    elif missing := _MISSING_FIELD.match(reason):
        field = f"{field}.{missing[1]}".lstrip(".")
        reason = "is required"
    return field or "request", reason


def frame_message(log: ScanLog, frame: Frame) -> Snapshot | Update:
    """A frame of a log as the message that carries it."""
    cursor = str(log.cursor(frame.position))
    found = list(frame.opportunities)
    if frame.snapshot:
        return Snapshot(
            scan_id=log.scan_id,
            cursor=cursor,
            state=frame.body,
            opportunities=found if frame.only is None else UNSET,
            offset=0 if frame.only is None else UNSET,
            more=frame.more,
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


def error_message(error: ScanstreamError, message_id: str | UnsetType = UNSET) -> Error:
    """A failure as the message that reports it."""
    return Error(
        id=message_id,
        scan_id=error.scan_id or UNSET,
        code=error.code,
        detail=error.detail,
        errors=[FieldProblem(*item) for item in error.errors] or UNSET,
        retry_after=UNSET if error.retry_after is None else error.retry_after,
    )
