"""Which instances are meant: options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bide.cli.completion import orchestrator_names
from bide.cli.options import to_span

if TYPE_CHECKING:
    from bide.model.query import InstanceFilter

F = TypeVar("F", bound=Callable[..., Any])

STATUSES = ("Pending", "Running", "Suspended", "Completed", "Failed", "Terminated")


def tags_of(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """The callback of `--tag name=value`."""
    pairs = [value.partition("=") for value in values]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise click.BadParameter("Write a tag as name=value.")
    return {name: value for name, _, value in pairs}


def moment(context: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    """The callback of an option that is a moment: ISO 8601, or a span before now (`2h`)."""
    if value is None:
        return None
    try:
        span = to_span(context, parameter, value)
    except click.BadParameter:
        span = None
    if span is not None:
        return _now() - span
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(
            f"'{value}' is no time. Write for example 2026-11-23T06:00:00Z, or 2h for two hours ago."
        ) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _now() -> datetime:
    from bide.model.clock import SystemClock

    return SystemClock().utc_now()


tag_option = click.option("--tag", "tags", metavar="NAME=VALUE", multiple=True, callback=tags_of, help="A tag.")


only_tag_option = click.option(
    "--tag", "tags", metavar="NAME=VALUE", multiple=True, callback=tags_of, help="Only with this tag."
)
name_option = click.option(
    "--name", metavar="NAME", default="", shell_complete=orchestrator_names, help="Only of this orchestrator."
)


def filter_options(command: F) -> F:
    """`--status`, `--name`, `--prefix`, `--tag`, `--held`, `--created-after` and `--created-before`."""
    for option in (
        click.option(
            "--created-before", metavar="TIME", callback=moment, help="Only older ones: a time, or a span (2h)."
        ),
        click.option("--created-after", metavar="TIME", callback=moment, help="Only newer ones."),
        click.option("--held", is_flag=True, help="Only those that are held: `show` says why."),
        only_tag_option,
        click.option("--prefix", metavar="TEXT", default="", help="Only with ids that begin so."),
        name_option,
        click.option(
            "--status",
            "statuses",
            type=click.Choice(STATUSES, case_sensitive=False),
            multiple=True,
            help="Only with this status; may be repeated.",
        ),
    ):
        command = option(command)
    return command


def filter_of(
    statuses: tuple[str, ...],
    name: str,
    prefix: str,
    tags: dict[str, str],
    created_after: datetime | None,
    created_before: datetime | None,
    held: bool = False,
) -> InstanceFilter:
    """The options as a filter."""
    from bide.model.instance import RuntimeStatus
    from bide.model.query import InstanceFilter

    return InstanceFilter(
        created_from=created_after,
        created_to=created_before,
        statuses=tuple(map(RuntimeStatus, statuses)),
        id_prefix=prefix,
        name=name,
        tags=tags,
        held=held,
    )


def limit_option(default: int) -> Callable[[F], F]:
    return click.option(
        "-n", "--limit", type=click.IntRange(1), default=default, show_default=True, help="How many at most."
    )
