"""The deny list, address by address."""

from __future__ import annotations

import pytest

from opscore.outgoing.addresses import BadNetwork, Rules, networks

DENIED = [
    "",
    "0.0.0.0 unspecified",
    "0.1.2.3 unspecified",
    "10.0.0.1 private",
    "10.255.255.255 private",
    "100.64.0.1 carrier-shared",
    "100.100.100.200 carrier-shared",
    "100.127.255.255 carrier-shared",
    "127.0.0.1 loopback",
    "127.255.255.254 loopback",
    "168.63.129.16 metadata",
    "169.254.0.1 link-local",
    "169.254.169.254 link-local",
    "169.254.170.2 link-local",
    "172.16.0.1 private",
    "172.31.255.255 private",
    "192.0.0.1 reserved",
    "192.0.0.192 reserved",
    "192.0.2.1 documentation",
    "192.31.196.1 reserved",
    "192.52.193.1 reserved",
    "192.88.99.1 reserved",
    "192.168.0.1 private",
    "192.168.255.255 private",
    "192.175.48.1 reserved",
    "198.18.0.1 benchmarking",
    "198.19.255.255 benchmarking",
    "198.51.100.1 documentation",
    "203.0.113.9 documentation",
    "224.0.0.1 multicast",
    "239.255.255.250 multicast",
    "240.0.0.1 reserved",
    "255.255.255.255 reserved",
    ":: unspecified",
    "::1 loopback",
    "::2 reserved",
    "::7f00:1 reserved",
    "::ffff:127.0.0.1 loopback",
    "::ffff:10.1.2.3 private",
    "::ffff:169.254.169.254 link-local",
    "::ffff:0:10.0.0.1 private",
    "64:ff9b::7f00:1 loopback",
    "64:ff9b::a00:1 private",
    "64:ff9b::a9fe:a9fe link-local",
    "64:ff9b:1::1 reserved",
    "64:ff9b:1:fffe::a00:1 reserved",
    "100::1 reserved",
    "100:0:0:1::1 reserved",
    "2001::1 reserved",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2 reserved",
    "2001:10::1 reserved",
    "2001:20::1 reserved",
    "2001:db8::1 documentation",
    "2002:7f00:1:: loopback",
    "2002:a00:1::1 private",
    "2002:a9fe:a9fe::1 link-local",
    "2002:c0a8:101::1 private",
    "2600:1f18::5efe:a00:1 private",
    "2600:1f18::200:5efe:7f00:1 loopback",
    "2620:4f:8000::1 reserved",
    "3ffe::1 reserved",
    "3fff::1 documentation",
    "4000::1 reserved",
    "5f00::1 reserved",
    "fc00::1 private",
    "fd00:ec2::254 private",
    "fdff:ffff::1 private",
    "fe80::1 link-local",
    "fe80::1%eth0 link-local",
    "fe80::5efe:10.0.0.1 link-local",
    "febf::1 link-local",
    "fec0::1 site-local",
    "feff::1 site-local",
    "ff02::1 multicast",
    "ff0e::1 multicast",
    "",
][1:-1]

REACHABLE = [
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.1",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "168.63.129.15",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.1",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001:80f::200e",
    "2001:4860:4860::8888",
    "2002:0808:0808::1",
    "64:ff9b::808:808",
    "::ffff:8.8.8.8",
]


def test_the_list_is_long_enough_to_mean_something() -> None:
    assert len(DENIED) >= 60


@pytest.mark.parametrize("line", DENIED)
def test_denied(line: str) -> None:
    address, kind = line.split()
    assert Rules().why_denied(address) == kind


@pytest.mark.parametrize("address", REACHABLE)
def test_neighbours_are_not_denied(address: str) -> None:
    assert Rules().why_denied(address) is None


@pytest.mark.parametrize(
    "address", ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd00::7", "192.168.7.7"]
)
def test_an_operator_can_open_a_network(address: str) -> None:
    rules = Rules(networks(["10.1.0.0/16", " fd00::/8 ", "192.168.7.7"]))
    assert rules.why_denied(address) is None
    assert rules.why_denied("10.2.0.1") == "private"
    assert rules.why_denied("192.168.7.8") == "private"


def test_opening_6to4_does_not_open_what_is_inside() -> None:
    rules = Rules(networks(["2002::/16"]))
    assert rules.why_denied("2002:a00:1::1") == "private"


@pytest.mark.parametrize("text", ["10.1.2.3/8", "ten", "10.0.0.0/33"])
def test_a_list_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadNetwork, match="not a network"):
        networks([text])
