"""One-time codes: made from a secret, read as people type them, compared in constant time."""

from __future__ import annotations

import hmac
import unicodedata


def code_from(secret: bytes, digits: int = 4) -> str:
    """A code of decimal digits, zero-padded, made from at least 16 unpredictable bytes.

    16 bytes modulo 10,000 favour no code by more than one part in 10**34.
    """
    return f"{int.from_bytes(secret[:16]) % 10**digits:0{digits}d}"


def challenge_text(code: str) -> str:
    """What the SMS says."""
    return f"Your verification code is {code}"


def normalise_code(answer: object, digits: int = 4) -> str | None:
    """The answer as a code, or None if it cannot be one.

    Takes text and numbers: '2168', ' 0042 ', 2168, 42 (for 0042), and digits of other scripts' keyboards (NFKC).
    """
    if isinstance(answer, bool) or not isinstance(answer, int | str):
        return None
    text = unicodedata.normalize("NFKC", answer).strip() if isinstance(answer, str) else f"{answer:0{digits}d}"
    return text if len(text) == digits and text.isascii() and text.isdecimal() else None


def same_code(answer: str | None, code: str) -> bool:
    """Whether the answer is the code, in a time that does not tell how much of it is right."""
    return hmac.compare_digest((answer or "").encode(), code.encode())
