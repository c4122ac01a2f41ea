"""One-time codes: made from a secret, read as people type them, compared in constant time."""

from __future__ import annotations

import hmac
import re
import unicodedata

_SECRET_BYTES = 16
_LONGEST = 64
"""Characters of an answer, with all the spaces and marks that may come with a code."""

_TYPED = re.compile(r"[0-9](?:[ -]*[0-9])*")
_SEPARATORS = str.maketrans("", "", " -")
_MORE_DASHES = "\u2212\u30fc"
"""The minus sign, and what Japanese keyboards type for a dash: to Unicode they are no punctuation."""

_CODE = re.compile(r"(?<![0-9A-Za-z+])[0-9]{4,8}(?![0-9A-Za-z])")


def code_from(secret: bytes, digits: int = 4) -> str:
    """A code of decimal digits, zero-padded, made from at least 16 unpredictable bytes.

    16 bytes modulo 10,000 favour no code by more than one part in 10**34. Raises `ValueError` for a shorter secret.
    """
    if len(secret) < _SECRET_BYTES:
        raise ValueError(f"A code is made from at least {_SECRET_BYTES} bytes; these are {len(secret)}.")
    return f"{int.from_bytes(secret[:_SECRET_BYTES], 'big') % 10**digits:0{digits}d}"


def challenge_text(code: str) -> str:
    """What the SMS says."""
    return f"Your verification code is {code}"


def code_in(text: str) -> str | None:
    """The code that an SMS says: the first 4 to 8 digits that stand alone. None if there are none."""
    found = _CODE.search(text)
    return found and found[0]


def normalise_code(answer: object, digits: int = 4) -> str | None:
    """The answer as a code, or None if it cannot be one.

    Takes numbers and text: 2168, 42 (for 0042), '2168', ' 0042 '. In text, digits may be of any script, with spaces
    and dashes between them, and with marks that nobody sees, such as those for the direction of writing.
    """
    if isinstance(answer, bool):
        return None
    if isinstance(answer, int):
        return f"{answer:0{digits}d}" if 0 <= answer < 10**digits else None
    if not isinstance(answer, str) or len(answer := answer.strip()) > _LONGEST:
        return None
    typed = "".join(map(_plain, unicodedata.normalize("NFKC", answer))).strip()
    code = typed.translate(_SEPARATORS)
    return code if len(code) == digits and _TYPED.fullmatch(typed) else None


def _plain(character: str) -> str:
    """What a character means in a code: an ASCII digit, a space, a dash, nothing; or itself, which is no code."""
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if character.isspace():
        return " "
    if category == "Pd" or character in _MORE_DASHES:
        return "-"
    return "" if category == "Cf" or "\ufe00" <= character <= "\ufe0f" else character


def same_code(answer: str | None, code: str) -> bool:
    """Whether the answer is the code, in a time that does not tell how much of it is right."""
    # Answers may hold anything that JSON can, even half a surrogate pair, which plain UTF-8 cannot.
    return answer is not None and hmac.compare_digest(answer.encode("utf-8", "surrogatepass"), code.encode())
