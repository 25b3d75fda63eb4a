"""The vigil: who is looked at, who is ended, and that nobody's end is another's."""

import pytest

from scanstream.push.vigil import SWEEP_SECONDS, Vigil, is_over, watched
from scanstream.security.caller import EVERYBODY
from support.guards import Ring

pytestmark = pytest.mark.anyio


async def test_those_whose_credential_has_ended_are_expelled_once(caplog: pytest.LogCaptureFixture) -> None:
    ring = Ring()
    vigil = Vigil(ring)
    keys = [ring.key(name) for name in ("ann", "ben", "cat", "dan")]
    callers = [await ring.caller(key) for key in keys]
    expelled: list[str] = []

    def defect() -> None:
        expelled.append("defect")
        raise LookupError("a defect")

    def ben() -> None:
        expelled.append("ben")
        vigil.depart(dan)  # as one connection may end another

    def cat() -> None:
        expelled.append("cat")

    def dan() -> None:
        expelled.append("dan")

    for expel, caller in zip((defect, ben, cat, dan), callers, strict=True):
        vigil.attend(expel, caller)
    await vigil.sweep()
    assert (expelled, len(vigil)) == ([], 4)
    for key in (keys[0], keys[1], keys[3]):
        ring.revoke(key)
    await vigil.sweep()
    await vigil.sweep()
    assert (expelled, len(vigil)) == (["defect", "ben"], 1)
    assert "a defect in ending a connection" in caplog.text
    vigil.attend(cat, callers[0])  # it goes on as another
    await vigil.sweep()
    assert (expelled[-1], len(vigil)) == ("cat", 0)
    assert SWEEP_SECONDS <= 1


async def test_where_nobody_is_asked_nobody_looks() -> None:
    with watched(None, lambda: None, EVERYBODY):
        assert not is_over(None, EVERYBODY)
