"""Settings: flag > environment (`HOLDFAST_*`) > `holdfast.toml` > default.

A user's own settings (`TwilioAccountSid`) live in the same two places, under their own names; `setting` reads them.
"""

from __future__ import annotations

import atexit
import ipaddress
import os
import shutil
import tempfile
import tomllib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from msgspec import Meta, Struct, ValidationError, convert
from msgspec.structs import FieldInfo, fields

FILE_NAME = "holdfast.toml"
_PREFIX = "HOLDFAST_"
_in_use: ContextVar[Settings | None] = ContextVar("_in_use", default=None)

Port: TypeAlias = Annotated[int, Meta(ge=0, le=65_535)]
Count: TypeAlias = Annotated[int, Meta(ge=1)]
Seconds: TypeAlias = Annotated[float, Meta(gt=0)]


class Settings(Struct, frozen=True, kw_only=True):
    """What can be set from outside. Units are in the names."""

    db: str = "holdfast.db"
    """The database file. `:memory:` keeps everything in memory, until the process ends."""
    host: str = "127.0.0.1"
    port: Port = 7071
    """0: any free port."""
    task_hub: str = "default"
    """The name of the task hub, as it appears in the URIs given to callers."""
    allowed_hosts: tuple[str, ...] = ()
    """Names beside this machine's own under which a reverse proxy passes requests on (their `Host` header)."""
    max_body_bytes: Count = 1_048_576
    max_json_depth: Count = 64
    """How deep arrays and objects may be nested in a request's body."""
    body_timeout_s: Seconds = 15.0
    """How long a caller may take to send a request's body."""
    drain_s: Annotated[float, Meta(ge=0)] = 10.0
    """How long running activities and requests may take to end when the process is asked to stop."""
    step_limit_s: Seconds = 5.0
    """How long an orchestrator may run without awaiting anything."""
    writer_thread: bool = False
    """Commit in a thread of its own: for disks that take long to sync. Slower on others."""


def load(
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    directory: Path,
    defaults: Mapping[str, object] | None = None,
) -> Settings:
    """The settings in force. A flag that is None was not given; `defaults` replace those of `Settings`.

    Raises `ValueError` that names the setting, where its value came from, and what is expected.
    """
    file = _read(directory / FILE_NAME)
    values = dict(defaults or {})
    for field in fields(Settings):
        found = _find(field.name, flags, environ, file)
        if found is not None:
            values[field.name] = _convert(field, *found)
    return Settings(**values)  # type: ignore[arg-type]  # each was converted to its field's type


def setting(name: str) -> str | None:
    """A setting of the user's own: from the environment, else from the top level of `holdfast.toml`.

    Raises `ValueError` if the file is no TOML, or has something else than text or a number under that name.
    """
    if (value := os.environ.get(name)) is not None:
        return value
    found = _read(Path(FILE_NAME)).get(name)
    if found is None or isinstance(found, str):
        return found
    if isinstance(found, int | float) and not isinstance(found, bool):
        return str(found)
    raise ValueError(f"{name} in {FILE_NAME} should be text in quotes.")


@contextmanager
def using(settings: Settings) -> Generator[None, None, None]:
    """Make these the settings that `data_file` sees, in place of those of the environment."""
    token = _in_use.set(settings)
    try:
        yield
    finally:
        _in_use.reset(token)


def data_file(name: str) -> Path:
    """Where an app keeps a file of its own: beside the database, and named after it (`holdfast.db.<name>`).

    With a database in memory it is in a directory that goes with the process. Raises `ValueError` as `load` does.
    """
    settings = _in_use.get() or load({}, os.environ, Path())
    return _scratch() / name if settings.db == ":memory:" else Path(f"{settings.db}.{name}")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@cache
def _scratch() -> Path:
    directory = tempfile.mkdtemp(prefix="holdfast-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return Path(directory)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as TOML: {error}") from error


def _find(
    name: str, flags: Mapping[str, object], environ: Mapping[str, str], file: Mapping[str, object]
) -> tuple[object, str] | None:
    """The value that goes before all others, and where it came from."""
    variable = f"{_PREFIX}{name.upper()}"
    places: tuple[tuple[str, Mapping[str, object], str], ...] = (
        (name, flags, f"--{name.replace('_', '-')}"),
        (variable, environ, f"the environment variable {variable}"),
        (name, file, FILE_NAME),
    )
    for key, values, origin in places:
        if (value := values.get(key)) is not None:
            return value, origin
    return None


def _convert(field: FieldInfo, value: object, origin: str) -> object:
    if isinstance(value, str) and isinstance(field.default, tuple):
        value = tuple(part for part in value.replace(",", " ").split() if part)
    try:
        return convert(value, field.type, strict=False)
    except ValidationError as error:
        raise ValueError(f"{field.name}, set by {origin}, cannot be {value!r}: {error}.") from error
