"""Which machines may be reached: all of the internet, nothing of this machine's and its networks', however written."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanstream.notify.addresses import Lookup, is_reachable, network_of

pytestmark = pytest.mark.anyio

OF_THE_INTERNET = [
    *("1.1.1.1", "8.8.8.8", "93.184.216.34", "172.15.0.1", "172.32.0.1", "100.63.255.255", "100.128.0.1"),
    *("2606:4700:4700::1111", "2a00:1450:4001::5", "::ffff:8.8.8.8", "64:ff9b::808:808"),
]
NOT = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254"),  # noqa: S104
    *("169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.168.1.1", "192.0.0.192", "192.0.2.1"),
    *("192.88.99.1", "198.18.0.1", "198.51.100.7", "203.0.113.7", "224.0.0.1", "239.255.255.250", "240.0.0.1"),
    *("255.255.255.255", "168.63.129.16"),
    *("::", "::1", "::2", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00::8", "fd00:ec2::254", "ff02::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1", "::127.0.0.1"),
    *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::10.0.0.1", "64:ff9b:1::1", "64:ff9b:1::808:808"),
    *("2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:808:808::1", "2001::1", "2001:0:7f00:1::", "2001:10::1"),
    *("2001:db8::1", "3fff::1", "100::1", "5f00::1", "4000::1", "8000::1", "2606:4700::1%eth0"),
    *("", "localhost", "a.example", "127.1", "0x7f000001", "2130706433", "1.1.1.1/32", "[::1]", " 1.1.1.1"),
]


@pytest.mark.parametrize("text", OF_THE_INTERNET)
def test_the_internet_may_be_reached(text: str) -> None:
    assert is_reachable(text)


@pytest.mark.parametrize("text", NOT)
def test_nothing_else_may(text: str) -> None:
    assert not is_reachable(text)


def test_a_network_that_is_given_may_and_no_other() -> None:
    given_ones = [network_of(text) for text in ("10.1.0.0/16", "127.0.0.1", "fd00:1::/32")]
    for text in ("10.1.2.3", "::ffff:10.1.2.3", "127.0.0.1", "fd00:1::5", "64:ff9b::a01:203"):
        assert is_reachable(text, given_ones)
        assert not is_reachable(text)
    for text in ("10.2.0.1", "127.0.0.2", "fd00:2::5", "169.254.169.254"):
        assert not is_reachable(text, given_ones)
    assert is_reachable("8.8.8.8", given_ones)


@pytest.mark.parametrize("text", ["", "10.0.0.0/33", "a.example", "10.0.0", "::/129"])
def test_what_is_no_network(text: str) -> None:
    with pytest.raises(ValueError, match="write a network or an address"):
        network_of(text)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_as_reachable_as_it_is_within_others(address: ipaddress.IPv4Address) -> None:
    for wrapped in (f"::ffff:{address}", f"64:ff9b::{address}"):
        assert is_reachable(wrapped) == is_reachable(str(address))
    if is_reachable(str(address)):
        assert address.is_global
        assert not address.is_private
        assert not address.is_multicast


@given(st.ip_addresses(v=6))
def test_of_ipv6_no_more_than_is_global(address: ipaddress.IPv6Address) -> None:
    if is_reachable(str(address)):
        embedded = address.ipv4_mapped or address in ipaddress.IPv6Network("64:ff9b::/96")
        assert embedded or (address.is_global and address in ipaddress.IPv6Network("2000::/3"))


async def test_the_system_s_lookup() -> None:
    lookup = Lookup()
    assert await lookup("127.0.0.1", 80) == ["127.0.0.1"]
    assert "127.0.0.1" in await lookup("localhost", 80) or "::1" in await lookup("localhost", 80)
    with pytest.raises(OSError):
        await lookup("nobody.invalid", 80)
