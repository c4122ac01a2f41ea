"""Clients of a server's URL, with the verbs of the in-process client.

    from bide.client import Client

    with Client("http://127.0.0.1:7071") as client:
        instance_id = client.start("verify_phone", "+12025550123")
        print(client.wait(instance_id).output)

`AsyncClient` has the same verbs to be awaited. Both raise the errors of `bide.errors`, as the server means
them; `AccessDeniedError` where a key is missing or does not suffice, `ServerUnreachableError` where nobody answers.
A request that is safe to repeat is repeated after a broken connection: reads, and starts and events, which carry an
idempotency key for that.
"""

from bide.client.asynchronous import AsyncClient
from bide.client.synchronous import Client
from bide.client.wire import ServerEvent

__all__ = ["AsyncClient", "Client", "ServerEvent"]
