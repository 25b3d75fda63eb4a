"""The checks, by what they are about; to import this is to have them all, in the order of the protocol's promises."""

from scanstream.conformance.checks import registration, one_state, resuming, ending, absence, asking, refusals, reuse  # isort: skip
from scanstream.conformance.checks import sockets, following, callers, tokens, pages, silence, restarts  # isort: skip

__all__ = [
    "absence",
    "asking",
    "callers",
    "ending",
    "following",
    "one_state",
    "pages",
    "refusals",
    "registration",
    "restarts",
    "resuming",
    "reuse",
    "silence",
    "sockets",
    "tokens",
]
