"""Where webhooks are posted to, and where never."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest

from tests.receiving import receiver
from webapp import posting
from webapp.errors import NotReachable

OUR_OWN = "the host is in a network of our own that WEBHOOK_NETWORKS does not list"


def send(address: str, body: bytes = b"{}") -> int:
    async def run() -> int:
        target = await posting.resolve(address)
        async with posting.connected() as client:
            return await posting.post(client, target, body, {})

    return asyncio.run(run())


@pytest.fixture
def pointing(monkeypatch: pytest.MonkeyPatch):
    """Let names resolve to what a test says."""
    real = socket.getaddrinfo
    places: dict[str, list[str]] = {}

    def resolve(host, port, *args, **kwargs):
        name = host.decode() if isinstance(host, bytes) else host
        if places.get(name) == []:
            raise socket.gaierror
        return [found for place in places.get(name, [name]) for found in real(place, port, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return places


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "0.0.0.0",  # noqa: S104
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "[::1]",
        "[::]",
        "[::ffff:10.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[2002:7f00:1::]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::1]",
        "[2001:0:1::1]",
        "[fe80::1]",
        "[fec0::1]",
        "[fd00::1]",
        "[ff02::1]",
        "[2001:db8::1]",
    ],
)
def test_addresses_in_networks_of_our_own_are_refused(host) -> None:
    with pytest.raises(NotReachable, match=f"^{OUR_OWN}$"):
        posting.check(f"https://{host}/hook")


def test_a_name_that_points_into_our_own_network_is_refused_whatever_else_it_points_to(pointing) -> None:
    pointing["hooks.example.org"] = ["93.184.215.14", "10.0.0.1"]
    with pytest.raises(NotReachable, match=OUR_OWN):
        posting.check("https://hooks.example.org/")
    pointing["hooks.example.org"] = ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"]
    posting.check("https://hooks.example.org/")


def test_networks_that_are_listed_are_allowed_and_no_others(settings) -> None:
    settings.WEBHOOK_NETWORKS = ["10.1.0.0/16", "fd00::/8"]
    for host in ("10.1.2.3", "[::ffff:10.1.2.3]", "[fd00::1]"):
        posting.check(f"http://{host}/")
    for host in ("10.2.0.1", "127.0.0.1", "[::1]"):
        with pytest.raises(NotReachable, match=OUR_OWN):
            posting.check(f"http://{host}/")


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("http://93.184.215.14/", "http is only for hosts in WEBHOOK_NETWORKS; expected https"),
        ("ftp://93.184.215.14/", "the address is not a web address; expected https://HOST/PATH"),
        ("file:///etc/passwd", "the address is not a web address"),
        ("93.184.215.14/hook", "the address is not a web address"),
        ("https://", "the address is not a web address"),
        ("https://a\nb/", "the address is not a web address"),
        ("https://93.184.215.14:99999/", "the port is none; expected 1 to 65535"),
        ("https://93.184.215.14/" + "a" * 500, "the address is not a web address"),
        ("https://me:secret@93.184.215.14/", "the address holds a password or a fragment"),
        ("https://93.184.215.14/#there", "the address holds a password or a fragment"),
        ("https://nowhere.invalid/", "the host is not known"),
    ],
)
def test_an_address_that_cannot_be_posted_to_says_why(address, why, pointing) -> None:
    pointing["nowhere.invalid"] = []
    with pytest.raises(NotReachable, match=f"^{why}"):
        posting.check(address)


def test_a_name_is_resolved_once_and_the_connection_goes_to_what_was_checked(settings, pointing) -> None:
    settings.WEBHOOK_NETWORKS = ["127.0.0.1/32"]
    with receiver() as there:
        port = there.address.split(":")[2]
        pointing["hooks.example.org"] = ["127.0.0.1"]

        async def run() -> int:
            target = await posting.resolve(f"http://hooks.example.org:{port}")
            pointing["hooks.example.org"] = ["127.0.0.2"]  # Nothing listens, and nobody may be sent, there
            async with posting.connected() as client:
                return await posting.post(client, target, b"{}", {})

        assert asyncio.run(run()) == 200
        assert there.received[0][0]["Host"] == f"hooks.example.org:{port.split('/')[0]}"


def test_a_redirect_is_not_followed(settings) -> None:
    settings.WEBHOOK_NETWORKS = ["127.0.0.0/8"]
    with receiver() as first, receiver() as second:
        first.status, first.headers = 307, {"Location": second.address}
        assert send(first.address) == 307
        assert (len(first.received), second.received) == (1, [])


@pytest.mark.parametrize("changes", [{"seconds": 3.0}, {"drip_seconds": 0.05}], ids=["silent", "dripping"])
def test_an_answer_that_takes_too_long_is_not_waited_for(settings, monkeypatch, changes) -> None:
    settings.WEBHOOK_NETWORKS = ["127.0.0.0/8"]
    monkeypatch.setattr(posting, "TIMEOUT_SECONDS", 0.5)
    with receiver() as there:
        vars(there).update(changes)
        begun = time.monotonic()
        with pytest.raises(NotReachable, match=r"^no answer within 0\.5 seconds$"):
            send(there.address)
        assert time.monotonic() - begun < 2


def test_a_long_answer_is_not_read_to_its_end(settings) -> None:
    settings.WEBHOOK_NETWORKS = ["127.0.0.0/8"]
    with receiver() as there:
        there.body = b"x" * 200_000_000
        begun = time.monotonic()
        assert send(there.address) == 200
        assert time.monotonic() - begun < 1


def test_nobody_there_is_said_without_the_address(settings) -> None:
    settings.WEBHOOK_NETWORKS = ["127.0.0.0/8"]
    with receiver() as there:
        address = there.address
    with pytest.raises(NotReachable, match=r"^no answer \(ConnectError\)$"):
        send(address)


def test_a_proxy_of_the_environment_is_not_used(settings, monkeypatch) -> None:
    settings.WEBHOOK_NETWORKS = ["127.0.0.0/8"]
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with receiver() as there:
        assert send(there.address) == 200


def test_a_certificate_must_be_for_the_name_and_from_somebody_who_is_trusted(
    settings, pointing, monkeypatch, tmp_path: Path
) -> None:
    settings.WEBHOOK_NETWORKS = ["127.0.0.0/8"]
    pointing |= {"hooks.example.org": ["127.0.0.1"], "other.example.org": ["127.0.0.1"]}
    pair = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")]
    names = ["-subj", "/CN=hooks.example.org", "-addext", "subjectAltName=DNS:hooks.example.org"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names, *pair]
    subprocess.run(made, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with receiver(context) as there:
        port = there.address.split(":")[2].split("/")[0]
        with pytest.raises(NotReachable, match="there is no trust in its certificate"):
            send(f"https://hooks.example.org:{port}/")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        assert send(f"https://hooks.example.org:{port}/") == 200
        with pytest.raises(NotReachable, match="there is no trust in its certificate"):
            send(f"https://other.example.org:{port}/")
