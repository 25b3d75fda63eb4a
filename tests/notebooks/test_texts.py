"""What stays in a notebook that is saved: nothing that a server says becomes markup, nothing secret, all bounded."""

from html.parser import HTMLParser
from typing import Any

import pytest

from scanstream.client import Connection, Scan
from scanstream.client.feeds import Feed
from scanstream.client.mirror import Mirror
from scanstream.errors import Expired
from scanstream.notebook.shown import BEST, MOST_LETTERS, MOST_STRATEGIES, page, plain
from scanstream.notebook.texts import closing, still

EVIL = '<img src=x onerror="alert(1)">&\'"'
AT = "2026-11-26 22:00:00 UTC"


class Owner:
    """What a scan asks of its client."""

    def __init__(self, url: str = "http://127.0.0.1:8000") -> None:
        self.url = url
        self.connection = Connection()

    _results: Any = None
    _cancel: Any = None
    _share: Any = None
    _notify: Any = None

    def _leave(self, scan: Scan) -> None:
        del scan


def a_scan(name: str = "scan_1", *, url: str = "http://127.0.0.1:8000", **more: Any) -> Scan:
    """One that runs, as a client holds it."""
    mirror = Mirror()
    mirror.state = {
        "scan_id": name,
        "status": "scanning",
        "phase": "running",
        "message": "Running",
        "market": "synthetic:1",
        "progress": {"percentage": 42, "shards_completed": 3, "total_shards": 8, "opportunities_found_so_far": 2},
        "strategies": {"tsmom": strategy()},
        **more,
    }
    return Scan(Owner(url), Feed(name, mirror, None), held=mirror.state)


def strategy(**more: Any) -> dict[str, Any]:
    """How far one is."""
    return {"status": "running", "shards_completed": 3, "total_shards": 8, "opportunities_found": 2, **more}


def found(confidence: float, symbol: str = "BTC/USDT") -> dict[str, Any]:
    """One opportunity, with the fields that are shown."""
    return {
        "id": f"tsmom:{symbol}:{confidence}",
        "symbol": symbol,
        "strategy_id": "tsmom",
        "side": "long",
        "confidence_score": confidence,
        "expected_return": -0.01,
        "profit_potential_usd": 1234.5,
        "metadata": {"large": "x" * 10_000},
    }


def tags(html: str) -> list[str]:
    """The elements in it."""
    seen: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: seen.append(tag)  # type: ignore[method-assign]
    parser.feed(html)
    return seen


def test_the_still_line_says_how_far_it_is_and_how_to_come_back() -> None:
    line = still(plain(a_scan()), AT)

    for text in line.values():
        for part in ("scan_1", "42 %", "3 of 8 shards", "2 found", AT, "http://127.0.0.1:8000/#scan_1", "generated"):
            assert part in text
    assert 'await client.watch("scan_1")' in line["text/plain"]
    assert tags(line["text/html"]) == ["div", "b", "code", "a"]


def test_what_a_server_says_is_no_markup() -> None:
    scan = a_scan(EVIL, message=EVIL, strategies={EVIL: strategy(note=EVIL, status=EVIL)})
    scan.feed.mirror.opportunities = [found(99.0, EVIL)]
    shown = plain(scan, trouble=EVIL)

    for html in (still(shown, AT, hint=EVIL)["text/html"], closing(shown)["text/html"]):
        assert "img" not in tags(html)
        assert EVIL not in html


def test_what_a_server_says_is_obeyed_by_no_terminal() -> None:
    """There is IPython, and there are programs that print what is in a notebook."""
    orders = "\x1b[2J\x1b]0;title\x07\x9b31m\u202eabc"
    scan = a_scan(orders, message=orders, strategies={orders: strategy(note=orders, status=orders)})
    scan.feed.mirror.opportunities = [found(99.0, orders)]
    shown = plain(scan, trouble=orders)
    for text in (still(shown, AT, hint=orders)["text/plain"], closing(shown)["text/plain"]):
        assert "abc" in text
        assert all(line.isprintable() for line in text.split("\n"))
    assert closing(shown)["text/plain"].count("\n") == 2


@pytest.mark.parametrize("url", ["https://me:secret@host:1/below", "https://me:secret@host:1/below/"])
def test_no_password_gets_into_a_notebook(url: str) -> None:
    shown = plain(a_scan(url=url))

    assert page(url, "scan_1") == "https://host:1/below/#scan_1"
    assert "secret" not in f"{shown}{still(shown, AT)}{closing(shown)}"


def test_what_is_shown_is_bounded_however_much_there_is() -> None:
    many = {f"strategy{number}": strategy(note="y" * 5_000) for number in range(200)}
    scan = a_scan(message="x" * 100_000, strategies=many)
    scan.feed.mirror.opportunities = [found(number / 100) for number in range(10_000)]
    shown = plain(scan, trouble="z" * 100_000)

    assert [one["confidence_score"] for one in shown["best"]] == [99.99, 99.98, 99.97, 99.96, 99.95][:BEST]
    assert (len(shown["strategies"]), shown["more_strategies"]) == (MOST_STRATEGIES, 200 - MOST_STRATEGIES)
    assert max(len(shown["message"]), len(shown["trouble"]), len(shown["strategies"][0]["note"])) == MOST_LETTERS
    assert len(str(shown)) < 30_000


def test_a_scan_that_nothing_more_comes_of_says_why() -> None:
    gone, left = a_scan(), a_scan()
    gone.feed.error = Expired("It has expired")
    left.close()

    assert (plain(gone)["over"], plain(gone)["left"]) == (True, "It has expired")
    assert "goes on at the server" in still(plain(left), AT)["text/plain"]
    assert plain(left, cancelling=True)["cancelling"] is False


def test_before_the_first_frame_there_is_what_the_ack_said() -> None:
    scan = Scan(Owner(), Feed("scan_1", Mirror(), None), held={"scan_id": "scan_1", "status": "scanning"})

    assert "scan_1 · scanning · 0 %" in still(plain(scan), AT)["text/plain"]
    assert tags(closing(plain(scan))["text/html"]) == ["div", "p"]


def test_a_client_alone_shows_nothing_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Scan] = []
    scan = a_scan()
    monkeypatch.setattr("scanstream.client.scan.installed", lambda: shown.append)
    scan._ipython_display_()
    monkeypatch.setattr("scanstream.client.scan.installed", lambda: None)
    with pytest.raises(NotImplementedError):  # what makes IPython take `repr`
        scan._ipython_display_()

    assert shown == [scan]
    assert repr(scan) == "<Scan scan_1: scanning>"
