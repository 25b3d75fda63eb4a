"""What plain data weighs in memory, as the interpreter counts it."""

import sys
from typing import Any

from msgspec import Struct


def weight(*values: Any) -> int:
    """Bytes of these values and all that they hold; what is held twice counts once."""
    seen: set[int] = set()
    left: list[Any] = list(values)
    total = 0
    while left:
        value = left.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        total += sys.getsizeof(value)
        if isinstance(value, dict):
            left += value.keys()
            left += value.values()
        elif isinstance(value, list | tuple):
            texts = {id(item): item for item in value if type(item) is str}  # all at once: there may be ten thousand
            new = texts.keys() - seen
            seen |= new
            total += sum(map(sys.getsizeof, map(texts.__getitem__, new)))
            left += (item for item in value if type(item) is not str)
        elif isinstance(value, Struct):
            left += (getattr(value, name) for name in value.__struct_fields__)
    return total
