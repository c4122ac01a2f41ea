"""Twilio's signature of what it sends: who knows the account's token has signed this address and this form.

https://www.twilio.com/docs/usage/security
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

HEADER = "X-Twilio-Signature"

_PORTS = {"http": 80, "https": 443}


def signature(auth_token: str, url: str, form: Iterable[tuple[str, str]]) -> str:
    """The signature: an HMAC-SHA1 over the address and the form's names and values, in their order, in base64."""
    text = url + "".join(name + value for name, value in sorted(set(form)))
    signed = hmac.digest(auth_token.encode("utf-8", "surrogatepass"), text.encode("utf-8", "surrogatepass"), "sha1")
    return base64.b64encode(signed).decode("ascii")


def is_signed(auth_token: str, url: str, form: Iterable[tuple[str, str]], shown: str) -> bool:
    """Whether this is the signature, in a time that does not tell how much of it is right.

    Twilio names the port in the address that it signs, or it does not; both are taken. Without a token, nothing is
    signed.
    """
    fields, given = list(form), shown.encode("utf-8", "surrogatepass")
    same = [
        hmac.compare_digest(signature(auth_token, spelling, fields).encode(), given) for spelling in _spellings(url)
    ]
    return bool(auth_token) and any(same)


def _spellings(url: str) -> Iterator[str]:
    """The address as it is, and with its port named or left out."""
    yield url
    parts = urlsplit(url)
    host = parts.netloc.removesuffix(f":{parts.port}")
    port = parts.port or _PORTS.get(parts.scheme, 443)
    yield parts._replace(netloc=host if parts.port else f"{host}:{port}").geturl()
