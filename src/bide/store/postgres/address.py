"""Where a database server is: how its URL may be shown, and what it takes to go there."""

from __future__ import annotations

import re
from importlib.util import find_spec
from urllib.parse import unquote

from bide.errors import StoreError

_PASSWORD = re.compile(r"(?<=://)([^:@/?#]*):.*@", re.DOTALL)
_USER = re.compile(r"(?<=://)([^@/?#]*@)?")


def safe_url(db: str) -> str:
    """A database as it may be shown: a URL without its passwords, a file as it is.

    In a URL that is written wrongly, a password may be anywhere before the last `@`, so all of that is left out.
    """
    if "://" not in db:
        return db
    address, mark, query = _PASSWORD.sub(r"\1@", db).partition("?")
    kept = [part for part in query.split("&") if "password" not in unquote(part.partition("=")[0]).lower()]
    return f"{address}{mark}{'&'.join(kept)}" if any(kept) else address


def owner_url(db: str) -> str:
    """The same database for its owner, who is not known here. It can be shown."""
    return _USER.sub("OWNER@", safe_url(db), count=1)


def require_driver() -> None:
    """Raises `StoreError` if the driver of PostgreSQL is not installed."""
    if find_spec("asyncpg") is None:
        raise StoreError("PostgreSQL needs its driver, asyncpg, which is not installed. Run: pip install asyncpg")
