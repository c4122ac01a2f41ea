"""Walks a server with Microsoft's own client, which knows nothing of Bide but a base URL.

    python tests/foreign/azure_client.py http://127.0.0.1:7071/runtime/webhooks/durabletask FLAG

The server runs the app of `tests/http/test_curl_walk.py`, whose activity fails until the file FLAG is there.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from azure.durable_functions import DurableOrchestrationClient
from azure.durable_functions.models.OrchestrationRuntimeStatus import OrchestrationRuntimeStatus as Status


def client_of(base: str) -> DurableOrchestrationClient:
    binding = {"taskHubName": "default", "creationUrls": {}, "managementUrls": {}, "rpcBaseUrl": f"{base}/"}
    return DurableOrchestrationClient(json.dumps(binding))


async def becomes(client: DurableOrchestrationClient, instance_id: str, wanted: Status) -> object:
    """The status, once it is the wanted one."""
    async with asyncio.timeout(10):
        status = await client.get_status(instance_id, show_input=True)
        while status.runtime_status is not wanted:
            await asyncio.sleep(0.02)
            status = await client.get_status(instance_id, show_input=True)
    return status


async def refused(call: Awaitable[object]) -> str:
    """What the client says of a call that the server refuses: it raises plain exceptions."""
    try:
        await call
    except Exception as error:
        return str(error)
    return "it was not refused"


async def walk(base: str, flag: Path) -> None:
    client = client_of(base)
    hour = timedelta(hours=1)
    began = datetime.now(UTC)

    answered = await client.start_new("Approve", None, {"who": "me"})
    assert (await becomes(client, answered, Status.Running)).input_ == '{"who": "me"}'
    await client.raise_event(answered, "Answer", {"ok": True})
    assert json.loads((await becomes(client, answered, Status.Completed)).output) == {"ok": True}
    shown = await client.get_status(answered, show_history=True, show_history_output=True)
    kinds = [event["EventType"] for event in shown.historyEvents]
    assert kinds == ["ExecutionStarted", "EventRaised", "ExecutionCompleted"], kinds

    said = await refused(client.start_new("Nothing", None, 1))
    assert "There is no orchestrator 'Nothing'" in said, said

    steered = await client.start_new("APPROVE", "steered", 1)
    assert steered == "steered"
    await client.suspend(steered, "lunch")
    await becomes(client, steered, Status.Suspended)
    await client.resume(steered, "back")
    await becomes(client, steered, Status.Running)
    await client.terminate(steered, "enough")
    await becomes(client, steered, Status.Terminated)

    assert {each.instance_id for each in await client.get_status_all()} >= {answered, steered}
    found = await client.get_status_by(began - hour, began + hour, [Status.Completed])
    assert answered in {each.instance_id for each in found}

    again = await client.restart(answered)
    assert again["id"] != answered

    failed = await client.start_new("Look")
    await becomes(client, failed, Status.Failed)
    flag.write_text("seen")  # noqa: ASYNC240 - nothing else runs here
    await client.rewind(failed, "the flag is up")
    await becomes(client, failed, Status.Completed)

    assert (await client.purge_instance_history(answered)).instances_deleted == 1
    purged = await client.purge_instance_history_by(began - hour, began + hour, [Status.Terminated])
    assert purged.instances_deleted == 1
    assert (await client.get_status(answered)).runtime_status is None
    for wrong in (client.raise_event("nobody", "Answer", 1), client.rewind(failed, "why")):
        try:
            await wrong
        except Exception as error:
            print(f"refused, as it should be: {error}")
        else:
            raise AssertionError("it was not refused")


if __name__ == "__main__":
    asyncio.run(walk(sys.argv[1], Path(sys.argv[2])))
