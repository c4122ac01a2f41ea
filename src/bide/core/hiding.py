"""Secrets in the texts of errors: the author's code may write there whatever it was given."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import cast

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from bide.model.history import Failure

_decode = msgspec.json.Decoder().decode

DOTS = "••••••"
_SHORT = 4
"""Values of fewer characters are not looked for: they would be found in every text."""
_MANY = 1_000


class KnownSecrets:
    """What of texts is to be hidden: the values of the sealed payloads that the code was given."""

    def __init__(self) -> None:
        self._texts: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._texts)

    __repr__ = object.__repr__

    def add(self, text: Raw) -> None:
        """Note the values of a payload, in clear text. Of very many it is enough to know that there are."""
        for found in _values(_decode(text)):
            if len(self._texts) > _MANY:
                return
            self._texts.add(found)

    def hide(self, text: str) -> str:
        """The text with dots in place of each value, as it is or as `repr` and JSON write it."""
        if len(self._texts) > _MANY:
            return DOTS
        for value in sorted(self._texts, key=len, reverse=True):  # one may be a part of another
            for form in (value, repr(value)[1:-1], msgspec.json.encode(value).decode()[1:-1]):
                text = text.replace(form, DOTS)
        return text

    def hide_failure(self, failure: Failure, recorded: Collection[Failure] = ()) -> Failure:
        """The failure with all of its texts so, and those of its causes and members.

        What is `recorded` stays as it is: a rewind finds the call that failed by the failure itself.
        """
        if not self or failure in recorded:
            return failure
        return replace(
            failure,
            message=self.hide(failure.message),
            stack=self.hide(failure.stack),
            cause=None if failure.cause is None else self.hide_failure(failure.cause, recorded),
            members=tuple(self.hide_failure(each, recorded) for each in failure.members),
        )


def hide_values(text: str, payload: Raw) -> str:
    """The text with dots in place of each value of one payload."""
    known = KnownSecrets()
    known.add(payload)
    return known.hide(text)


def _values(value: object) -> Iterator[str]:
    found = [value]
    while found:
        each = found.pop()
        if isinstance(each, dict):
            found += cast("dict[str, object]", each).values()
        elif isinstance(each, list):
            found += cast("list[object]", each)
        elif each is not None and not isinstance(each, bool) and len(text := str(each)) >= _SHORT:
            yield text
