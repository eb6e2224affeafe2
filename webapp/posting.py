"""Posting to addresses that people gave, never into our own network.

A host is resolved once, all that it resolves to is checked, and the connection goes to what was checked: a name that
points elsewhere a moment later leads nowhere. The name itself is still what the certificate must be for.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, TypeAlias

import httpx
from django.conf import settings

from webapp.errors import NotReachable

Address: TypeAlias = IPv4Address | IPv6Address

TIMEOUT_SECONDS = 10.0  # Of resolving, connecting, sending and the answer together
MOST_BYTES = 10_000  # Of an answer; only its status counts
LONGEST_ADDRESS = 500


@dataclass(frozen=True, slots=True)
class Target:
    """An address with its host resolved: where to connect to, and what to say there."""

    url: httpx.URL
    headers: Mapping[str, str]
    extensions: Mapping[str, Any]


def check(address: str) -> None:
    """See that an address may be posted to as it resolves now.

    Raises:
        NotReachable: it may not, or it does not resolve.
    """
    asyncio.run(resolve(address))


async def resolve(address: str) -> Target:
    """Resolve the host of an address.

    Raises:
        NotReachable: it is no web address, its host is not known or not allowed.
    """
    target: Target = await _within_time(_resolve(_parsed(address)))
    return target


async def _resolve(url: httpx.URL) -> Target:
    host = url.raw_host.decode()
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise NotReachable("the host is not known") from exc
    places = sorted({_unwrapped(ip_address(str(one[4][0]).partition("%")[0])) for one in found}, key=_order)
    for place in places:
        if not _is_listed(place) and not _is_public(place):
            raise NotReachable("the host is in a network of our own that WEBHOOK_NETWORKS does not list")
    if url.scheme != "https" and not all(map(_is_listed, places)):
        raise NotReachable("http is only for hosts in WEBHOOK_NETWORKS; expected https")
    return Target(url.copy_with(host=str(places[0])), {"Host": url.netloc.decode()}, {"sni_hostname": host.strip("[]")})


def connected() -> httpx.AsyncClient:
    """Return a client for one target: connections are kept by where they go to, and so must not serve two names."""
    context = httpx.create_ssl_context()  # Also with the authorities that SSL_CERT_FILE names
    return httpx.AsyncClient(verify=context, trust_env=False, follow_redirects=False, timeout=TIMEOUT_SECONDS)


async def post(client: httpx.AsyncClient, target: Target, body: bytes, headers: Mapping[str, str]) -> int:
    """Post and return the status of the answer, of whatever kind; a redirect is not followed.

    Raises:
        NotReachable: there was no answer.
    """
    status: int = await _within_time(_post(client, target, body, headers))
    return status


async def _post(client: httpx.AsyncClient, target: Target, body: bytes, headers: Mapping[str, str]) -> int:
    given: dict[str, Any] = {"headers": {**headers, **target.headers}, "extensions": dict(target.extensions)}
    try:
        async with client.stream("POST", target.url, content=body, **given) as answer:
            size = 0
            async for chunk in answer.aiter_raw():
                size += len(chunk)
                if size > MOST_BYTES:
                    break
            return answer.status_code
    except httpx.HTTPError as exc:
        is_untrusted = any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(exc))
        kind = "there is no trust in its certificate" if is_untrusted else f"no answer ({type(exc).__name__})"
        raise NotReachable(kind) from exc


def _causes(exc: BaseException | None) -> Iterator[BaseException]:
    while exc is not None:
        yield exc
        exc = exc.__cause__ or exc.__context__


async def _within_time(awaited: Any) -> Any:
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await awaited
    except TimeoutError as exc:
        raise NotReachable(f"no answer within {TIMEOUT_SECONDS:g} seconds") from exc


def _parsed(address: str) -> httpx.URL:
    try:
        url = httpx.URL(address)
    except (httpx.InvalidURL, UnicodeError) as exc:
        raise NotReachable("the address is not a web address; expected https://HOST/PATH") from exc
    if url.scheme not in ("https", "http") or not url.host or len(address) > LONGEST_ADDRESS:
        raise NotReachable("the address is not a web address; expected https://HOST/PATH")
    if not 0 < (url.port or 443) < 2**16:
        raise NotReachable("the port is none; expected 1 to 65535")
    if url.userinfo or url.fragment:
        raise NotReachable("the address holds a password or a fragment; expected https://HOST/PATH")
    return url


def _unwrapped(place: Address) -> Address:
    """Return the IPv4 address that an IPv6 one only wraps."""
    inner = (place.ipv4_mapped or place.sixtofour) if isinstance(place, IPv6Address) else None
    return inner or place


def _is_public(place: Address) -> bool:
    is_special = place.is_multicast or place.is_reserved or getattr(place, "is_site_local", False)
    return place.is_global and not is_special


def _is_listed(place: Address) -> bool:
    return any(place in ip_network(network) for network in settings.WEBHOOK_NETWORKS)


def _order(place: Address) -> tuple[int, int]:
    return place.version, int(place)  # Not every network has IPv6
