"""An app in which every kind of payload has a secret, and all places in which one could show."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import Struct

from bide import App, OrchestrationContext, Secret

NEEDLE = "s3cr3t"
"""What is in each secret, and must be nowhere else."""


def secret(kind: str) -> str:
    return f"{NEEDLE}-{kind}"


class Login(Struct):
    """A structure of which one member is a secret."""

    user: str
    pin: Secret[str]


@dataclass
class Note:
    """The same, of another make."""

    text: Secret[str]


def app_with_secrets() -> tuple[App, list[Any]]:
    """The app, and what its code was given, in the order in which it got it."""
    app = App()
    got: list[Any] = []

    @app.activity
    async def draw(login: Login) -> Secret[str]:
        got.append(login.pin)
        return secret("result")

    @app.activity
    def write(note: Note, count: int) -> Note:
        got.append(note.text)
        return note

    @app.activity
    async def loose(value):  # type: ignore[no-untyped-def]
        return Note(secret("of-its-class"))

    @app.orchestrator
    async def child(ctx: OrchestrationContext, login: Login) -> Note:
        got.append(login.pin)
        return Note(secret("child-output"))

    @app.orchestrator
    async def told(ctx: OrchestrationContext) -> Secret[str]:
        first = await ctx.wait_for_external_event("Told", Secret[str])
        second = await ctx.wait_for_external_event("Told", Login)
        got.extend((first, second.pin))
        return first

    @app.orchestrator
    async def parent(ctx: OrchestrationContext, login: Login) -> Secret[str]:
        got.append(login.pin)
        got.append(await ctx.call_activity(draw, Login("a", secret("argument"))))
        got.append((await ctx.call_activity(write, Note(secret("one-of-two")), 2)).text)
        got.append((await ctx.call_activity("loose", Note(secret("by-name"))))["text"])
        got.append((await ctx.call_sub_orchestrator(child, Login("b", secret("child-input")))).text)
        ctx.set_custom_status([Login("c", secret("status"))])
        ctx.send_event("told", "Told", secret("sent"), type=Secret[str])
        ctx.send_event("told", "Told", Login("d", secret("sent-struct")))
        got.append(await ctx.wait_for_external_event("Early", Secret[str]))
        got.append((await ctx.wait_for_external_event("Open", Login)).pin)
        if login.user != "again":
            ctx.continue_as_new(Login("again", secret("next-input")))
        return secret("output")

    return app, got


GIVEN = [
    *("input", "argument", "result", "one-of-two", "one-of-two", "of-its-class", "child-input", "child-output"),
]
"""What `parent` is given before it waits for its first event, but for its input."""


def files_with(needle: str, directory: Path) -> list[str]:
    """The files in which it stands."""
    return [path.name for path in directory.rglob("*") if path.is_file() and needle.encode() in path.read_bytes()]
