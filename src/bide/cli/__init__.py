"""The command `bide`. Data goes to stdout, talk to stderr. Exit codes are in `faults`.

Commands are found in a table and loaded when they are called, so that `bide --help` answers at once. Modules of
commands import nothing but click at the top.
"""

from __future__ import annotations

import os
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import click

import bide
from bide.cli.faults import quiet_without_reader, with_all_streams

_GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "Serving": {
        "demo": ("demo", "The phone verification, ready to try."),
        "new": ("new", "A directory with an app to begin with."),
        "dev": ("dev", "Serve a file while it is being written."),
        "serve": ("serve", "Serve a file in production."),
    },
    "Instances": {
        "start": ("starting", "Start an instance."),
        "ls": ("showing", "List instances."),
        "show": ("showing", "Show an instance."),
        "history": ("showing", "Show what happened in an instance."),
        "wait": ("showing", "Wait for the result of an instance."),
        "waiting": ("showing", "Show who waits for what."),
        "raise": ("starting", "Answer: raise an event of an instance."),
        "suspend": ("changing", "Let instances pause."),
        "resume": ("changing", "Let suspended instances go on."),
        "terminate": ("changing", "End instances now."),
        "rewind": ("changing", "Let failed instances go on from where they went wrong."),
        "restart": ("changing", "Start again with the same input."),
        "purge": ("changing", "Delete instances that have ended."),
    },
    "Keeping house": {
        "workers": ("showing", "Show who works, and how much of the hub each has."),
        "keys": ("keys", "Keys of callers: list, make, replace, revoke."),
        "sealing": ("sealing", "Keys that seal secrets: list, add, change over."),
        "db": ("db", "The database: status, migrate, backup."),
        "replay": ("replay", "Does the code still fit old histories? For CI."),
        "doctor": ("doctor", "Look for what could be wrong."),
        "config": ("settings", "The settings in force, and where they come from."),
        "completion": ("completion", "Complete commands in your shell."),
        "func": ("func", "The verbs of Azure's Core Tools: func durable ..."),
    },
}
COMMANDS = {name: command for group in _GROUPS.values() for name, command in group.items()}


class _Commands(click.Group):
    """Loads a command when it is called; its line in the help is in the table."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        with_all_streams()
        with quiet_without_reader():  # --help and --version print here
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with quiet_without_reader():
            return super().invoke(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        close = get_close_matches(name.lower(), COMMANDS, 1)
        if close and name not in COMMANDS and not ctx.resilient_parsing:
            ctx.fail(f"No such command '{name}'. Did you mean '{close[0]}'?")
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"bide.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, "raise_event" if cmd_name == "raise" else cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in _GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_, text) in commands.items()])


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Each command's --help ends with an example. The first: bide demo",
)
@click.version_option(bide.__version__, message="%(version)s")
@click.pass_context
def main(context: click.Context) -> None:
    """Durable functions in plain Python, for work that waits on people."""
    if os.environ.get("NO_COLOR"):
        context.color = False
