"""`holdfast demo`: the phone verification, ready to try."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from holdfast.cli.faults import Fault, plain_errors
from holdfast.cli.options import serving_options, settings_from

if TYPE_CHECKING:
    from holdfast.app import App
    from holdfast.config import Settings

_NUMBER = "+12025550123"  # out of the range that is kept for fiction
_JSON = "-H 'Content-Type: application/json'"


@click.command()
@serving_options
def demo(debug: bool, **flags: object) -> None:
    """Run the phone verification sample, with a telephone of its own.

    \b
    Example:
      holdfast demo --port 7071 --db demo.db
    """
    from holdfast.cli.loading import load_app
    from holdfast.cli.serving import configure_logging, listen, serve, url
    from holdfast.config import using

    with plain_errors(debug):
        settings = settings_from(flags, defaults={"db": "holdfast-demo.db"})
        with listen(settings) as listener:
            with using(settings):
                app = load_app(sample(), debug=debug)
            configure_logging()
            serve(app, settings, listener, lambda: click.echo(banner(url(listener), settings, app), err=True))


def sample() -> Path:
    """The sample's file: inside an installed package, or in the repository. Raises `Fault`."""
    package = Path(__file__).parents[1]
    places = (
        package / "_demo" / "phone_verification.py",
        package.parents[1] / "examples" / "phone_verification" / "app.py",
    )
    for place in places:
        if place.is_file():
            return place
    raise Fault("The phone verification sample is not part of this installation.")


def banner(url: str, settings: Settings, app: App) -> str:
    """What to try, ready to paste but for the code. The id is new each time, so that nothing old is in the way."""
    from holdfast.cli.serving import shown
    from holdfast.http.auth import is_open

    instance_id = f"demo-{secrets.token_hex(2)}"
    instance = f"{url}/runtime/webhooks/durabletask/instances/{instance_id}"
    curl = "curl" if is_open(settings) else 'curl -H "x-functions-key: $HOLDFAST_KEY"'
    number, reading = _NUMBER, f"   {curl} '{url}/dev/phone/messages?to={quote(_NUMBER)}'"
    if not app.mounts:  # no dev phone: the sample has found settings of a carrier
        number, reading = "+YOUR NUMBER", "   It goes out through your carrier, to a real telephone."
    return f"""\
Phone verification is ready on {url}
  database: {shown(settings.db)}

1. Start a verification. Another id in place of {instance_id} starts another one:
   {curl} -X POST {url}/orchestrators/E4_SmsPhoneVerification/{instance_id} {_JSON} -d '"{number}"'

2. Read the message. You have 90 seconds:
{reading}

3. Answer with the code it says, in place of 0000:
   {curl} -X POST {instance}/raiseEvent/SmsChallengeResponse {_JSON} -d '"0000"'

The result: {curl} {instance}
Watch it:   holdfast show {instance_id} --follow --url {url}
The API:    {url}/docs
Kill this process in between, if you like, and start it again. Ctrl+C stops it.
"""
