"""One attempt, against real receivers on the loopback: what each does, and what that means."""

import gc
import gzip
import random
import socket
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path

import anyio
import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scanstream import __version__
from scanstream.notify import sending
from scanstream.notify.addresses import Lookup, network_of
from scanstream.notify.backoff import LONGEST_ASKED_SECONDS, pause_after, retry_after
from scanstream.notify.sending import MOST_BODY_BYTES, Sender, open_sender
from scanstream.notify.targets import target_of
from support.certificates import Authority
from support.receiver import Behaviour, Receiver, answers, closes, drips, hangs, receiving
from support.until import until

pytestmark = pytest.mark.anyio

LOOPBACK = [network_of("127.0.0.0/8")]
HEADERS = {"webhook-id": "msg_1"}
BODY = b'{"type":"scan.complete"}'


class Names:
    """A name server: what it answers, each time, and what it was asked."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append((host, port))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if not answer:
            raise socket.gaierror(socket.EAI_NONAME, f"no such name: {host}")
        return list(answer)


@pytest.fixture
async def sender() -> Sender:
    return await open_sender(Lookup(), LOOPBACK)


async def send(sender: Sender, url: str, body: bytes = BODY) -> sending.Answer:
    return await sender.send(target_of(url), HEADERS, body)


async def test_what_is_sent_is_what_the_receiver_gets(sender: Sender, receiver: Receiver) -> None:
    answer = await send(sender, receiver.url("/hooks/x?y=%20z"))
    assert answer == ("delivered", "it answers 204", None)
    [got] = receiver.got
    assert got.line == "POST /hooks/x?y=%20z HTTP/1.1"
    assert got.body == BODY
    assert got.headers == {
        "host": f"127.0.0.1:{receiver.port}",
        "content-type": "application/json",
        "content-length": str(len(BODY)),
        "user-agent": f"scanstream/{__version__}",
        "connection": "close",
        **HEADERS,
    }


ELSEWHERE = "Location: http://169.254.169.254/latest/meta-data/"
MEANINGS: list[tuple[Behaviour, str, float | None]] = [
    (answers(200), "delivered", None),
    (answers(202, body=b"thanks"), "delivered", None),
    (answers(299), "delivered", None),
    (answers(301, ELSEWHERE), "refused", None),
    (answers(302, ELSEWHERE), "refused", None),
    (answers(307, ELSEWHERE), "refused", None),
    (answers(308, ELSEWHERE), "refused", None),
    (answers(400), "refused", None),
    (answers(401, 'WWW-Authenticate: Basic realm="x"'), "refused", None),
    (answers(404), "refused", None),
    (answers(407), "refused", None),
    (answers(410), "gone", None),
    (answers(429, "Retry-After: 17"), "busy", 17.0),
    (answers(429), "busy", None),
    (answers(503, "retry-after: 120"), "busy", 120.0),
    (answers(503, "Retry-After: soon"), "busy", None),
    (answers(500, "Retry-After: 17"), "refused", None),
    (answers(502), "refused", None),
    (answers(599), "refused", None),
    (answers(101, "Upgrade: websocket", "Connection: Upgrade"), "unreachable", None),
    (closes, "unreachable", None),
]


@pytest.mark.parametrize(("behave", "outcome", "asked"), MEANINGS)
async def test_what_answers_mean(
    behave: Behaviour, outcome: str, asked: float | None, sender: Sender, receiver: Receiver
) -> None:
    receiver.next.append(behave)
    answer = await send(sender, receiver.url("/secret"))
    assert (answer.outcome, answer.asked) == (outcome, asked)
    assert "secret" not in answer.why
    assert receiver.connections == 1, "no redirect is followed"


def raw(content: bytes) -> Behaviour:
    async def behave(stream: anyio.abc.ByteStream) -> None:
        await stream.send(content)

    return behave


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no HTTP at all\r\n\r\n",
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 -200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 300_000,
        b"\x16\x03\x01\x00\x05hello",
        b"\x00" * 1000,
    ],
)
async def test_what_is_no_answer(content: bytes, sender: Sender, receiver: Receiver) -> None:
    receiver.next.append(raw(content))
    assert (await send(sender, receiver.url())).outcome == "unreachable"


async def test_whatever_is_answered_it_means_something_and_is_no_defect(sender: Sender, receiver: Receiver) -> None:
    """Good answers with bytes that are changed, left out, doubled and made up."""
    chance = random.Random(20261127)
    good = b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    for _ in range(200):
        answer = bytearray(good)
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(len(answer))
            answer[at : at + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 3)) * chance.choice((1, 1, 50))
        receiver.next.append(raw(bytes(answer)))
        told = await send(sender, receiver.url())
        assert told.outcome in ("delivered", "gone", "busy", "refused", "unreachable"), bytes(answer)
        assert told.asked is None or told.asked >= 0


async def test_once_the_head_says_yes_nothing_behind_it_counts(sender: Sender, receiver: Receiver) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
    receiver.next += [raw(head + b"cut off"), raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")]
    for _ in range(2):
        assert (await send(sender, receiver.url())).outcome == "delivered"


@pytest.mark.parametrize("behave", [hangs, drips])
async def test_who_takes_long_is_left(
    behave: Behaviour, sender: Sender, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "ATTEMPT_SECONDS", 0.3)
    receiver.next.append(behave)
    assert await send(sender, receiver.url()) == ("timed_out", "no answer within 0.3 s", None)


async def test_of_a_gigabyte_little_is_taken(sender: Sender, receiver: Receiver) -> None:
    receiver.next.append(receiver.floods)
    answer = await send(sender, receiver.url())
    assert answer.outcome == "delivered"
    assert receiver.sent < 16 * 1024 * 1024, f"what the systems' buffers take, beside {MOST_BODY_BYTES} bytes"


@pytest.mark.parametrize(
    "line", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", b"X: y\r\n"]
)
async def test_who_never_comes_to_the_point_is_left(line: bytes, sender: Sender, receiver: Receiver) -> None:
    """A head that is yet to come may be announced without an end, and may have headers without an end."""

    async def announces(stream: anyio.abc.ByteStream) -> None:
        await stream.send(b"HTTP/1.1 200 OK\r\n" if line.startswith(b"X") else line)
        while True:
            await stream.send(line * 500)
            receiver.sent += len(line * 500)

    receiver.next.append(announces)
    assert (await send(sender, receiver.url())).outcome == "unreachable"
    assert receiver.sent < 16 * 1024 * 1024, "what the systems' buffers take"


async def test_what_is_packed_is_not_unpacked(sender: Sender, receiver: Receiver) -> None:
    for coding, content in (("gzip", gzip.compress(bytes(10_000_000))), ("gzip", b"no gzip"), ("br, zstd", b"\xff")):
        receiver.next.append(answers(200, f"Content-Encoding: {coding}", body=content))
        assert (await send(sender, receiver.url())).outcome == "delivered"


async def test_who_takes_nothing_is_left(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    async def stands_still(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await anyio.sleep_forever()

    monkeypatch.setattr(sending, "ATTEMPT_SECONDS", 0.3)
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, stands_still)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610  # no Django
        assert (await send(sender, f"http://127.0.0.1:{port}/", bytes(32_000_000))).outcome == "timed_out"
        tasks.cancel_scope.cancel()


async def test_an_answer_that_goes_on_for_ever_is_left(
    sender: Sender, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def trickles(stream: anyio.abc.ByteStream) -> None:
        await stream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await stream.send(b"1\r\nx\r\n")
            await anyio.sleep(0.01)

    monkeypatch.setattr(sending, "BODY_SECONDS", 0.2)
    receiver.next.append(trickles)
    assert (await send(sender, receiver.url())).outcome == "delivered"


async def test_nobody_there(sender: Sender) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        answer = await send(sender, f"http://127.0.0.1:{taken.getsockname()[1]}/secret")
    assert answer == ("unreachable", "there was no connection to it, or it broke off", None)


async def test_a_name_that_points_to_what_may_not_be_reached(receiver: Receiver) -> None:
    """The receiver listens there, and is never connected to."""
    for private in ("127.0.0.1", "::ffff:127.0.0.1", "::1", "169.254.169.254", "0.0.0.0", "64:ff9b::7f00:1"):  # noqa: S104
        sender = await open_sender(Names([private]), [])
        answer = await send(sender, receiver.url(host="hooks.example"))
        assert answer == ("forbidden", "none of its addresses may be reached (--notify-private)", None)
    for literal in ("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"):
        sender = await open_sender(Lookup(), [])
        assert (await send(sender, receiver.url(host=literal))).outcome == "forbidden"
    assert receiver.connections == 0


async def test_a_name_that_points_elsewhere_a_moment_later(receiver: Receiver) -> None:
    """DNS rebinding: it is asked once, and what it said then is connected to."""
    names = Names(["127.0.0.1"], ["169.254.169.254"])
    sender = await open_sender(names, LOOPBACK)
    assert (await send(sender, receiver.url(host="hooks.example"))).outcome == "delivered"
    assert names.asked == [("hooks.example", receiver.port)]
    assert receiver.got[0].headers["host"] == f"hooks.example:{receiver.port}", "the name, not the address"
    assert (await send(sender, receiver.url(host="hooks.example"))).outcome == "forbidden"
    assert receiver.connections == 1


async def test_a_name_with_two_addresses_one_of_which_may_not_be_reached() -> None:
    accepted: list[object] = []

    async def accept(stream: anyio.abc.SocketStream) -> None:
        accepted.append(stream)

    async with (
        receiving(host="127.0.0.2") as allowed,
        await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=allowed.port) as forbidden,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(forbidden.serve, accept)
        for order in (["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"]):
            sender = await open_sender(Names(order), [network_of("127.0.0.2")])
            assert (await send(sender, allowed.url(host="hooks.example"))).outcome == "delivered"
        tasks.cancel_scope.cancel()
    assert accepted == []
    assert len(allowed.got) == 2


async def test_a_name_whose_first_address_does_not_answer(receiver: Receiver) -> None:
    sender = await open_sender(Names(["127.0.0.9", "127.0.0.1"]), LOOPBACK)
    assert (await send(sender, receiver.url(host="hooks.example"))).outcome == "delivered"


async def test_a_name_that_is_none_and_one_whose_server_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    sender = await open_sender(Names([]), LOOPBACK)
    assert (await send(sender, "https://hooks.example/")).outcome == "unreachable"

    async def never(host: str, port: int) -> list[str]:
        await anyio.sleep_forever()
        return []

    monkeypatch.setattr(sending, "ATTEMPT_SECONDS", 0.1)
    assert (await send(await open_sender(never, LOOPBACK), "https://hooks.example/")).outcome == "timed_out"


async def test_no_proxy_of_the_environment_is_asked(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        sender = await open_sender(Lookup(), LOOPBACK)
        assert (await send(sender, receiver.url())).outcome == "delivered"
    assert (proxy.connections, receiver.connections) == (0, 1)


async def test_over_tls_the_name_is_checked_and_shown_not_the_address(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate = authority.signs("hooks", host="DNS:hooks.example")
    trusting = ssl.create_default_context(cafile=str(authority.file))
    async with receiving(certificate) as receiver:
        sender = Sender(Names(["127.0.0.1"]), LOOPBACK, trusting)
        assert (await send(sender, receiver.url(host="hooks.example"))).outcome == "delivered"
        other = await send(sender, receiver.url("/secret", host="other.example"))
        assert other.outcome == "untrusted"
        assert "certificate is not trusted" in other.why
        stranger = Sender(Names(["127.0.0.1"]), LOOPBACK, httpx.create_ssl_context())
        assert (await send(stranger, receiver.url(host="hooks.example"))).outcome == "untrusted"
        assert len(receiver.got) == 1, "nothing was sent to the others"


async def test_a_certificate_that_is_over(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    over = authority.signs("over", host="DNS:hooks.example", days=-1)
    async with receiving(over) as receiver:
        sender = Sender(Names(["127.0.0.1"]), LOOPBACK, ssl.create_default_context(cafile=str(authority.file)))
        answer = await send(sender, receiver.url(host="hooks.example"))
    assert answer.outcome == "untrusted"


async def test_an_authority_of_one_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    async with receiving(authority.signs("hooks")) as receiver:
        sender = await open_sender(Lookup(), LOOPBACK)
        assert (await send(sender, receiver.url())).outcome == "delivered"


async def test_tls_to_who_speaks_none_and_http_to_who_speaks_tls(tmp_path: Path, receiver: Receiver) -> None:
    sender = await open_sender(Lookup(), LOOPBACK)
    async with receiving(Authority(tmp_path).signs("x")) as secured:
        assert (await send(sender, secured.url().replace("https:", "http:"))).outcome == "unreachable"
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, partial(_says, b"220 mail.example ESMTP\r\n"))
        port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610  # no Django
        assert (await send(sender, f"https://127.0.0.1:{port}/")).outcome == "untrusted"
        tasks.cancel_scope.cancel()


async def _says(content: bytes, stream: anyio.abc.SocketStream) -> None:
    async with stream:
        await stream.send(content)
        await stream.receive()


async def test_a_handshake_that_never_ends_leaves_no_socket_behind(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receiver waits for HTTP, and for more of it: it has a connection of each attempt until that is closed."""
    monkeypatch.setattr(sending, "ATTEMPT_SECONDS", 0.2)
    sender = await open_sender(Lookup(), LOOPBACK)
    gc.collect()
    gc.disable()  # else it may close them
    try:
        before = open_sockets()
        for _ in range(5):
            assert (await send(sender, receiver.url().replace("http:", "https:"))).outcome == "timed_out"
        await until(lambda: open_sockets() <= before)
    finally:
        gc.enable()


def open_sockets() -> int:
    links = [path for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return sum(str(link.readlink()).startswith("socket:") for link in links if link.is_symlink())


async def test_out_of_descriptors_is_nobody_s_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    async def lacking(host: str, port: int) -> list[str]:
        raise OSError(24, "Too many open files")

    sender = await open_sender(lacking, LOOPBACK)
    assert await send(sender, "https://hooks.example/") == ("shortage", "this machine lacks file descriptors", None)


def test_pauses_double_up_to_ten_minutes_and_never_in_step() -> None:
    for number, pause in ((1, 5), (2, 10), (3, 20), (7, 320), (8, 600), (9, 600), (10_000, 600)):
        made = {pause_after(number) for _ in range(50)}
        assert all(0.8 * pause <= one <= 1.2 * pause for one in made)
        assert len(made) > 10


def test_who_asks_for_more_time_has_it_within_bounds() -> None:
    assert pause_after(1, 90) == 90
    assert pause_after(1, 10**9) == LONGEST_ASKED_SECONDS
    assert 4 <= pause_after(1, 0) <= 6
    assert 480 <= pause_after(9, 1) <= 720


@pytest.mark.parametrize(
    "value", [None, "", "soon", "-5", "1.5", "0x10", "Fri, 31 Dec 1999 23:59:59 GMT", "Wed, 99 Foo 2099", "\x00", "٣"]
)
def test_what_says_nothing(value: str | None) -> None:
    assert retry_after(value) is None


@given(
    st.text()
    | st.lists(
        st.sampled_from(
            [
                *(
                    "Fri,",
                    " ",
                    "31",
                    "Dec",
                    "9999",
                    "0",
                    "23:59:59",
                    "GMT",
                    "+9999",
                    "-2359",
                    "-0000",
                    "9" * 5000,
                    "99",
                    ":",
                )
            ]
        ),
        max_size=12,
    ).map("".join)
)
@example("Fri, 31 Dec 9999 23:59:59 -2359")
@example("Mon, 01 Jan 0001 00:00:00 +2359")
def test_whatever_is_asked_for_somebody_is_asked_again_within_bounds(value: str) -> None:
    asked = retry_after(value)
    assert asked is None or asked >= 0
    assert 4 <= pause_after(1, asked) <= LONGEST_ASKED_SECONDS


def test_seconds_and_dates() -> None:
    assert retry_after(" 120 ") == 120
    assert retry_after("9" * 5000) == 9999999999
    at = datetime.now(UTC) + timedelta(seconds=90)
    assert 85 < (retry_after(format_datetime(at, usegmt=True)) or 0) <= 91
