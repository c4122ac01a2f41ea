"""Routes of the app for callers who have no key, and prove who they are in another way."""

from __future__ import annotations

from starlette.routing import Route


class KeylessRoute(Route):
    """A route among `App.mounts` that takes no key, for callers who cannot have one, such as webhooks.

    Its endpoint is all that stands between the app and whoever reaches the server. So before it does anything, it
    must know who calls: by a signature, for example.
    """
