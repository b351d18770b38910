"""Fetches a picture from an address a server named: over https, from public addresses only."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from urllib.parse import urlsplit

import httpx2

from janus4o.errors import ImageError
from janus4o.images import MAX_BYTES

REMEDY = "have the server answer with the picture itself"


async def fetch(url: str, timeout: float) -> bytes:
    """The bytes behind an address, 50 MB at most. Redirects are not followed.

    The name is resolved once, every address it has must be public, and the connection goes to the
    one that was checked: a name that answers differently the second time gains nothing.

    Raises:
        ImageError: not https, not public, not there, too large.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.password:
        raise ImageError("the picture's address is not a plain https address", REMEDY)
    host, port = parts.hostname, parts.port or 443
    address = await public_address(host, port)
    literal = f"[{address}]" if ":" in address else address
    query = f"?{parts.query}" if parts.query else ""
    request = httpx2.Request(
        "GET",
        f"https://{literal}:{port}{parts.path or '/'}{query}",
        headers={"Host": host, "Accept": "image/*", "Accept-Encoding": "identity"},
        extensions={"sni_hostname": host},
    )
    async with httpx2.AsyncClient(timeout=timeout, trust_env=False) as client:
        try:
            reply = await client.send(request, stream=True, follow_redirects=False)
            if reply.status_code != 200:
                raise ImageError(f"the picture's address answers HTTP {reply.status_code}", REMEDY)
            data = bytearray()
            async for chunk in reply.aiter_raw():
                data += chunk
                if len(data) > MAX_BYTES:
                    raise ImageError("the picture behind the address is too large", REMEDY)
        except httpx2.HTTPError as error:
            raise ImageError(f"the picture cannot be fetched: {error}", REMEDY) from None
        finally:
            if "reply" in locals():
                await reply.aclose()
    return bytes(data)


async def public_address(host: str, port: int) -> str:
    """The address to connect to; raises ImageError if any address of the name is not public."""
    try:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ImageError(f"the picture's host {host!r} is not known", REMEDY) from None
    addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
    for address in addresses:
        if not is_public(address):
            raise ImageError(f"the picture's host {host!r} is a private address", REMEDY)
    return addresses[0]


def is_public(address: str) -> bool:
    """Could anybody on the internet reach it? Addresses that hide another are looked into."""
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        inside = parsed.ipv4_mapped or parsed.sixtofour
        nat64 = ipaddress.ip_network("64:ff9b::/96")
        if parsed in nat64:
            inside = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        if parsed.teredo:
            return False
        if inside is not None:
            return inside.is_global and not inside.is_multicast
    return parsed.is_global and not parsed.is_multicast
