"""The schemas of the contracts: made from the Structs, with what these say in bytes or plain data said in full."""

from collections.abc import Iterable
from typing import Any, TypeAlias

import msgspec

from scanstream import __version__
from scanstream.message import DiscoverRequest
from scanstream.model import ScanState

Plain: TypeAlias = dict[str, Any]

TEXT: Plain = {"type": "string"}
ABOUT: Plain = {
    "title": "scanstream",
    "version": __version__,
    "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
}
"""What both contracts are of."""
_REF = "#/components/schemas/{name}"
IN_FULL = {
    ("Discover", "request"): DiscoverRequest,
    ("Snapshot", "state"): ScanState,
    ("Update", "patch"): ScanState,
}
"""(message, field) → what is in it: the codec decodes it apart, or has it as plain data already."""
PATCH = "Patch"
"""Ends the name of a schema of which any part may be absent."""


def ref(kind: type, ending: str = "") -> Plain:
    """A pointer to the schema of a Struct."""
    return {"$ref": _REF.format(name=kind.__name__ + ending)}


def components(kinds: Iterable[type]) -> Plain:
    """The schemas of these Structs and of all that they hold, by their names."""
    wanted = list(kinds)
    inside = [IN_FULL[key] for key in IN_FULL if key[0] in {kind.__name__ for kind in wanted}]
    _, found = msgspec.json.schema_components([*wanted, *inside], ref_template=_REF)
    schemas: Plain = {**found}
    for (name, field), kind in IN_FULL.items():
        if name in schemas:
            ending = PATCH if field == "patch" else ""
            schemas[name]["properties"][field] = ref(kind, ending)
            if ending:
                _add_patch(kind.__name__, schemas)
    return schemas


def _add_patch(name: str, schemas: Plain) -> None:
    """Of a schema the one of patches on it (docs/protocol.md, section 2): the same, and nothing is required."""
    if name + PATCH not in schemas:
        patch = schemas[name + PATCH] = _partial(schemas[name], schemas)
        patch["title"] = name + PATCH


def _partial(schema: Any, schemas: Plain) -> Any:
    if isinstance(schema, list):
        return [_partial(item, schemas) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        _add_patch(name, schemas)
        return {"$ref": _REF.format(name=name + PATCH)}
    return {key: _partial(value, schemas) for key, value in schema.items() if key not in ("required", "default")}
