"""`bide demo`: the phone verification, ready to try."""

from __future__ import annotations

import secrets
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from bide.cli.faults import Fault, plain_errors, shown_errors
from bide.cli.options import serving_options, settings_from

if TYPE_CHECKING:
    from socket import socket

    from bide.config import Settings

_NUMBER = "+12025550123"  # out of the range that is kept for fiction
_JSON = "-H 'Content-Type: application/json'"


@click.command()
@serving_options
@click.option("--open", "browse", is_flag=True, help="Open the browser, if this is a terminal.")
def demo(debug: bool, browse: bool, **flags: object) -> None:
    """Run the phone verification sample, with a telephone of its own.

    The server is a process of its own: when it is killed, it comes back after two seconds.

    \b
    Example:
      bide demo --port 7071 --db demo.db
    """
    from bide.cli.serving import listen
    from bide.cli.supervisor import supervise

    with plain_errors(debug):
        settings = settings_from(flags, defaults={"db": "bide-demo.db"})
        with listen(settings) as listener:
            sys.exit(supervise(partial(serve_demo, settings, debug, browse and sys.stderr.isatty()), listener))


def serve_demo(settings: Settings, debug: bool, browse: bool, listener: socket, first: bool) -> None:
    """What the server's process runs. Says what to try if it is the first one."""
    from bide.cli.demo_routes import DemoClock, demo_routes
    from bide.cli.loading import load_app
    from bide.cli.serving import configure_logging, serve, url
    from bide.config import data_file, using

    with shown_errors(debug):
        with using(settings):
            app = load_app(sample(), debug=debug)
            app.clock = clock = DemoClock(data_file("clock"))
        has_phone = bool(app.mounts)  # else the sample has found settings of a carrier
        app.mounts += demo_routes(clock)
        configure_logging()

        def ready() -> None:
            if first:
                click.echo(banner(url(listener), settings, has_phone), err=True)
            if first and browse:
                _browse(f"{url(listener)}/dev/phone" if has_phone else f"{url(listener)}/")

        serve(app, settings, listener, ready)


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


def banner(url: str, settings: Settings, has_phone: bool) -> str:
    """What to try, ready to paste but for the code. The id is new each time, so that nothing old is in the way."""
    from bide.cli.serving import shown

    instance_id = f"demo-{secrets.token_hex(2)}"
    instance = f"{url}/runtime/webhooks/durabletask/instances/{instance_id}"
    number, reading = _NUMBER, f"curl '{url}/dev/phone/messages?to={quote(_NUMBER)}&wait=5s'"
    phone = f'\n  dev phone: {url}/dev/phone    Open it, and press "Send code".'
    if not has_phone:
        number, reading, phone = "+YOUR NUMBER", "(It goes out through your carrier, to a real telephone.)", ""
    return f"""\
Phone verification is ready on {url}
  dashboard: {url}/{phone}
  database:  {shown(settings.db)}

Or in another terminal: start a verification, read the message, and answer with its code within 90 seconds.
  curl -X POST {url}/orchestrators/E4_SmsPhoneVerification/{instance_id} {_JSON} -d '"{number}"'
  {reading}
  curl -X POST {instance}/raiseEvent/SmsChallengeResponse {_JSON} -d '"0000"'
  bide show {instance_id} --follow --url {url}

Kill the worker in between, if you like: it comes back, and the code still works. Ctrl+C stops the demo.
"""


def _browse(address: str) -> None:
    import threading
    import webbrowser

    # Some browsers keep who opens them waiting, and the server has others to answer.
    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
