"""Where a peer points: to a node, at one path, and no nearer to us than it stands itself."""

import pytest

from node.transport.nearness import Nearness, nearness, nearness_of_url, told_url


@pytest.mark.parametrize(
    ("address", "near"),
    [
        ("93.184.216.34", Nearness.ANYWHERE),
        ("2606:2800:220:1::1", Nearness.ANYWHERE),
        ("10.0.0.1", Nearness.NETWORK),
        ("172.16.3.4", Nearness.NETWORK),
        ("192.168.1.1", Nearness.NETWORK),
        ("100.64.0.1", Nearness.NETWORK),
        ("169.254.169.254", Nearness.NETWORK),
        ("224.0.0.1", Nearness.NETWORK),
        ("fd00::1", Nearness.NETWORK),
        ("fe80::1%eth0", Nearness.NETWORK),
        ("127.0.0.1", Nearness.MACHINE),
        ("127.9.9.9", Nearness.MACHINE),
        ("0.0.0.0", Nearness.MACHINE),
        ("::", Nearness.MACHINE),
        ("::1", Nearness.MACHINE),
        ("::ffff:127.0.0.1", Nearness.MACHINE),
        ("::ffff:192.168.1.1", Nearness.NETWORK),
        ("64:ff9b::7f00:1", Nearness.MACHINE),
        ("2002:c0a8:101::1", Nearness.NETWORK),
        ("roanne.example", None),
        ("localhost", None),
        ("", None),
    ],
)
def test_an_address_is_as_near_as_where_it_leads(address: str, near: Nearness | None) -> None:
    assert nearness(address) is near


def test_the_host_of_a_url_is_what_counts() -> None:
    assert nearness_of_url("http://[::1]:8460/sync") is Nearness.MACHINE
    assert nearness_of_url("https://roanne.example") is None


@pytest.mark.parametrize(
    ("url", "called"),
    [
        ("http://roanne.example:8460", "http://roanne.example:8460"),
        ("https://roanne.example/", "https://roanne.example"),
        ("wss://[2606:2800::1]:1/sync", "wss://[2606:2800::1]:1/sync"),
        ("http://192.168.1.1/cgi-bin/reboot", "http://192.168.1.1/sync"),
        ("http://roanne.example/?a=1", None),
        ("http://roanne.example/#a", None),
        ("http://root:admin@192.168.1.1/", None),
        ("http://@192.168.1.1/", None),
        ("ftp://roanne.example", None),
        ("http://", None),
        ("http://roanne.example:0", None),
        ("http://roanne.example:99999", None),
        ("http://a b", None),
        ("http://127\u30020\u30020\u30021", None),
        ("http://%31%32%37.0.0.1", None),
        ("http://a\\b", None),
        ("http://[fe80::1%25eth0]", None),
        ("http://" + "a" * 300, None),
    ],
)
def test_a_told_url_says_where_and_nothing_else(url: str, called: str | None) -> None:
    assert told_url(url) == called
