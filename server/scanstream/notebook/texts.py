"""What stays in a notebook that is saved: the still line, and at the end the widget as html.

Plain elements only. JupyterLab gives them its colours, light or dark, and takes styles out of a notebook that it does
not trust. Everything that a server said is escaped.
"""

from collections.abc import Iterable
from html import escape

from scanstream.model import Document

Bundle = dict[str, str]
"""Kind of content → content, as displays take it."""


def still(shown: Document, at: str, *, hint: str = "") -> Bundle:
    """One line that needs no kernel: how far, what was found, which scan, and how to come back to it.

    :param at: when that was so
    :param hint: what more there could be to see, if something is missing here
    """
    facts = [shown["scan_id"], *_facts(shown), f"as of {at}"]
    back = f"to come back: await {shown['call']}"
    text = " · ".join([*facts, back, shown["link"], *([hint] if hint else [])])
    html = " · ".join(
        [
            f"<b>{escape(facts[0])}</b>",
            *map(escape, facts[1:]),
            f"to come back: <code>await {escape(shown['call'])}</code>",
            f'<a href="{escape(shown["link"])}" target="_blank" rel="noopener">open its page</a>',
            *([escape(hint)] if hint else []),
        ]
    )
    return _bundle(text, html)


def _bundle(text: str, html: str) -> Bundle:
    """Both forms. The plain one may be printed by a terminal, which obeys none of what is in it."""
    plain = "".join(sign if sign.isprintable() or sign == "\n" else "\ufffd" for sign in text)
    return {"text/plain": plain, "text/html": f"<div>{html}</div>"}


def _facts(shown: Document) -> Iterable[str]:
    yield shown["status"]
    yield f"{shown['percentage']} %"
    done, total = shown["shards"]
    if total:
        yield f"{done} of {total} shards"
    yield f"{shown['found']} found"
    if shown["generated"]:
        yield "generated prices, nothing in them is real"
    if shown["left"]:
        yield shown["left"]


def closing(shown: Document) -> Bundle:
    """The widget as it was last, for whoever opens the notebook later."""
    head = " · ".join([*_facts(shown), shown["message"]])
    text = [head, *(_strategy_line(one) for one in shown["strategies"])]
    text += [
        f"{one['confidence_score']:.1f} {one['side']} {one['symbol']} ({one['strategy_id']})" for one in shown["best"]
    ]
    html = f"<p>{escape(head)}</p>{_strategies(shown)}{_best(shown)}"
    return _bundle("\n".join(text), html)


def _strategy_line(one: Document) -> str:
    note = f" ({one['note']})" if one["note"] else ""
    return f"{one['name']}: {one['status']}, {one['done']}/{one['total']} shards, {one['found']} found{note}"


def _strategies(shown: Document) -> str:
    rows = [
        (one["name"], one["status"], f"{one['done']}/{one['total']}", str(one["found"]), one["note"])
        for one in shown["strategies"]
    ]
    table = _table(("Strategy", "Status", "Shards", "Found", "Note"), rows)
    more = shown["more_strategies"]
    return table + (f"<p>and {more} more</p>" if more else "")


def _best(shown: Document) -> str:
    rows = [
        (
            one["symbol"],
            one["strategy_id"],
            one["side"],
            f"{one['confidence_score']:.1f}",
            f"{one['expected_return']:+.2%}",
            f"{one['profit_potential_usd']:,.2f}",
        )
        for one in shown["best"]
    ]
    return _table(("Symbol", "Strategy", "Side", "Confidence", "Expected return", "Profit, USD"), rows)


def _table(names: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if body else ""
