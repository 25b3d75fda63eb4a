"""What msgspec raises for bytes, or a text, that are not what they should be: more than its own errors."""

import msgspec

UNDECODABLE = (msgspec.MsgspecError, UnicodeError, RecursionError)
"""Of a text that is no UTF-8 (or has half a sign in it), and of what is nested too deep, it raises Python's."""
