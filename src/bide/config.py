"""Settings: flag > environment (`BIDE_*`) > `bide.toml` > `[tool.bide]` of `pyproject.toml` > default.

A user's own settings (`TwilioAccountSid`) live in the environment and in `bide.toml`, under their own names;
`setting` reads them. Both files are looked for in the working directory.
"""

from __future__ import annotations

import atexit
import ipaddress
import logging
import os
import shutil
import tempfile
import tomllib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta, Struct, ValidationError, convert
from msgspec.structs import FieldInfo, fields

from bide.model.payload import MAX_PAYLOAD

FILE_NAME = "bide.toml"
PROJECT_FILE_NAME = "pyproject.toml"
_TABLE = f"[tool.bide] in {PROJECT_FILE_NAME}"
_PREFIX = "BIDE_"
_in_use: ContextVar[Settings | None] = ContextVar("_in_use", default=None)

log = logging.getLogger("bide.config")

_LARGEST_PAYLOAD = 128 * 1_048_576
"""What both databases take, in the time that a commit has."""

Port: TypeAlias = Annotated[int, Meta(ge=0, le=65_535)]
Count: TypeAlias = Annotated[int, Meta(ge=1)]
Seconds: TypeAlias = Annotated[float, Meta(gt=0)]
TokenVerb: TypeAlias = Literal[
    "status",
    "waits",
    "raiseEvent",
    "terminate",
    "suspend",
    "resume",
    "rewind",
    "restart",
    "purge",
    "history",
    "events",
]
"""What can be done with one instance, as far as a starter may ever be let."""


class Settings(Struct, frozen=True, kw_only=True):
    """What can be set from outside. Units are in the names."""

    db: str = "bide.db"
    """The database: a file, or `postgresql://user@host/name` for many workers. `:memory:` keeps everything in
    memory, until the process ends."""
    host: str = "127.0.0.1"
    """The address to listen on. If others than this machine can reach it, every caller needs a key."""
    port: Port = 7071
    """The port to listen on. 0: any free one."""
    environment: Literal["development", "production"] = "development"
    """What the server is for. In production nothing runs that is for development, such as the dev phone.
    `bide serve` is `production` unless this says otherwise."""
    task_hub: str = "default"
    """The name of the task hub, as it appears in the URIs given to callers."""
    allowed_hosts: tuple[str, ...] = ()
    """Names beside this machine's own under which a reverse proxy passes requests on (their `Host` header). With
    one, every caller needs a key."""
    public_url: str = ""
    """The address under which people reach the server, for links sent to them. Empty: the one it listens on."""
    sealing_keys: str = ""
    """A file with the keys that seal secrets (`bide sealing add` makes it), outside the database. Empty: a key that
    comes from the hub's secret."""
    require_key: bool = False
    """Demand a key from every caller, even if only this machine can reach the server."""
    token_verbs: tuple[TokenVerb, ...] = ("waits", "raiseEvent", "terminate")
    """What the URIs that a starter gets are good for, beside looking at the status of their instance: any of
    `waits`, `raiseEvent`, `terminate`, `suspend`, `resume`, `rewind`, `restart` (as the same instance), `purge`,
    `history` and `events`."""
    token_days: Annotated[float, Meta(ge=0)] = 7.0
    """How long the URIs of an instance work after it has ended."""
    retention_days: Annotated[float, Meta(ge=0)] = 0.0
    """How long an instance is kept after it has ended, with its history and its audit. 0: until it is purged."""
    max_headers: Count = 100
    """How many headers a request may have."""
    max_header_bytes: Count = 32_768
    """All headers of a request together, with its first line."""
    header_timeout_s: Seconds = 10.0
    """How long a caller may take to send a request's headers."""
    answer_timeout_s: Seconds = 15.0
    """How long a caller may take to take 16 KiB of its answer, or what is left of it. Otherwise it is cut off."""
    max_connections: Count = 10_000
    """How many connections may be open at once, as far as the process may have so many files open. `/healthz` and
    `/readyz` are answered beyond that."""
    max_unsent_bytes: Count = 67_108_864
    """How many bytes of answers may wait for all callers together. Beyond that, those who take nothing are cut off
    at once."""
    max_wait_s: Annotated[float, Meta(ge=0)] = 600.0
    """How long a request may wait for a result. A longer wait holds connections that proxies have long cut."""
    max_streams: Count = 200
    """How many event streams may be open at once."""
    max_streams_per_caller: Count = 50
    """How many of them one caller may have open: a key, the URIs of one instance, or all local programs without a
    key."""
    max_body_bytes: Count = 1_048_576
    """How long a request's body may be."""
    max_payload_bytes: Annotated[int, Meta(ge=1, le=_LARGEST_PAYLOAD)] = MAX_PAYLOAD
    """How long one value may be as JSON: an input, an argument, a result, an event's data. Up to 128 MiB."""
    max_json_depth: Count = 64
    """How deep arrays and objects may be nested in a request's body."""
    body_timeout_s: Seconds = 15.0
    """How long a caller may take to send a request's body."""
    drain_s: Annotated[float, Meta(ge=0)] = 10.0
    """How long running activities and requests may take to end when the process is asked to stop."""
    leave_s: Annotated[float, Meta(ge=0)] = 0.0
    """How long a server that gets SIGTERM goes on serving, while `/readyz` says 503: as long as load balancers take
    to notice, so that no request is lost. Then it drains."""
    step_limit_s: Seconds = 5.0
    """How long an orchestrator may run without awaiting anything."""
    strict_replay: bool = False
    """Hold an instance also if its code only asks in other words: another input, instant or text than history has.
    Otherwise those are taken from history."""
    writer_thread: bool = False
    """Commit in a thread of its own: for disks that take long to sync. Slower on others."""

    @property
    def on_server(self) -> bool:
        """Whether the database is one that several workers share."""
        return self.db.startswith(("postgresql://", "postgres://"))


_NAMES: tuple[str, ...] = Settings.__struct_fields__
_VARIABLES = {name: f"{_PREFIX}{name.upper()}" for name in _NAMES}


class Explained(NamedTuple):
    """A setting in force, and where its value comes from."""

    name: str
    value: Any
    origin: str
    """In words: a flag, an environment variable, a file, or `default`."""


def load(
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    directory: Path,
    defaults: Mapping[str, object] | None = None,
) -> Settings:
    """The settings in force. A flag that is None was not given; `defaults` replace those of `Settings`.

    Names that look like a misspelt setting are logged as a warning. Raises `ValueError` that names the setting,
    where its value came from, and what is expected.
    """
    found = explain(flags, environ, directory, defaults)
    for doubt in doubts(environ, directory):
        log.warning("%s", doubt)
    return Settings(**{setting.name: setting.value for setting in found})


def explain(
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    directory: Path,
    defaults: Mapping[str, object] | None = None,
) -> list[Explained]:
    """Each setting in force, and where it comes from. Arguments and errors are those of `load`."""
    file, project = _read(directory / FILE_NAME), _read_project(directory)
    found: list[Explained] = []
    for field in fields(Settings):
        given = _find(field.name, flags, environ, file, project)
        if given is None:
            default = (defaults or {}).get(field.name, field.default)
            found.append(Explained(field.name, default, "default"))
        else:
            found.append(Explained(field.name, _convert(field, *given), given[1]))
    return found


def doubts(environ: Mapping[str, str], directory: Path) -> list[str]:
    """What looks like a setting of Bide, and is none, each in a sentence.

    `bide.toml` and the environment have names of others too, so only near misses are told. Raises `ValueError`
    if the file is no TOML.
    """
    file = _read(directory / FILE_NAME)
    found: list[str] = []
    for name in file:
        if name not in _NAMES and (near := _near_miss(name)):
            found.append(f"{name} in {FILE_NAME} is no setting of Bide. Did you mean {near}?")
    for variable in environ:
        name = variable.removeprefix(_PREFIX)
        if name != variable and variable not in _VARIABLES.values() and (near := _near_miss(name)):
            found.append(f"{variable} is no setting of Bide. Did you mean {_VARIABLES[near]}?")
    if isinstance(file.get("bide"), dict):
        found.append(f"The table [bide] in {FILE_NAME} is not read: settings stand at the top of the file.")
    return found


def own_names(environ: Mapping[str, str], directory: Path) -> list[tuple[str, str]]:
    """The names of the user's own settings in `bide.toml`, each with where its value comes from.

    Raises `ValueError` if the file is no TOML.
    """
    names = [name for name in _read(directory / FILE_NAME) if name not in _NAMES]
    return [(name, f"the environment variable {name}" if name in environ else FILE_NAME) for name in names]


def setting(name: str) -> str | None:
    """A setting of the user's own: from the environment, else from the top level of `bide.toml`.

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
    """Where an app keeps a file of its own: beside the database, and named after it (`bide.db.<name>`).

        With a database on a server it is in the working directory, `bide.<name>`; with one in memory, in a
    directory that goes with the process. Raises `ValueError` as `load` does.
    """
    settings = _in_use.get() or load({}, os.environ, Path())
    if settings.on_server:
        return Path(f"bide.{name}")
    return _scratch() / name if settings.db == ":memory:" else Path(f"{settings.db}.{name}")


@lru_cache(maxsize=1024)
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
    directory = tempfile.mkdtemp(prefix="bide-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return Path(directory)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as TOML: {error}") from error


class _Tools(Struct):
    bide: dict[str, Any] = {}


class _Project(Struct):
    tool: _Tools = msgspec.field(default_factory=_Tools)


def _read_project(directory: Path) -> dict[str, Any]:
    """`[tool.bide]`. It is ours alone, so nothing unknown may be in it."""
    try:
        table = convert(_read(directory / PROJECT_FILE_NAME), _Project).tool.bide
    except ValidationError as error:
        raise ValueError(f"{_TABLE} cannot be read: {error}.") from error
    for name in table:
        if name not in _NAMES:
            near = _near_miss(name)
            hint = f"Did you mean {near}?" if near else f"Settings of your app go into {FILE_NAME}."
            raise ValueError(f"{name}, set by {_TABLE}, is no setting of Bide. {hint}")
    return table


def _near_miss(name: str) -> str | None:
    """The setting that was probably meant by a name that is none."""
    known = {_plain(each): each for each in _NAMES}
    found = get_close_matches(_plain(name), known, n=1, cutoff=0.75)
    return known[found[0]] if found else None


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _find(
    name: str,
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    file: Mapping[str, object],
    project: Mapping[str, object],
) -> tuple[object, str] | None:
    """The value that goes before all others, and where it came from."""
    variable = _VARIABLES[name]
    places: tuple[tuple[str, Mapping[str, object], str], ...] = (
        (name, flags, f"--{name.replace('_', '-')}"),
        (variable, environ, f"the environment variable {variable}"),
        (name, file, FILE_NAME),
        (name, project, _TABLE),
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
