"""Bytes to messages and back, in JSON and in MessagePack, equal value for value. Decoding is validation."""

import json
import re
from codecs import BOM_UTF8
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from scanstream.errors import InvalidJson, InvalidMessage, InvalidRequest, ScanstreamError
from scanstream.log.packed import Piece
from scanstream.log.scanlog import Frame, ScanLog
from scanstream.message import (
    LONGEST_NAME,
    ClientMessage,
    Error,
    FieldProblem,
    FollowRequest,
    MessageId,
    NotifyRequest,
    ServerMessage,
    ShareRequest,
    Snapshot,
    Update,
)
from scanstream.message import DiscoverRequest as Asked
from scanstream.model import DiscoverRequest, Parameters
from scanstream.push.plain import not_plain
from scanstream.undecodable import UNDECODABLE

Payload = str | bytes
"""A message on the wire: text in JSON, bytes in MessagePack."""

MOST_PARAMETER_BYTES = 16 * 1024
"""Of all parameters of a request as they come in: what is kept of a scan is bounded by it."""
_PATH = re.compile(r" - at (?:`key` in )?`\$(.*)`$", re.DOTALL)
_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING_FIELD = re.compile(r"Object missing required field `(.*?)`")


_SOME_PARAMETERS = "parameters[...]"
"""As msgspec calls those of one strategy, whichever."""


class _Weighed(msgspec.Struct):
    """A request whose parameters are not looked into yet."""

    parameters: msgspec.Raw | UnsetType = UNSET


class _Addressed(msgspec.Struct):
    """A message of which nothing counts but who asks."""

    id: msgspec.Raw | UnsetType = UNSET


class Codec:
    """One of the two formats."""

    def __init__(self, name: str, subprotocol: str, format: Any, *, text: bool) -> None:
        self.name = name
        self.subprotocol = subprotocol
        self.text = text
        """Whether its messages are text frames."""
        self._format = format
        self._messages = format.Decoder(ClientMessage)
        self._requests = format.Decoder(Asked)
        self._follows = format.Decoder(FollowRequest)
        self._shares = format.Decoder(ShareRequest)
        self._notifies = format.Decoder(NotifyRequest)
        self._weighed = format.Decoder(_Weighed)
        self._addressed = format.Decoder(_Addressed)
        self._identities = format.Decoder(MessageId)
        self._encoder = format.Encoder()

    def decode_message(self, payload: Payload) -> ClientMessage:
        """A client's WebSocket message.

        :raises InvalidJson: if it is not of this format
        :raises InvalidMessage: if it is no message of the protocol
        """
        try:
            message: ClientMessage = self._decode(self._messages, _unmarked(payload))
        except msgspec.ValidationError as error:
            field, reason = _located(error)
            told = InvalidRequest.of(field, reason)
            raise InvalidMessage(told.detail, errors=told.errors) from error
        return message

    def decode_body(self, body: bytes) -> DiscoverRequest:
        """The body of a discover over HTTP; an empty one asks for everything.

        :raises InvalidJson: if it is not of this format
        :raises InvalidRequest: naming the field
        """
        body = body.removeprefix(BOM_UTF8)
        return self.decode_request(msgspec.Raw(body) if body.strip() else UNSET)

    def decode_request(self, request: msgspec.Raw | UnsetType) -> DiscoverRequest:
        """A discover request; an absent one asks for everything.

        :raises InvalidJson: if it is not of this format
        :raises InvalidRequest: naming the field
        """
        if isinstance(request, UnsetType):
            return DiscoverRequest()
        if len(memoryview(request)) > MOST_PARAMETER_BYTES:  # in a shorter one they cannot take more
            self._parameters(request)
        try:
            decoded: Asked = self._decode(self._requests, request)
        except msgspec.ValidationError as error:
            parameters = self._parameters(request)  # whatever is no text of the format at all is told as that
            field, reason = _located(error)
            if field == _SOME_PARAMETERS and parameters:
                field = _misshapen(self._format.decode(parameters))
            raise InvalidRequest.of(field, reason) from error
        return replace(decoded.plain(), parameters=_given(decoded.parameters))

    def _parameters(self, request: msgspec.Raw) -> bytes | msgspec.Raw:
        """Those of a request, as they came in; empty where there are none."""
        weighed: _Weighed = self._valid(self._weighed, request)
        parameters = weighed.parameters or b""
        if (weight := len(memoryview(parameters))) > MOST_PARAMETER_BYTES:
            raise InvalidRequest.of("parameters", f"take {weight} bytes; at most {MOST_PARAMETER_BYTES} are taken")
        return parameters

    def decode_follow(self, body: bytes) -> FollowRequest:
        """What a `follow` asks for; an absent body is an empty object.

        :raises InvalidJson: if it is not of this format
        :raises InvalidRequest: naming the field
        """
        request: FollowRequest = self._valid(self._follows, body.removeprefix(BOM_UTF8).strip() or b"{}")
        return request

    def decode_share(self, body: bytes) -> ShareRequest:
        """What a token that is handed on is to give; an absent body is an empty object.

        :raises InvalidJson: if it is not of this format
        :raises InvalidRequest: naming the field
        """
        request: ShareRequest = self._valid(self._shares, body.removeprefix(BOM_UTF8).strip() or b"{}")
        return request

    def decode_notify(self, body: bytes) -> NotifyRequest:
        """Who is to be told of a scan's end.

        :raises InvalidJson: if it is not of this format
        :raises InvalidRequest: naming the field
        """
        request: NotifyRequest = self._valid(self._notifies, body.removeprefix(BOM_UTF8).strip() or b"{}")
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
        except RecursionError as error:
            raise InvalidJson(f"This is not valid {self.name}: it is nested too deep") from error
        except UNDECODABLE as error:
            raise InvalidJson(f"This is not valid {self.name}: {self._why(payload, error)}") from error

    def _why(self, payload: Payload | msgspec.Raw, error: Exception) -> str:
        """What is wrong with a text that is none, or is in another encoding than everybody's."""
        encoding = "utf-8"
        if self.text and not isinstance(payload, str):
            encoding = json.detect_encoding(bytes(payload)[:4])
        return str(error) if encoding.startswith("utf-8") else f"it seems to be {encoding}; send UTF-8"

    def id_of(self, payload: Payload) -> str | UnsetType:
        """The id of a message that is not valid otherwise, so that its sender knows which one was refused."""
        try:
            addressed: _Addressed = self._addressed.decode(_unmarked(payload))
            identity = "" if isinstance(addressed.id, UnsetType) else self._identities.decode(addressed.id)
        except UNDECODABLE:
            return UNSET
        return identity or UNSET

    def listed(self, found: Piece) -> list[Any]:
        """Opportunities as `encode` takes them: in JSON as they are kept, without being decoded."""
        return [msgspec.Raw(one) for one in found.encoded()] if self.text else list(found)

    def encode(self, message: ServerMessage) -> Payload:
        """A message as one WebSocket frame carries it."""
        encoded: bytes = self._encoder.encode(message)
        return encoded.decode() if self.text else encoded


JSON = Codec("JSON", "scanstream.v1.json", msgspec.json, text=True)
MESSAGEPACK = Codec("MessagePack", "scanstream.v1.msgpack", msgspec.msgpack, text=False)
CODECS = (JSON, MESSAGEPACK)


def _given(parameters: Parameters | None) -> Parameters | None:
    """The parameters without nulls, which are as good as absent.

    :raises InvalidRequest: naming a value that is not plain
    """
    if parameters is None:
        return None
    for strategy_id, values in parameters.items():
        for name, value in (values or {}).items():
            if foreign := not_plain(value, f"parameters.{strategy_id}.{name}"):
                raise InvalidRequest.of(*foreign)
    return {
        strategy_id: {name: value for name, value in values.items() if value is not None}
        for strategy_id, values in parameters.items()
        if values is not None
    }


def _misshapen(parameters: dict[str, Any]) -> str:
    """Where in the parameters of a request something is no object, or no name."""
    for strategy_id, values in parameters.items():
        if values is not None and not (isinstance(values, dict) and all(map(_is_name, values))):
            return f"parameters.{strategy_id}"
    return "parameters"


def _is_name(key: object) -> bool:
    return isinstance(key, str) and len(key) <= LONGEST_NAME


def _unmarked(payload: Payload) -> Payload:
    """The payload without the byte order mark that some editors put before a text."""
    return payload.removeprefix("\ufeff") if isinstance(payload, str) else payload


def _located(error: msgspec.ValidationError) -> tuple[str, str]:
    """(field, reason) out of msgspec's text, which ends with the path: … - at `$.symbols[0]`."""
    text = str(error)
    match = _PATH.search(text)
    field, reason = (match[1].lstrip("."), text[: match.start()]) if match else ("", text)
    if unknown := _UNKNOWN_FIELD.match(reason):
        field = f"{field}.{unknown[1]}".lstrip(".")
        reason = "there is no such field"
    elif missing := _MISSING_FIELD.match(reason):
        field = f"{field}.{missing[1]}".lstrip(".")
        reason = "is required"
    return field or "request", reason


def frame_message(log: ScanLog, frame: Frame, codec: Codec) -> Snapshot | Update:
    """A frame of a log as the message that carries it, for this codec to encode."""
    cursor = str(log.cursor(frame.position))
    found = codec.listed(frame.opportunities)
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
