"""Microsoft's durabletask with the only backend that pip installs: one in memory. Nothing of it reaches a disk.

Its backend serves ten calls at a time, and whoever waits for a result holds one; it gets 2,048 here.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import logging
import random
import time
import types
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from durabletask import client, task, worker
from durabletask.testing import in_memory_backend

import engines
from engines import CITIES, Outbox

outbox: Outbox
WAITING_CALLS = 2_048


def send_challenge(_: Any, key: str) -> int:
    code = random.randrange(1_000, 10_000)
    outbox.deliver(key, code)
    return code


def verify(ctx: Any, phone: str) -> Generator[Any, Any, bool]:
    code = yield ctx.call_activity(send_challenge, input=ctx.instance_id)
    deadline = ctx.create_timer(timedelta(seconds=90))
    for _ in range(4):
        answer = ctx.wait_for_external_event("SmsChallengeResponse")
        if (yield task.when_any([answer, deadline])) == deadline:
            return False
        if answer.get_result() == code:
            return True
    return False


def say_hello(_: Any, name: str) -> str:
    return f"Hello {name}!"


def hello(ctx: Any, _: Any) -> Generator[Any, Any, list[str]]:
    greetings = []
    for city in CITIES:
        greetings.append((yield ctx.call_activity(say_hello, input=city)))
    return greetings


def one(_: Any, number: int) -> int:
    return number


def fan(ctx: Any, width: int) -> Generator[Any, Any, int]:
    return sum((yield task.when_all([ctx.call_activity(one, input=number) for number in range(width)])))


def history(ctx: Any, steps: int) -> Generator[Any, Any, int]:
    for number in range(steps):
        yield ctx.call_activity(one, input=number)
    return steps


def events(ctx: Any, count: int) -> Generator[Any, Any, int]:
    total = 0
    for _ in range(count):
        total += yield ctx.wait_for_external_event("Number")
    return total


def tell_time(_: Any, key: str) -> None:
    outbox.deliver(key, time.time())


def timer(ctx: Any, due: float) -> Generator[Any, Any, None]:
    yield ctx.create_timer(datetime.fromtimestamp(due, UTC).replace(tzinfo=None))
    yield ctx.call_activity(tell_time, input=ctx.instance_id)


def waiter(ctx: Any, _: Any) -> Generator[Any, Any, int]:
    go = ctx.wait_for_external_event("go")
    first = yield task.when_any([go, ctx.create_timer(timedelta(hours=1))])
    return go.get_result() if first == go else -1


class Engine(engines.Engine):
    versions: ClassVar = {"durabletask": importlib.metadata.version("durabletask")}
    durability = "none: in memory"

    def __init__(self, setting: str, its_outbox: Outbox) -> None:
        global outbox
        outbox = its_outbox
        in_memory_backend.futures = types.SimpleNamespace(
            ThreadPoolExecutor=lambda max_workers: ThreadPoolExecutor(max_workers=WAITING_CALLS)
        )

    async def open(self, directory: Path, *, fresh: bool) -> None:
        logging.disable(logging.WARNING)
        port = 18_450
        self._backend = in_memory_backend.InMemoryOrchestrationBackend(port=port, max_history_size=10**6)
        self._backend.start()
        self._worker = worker.TaskHubGrpcWorker(host_address=f"127.0.0.1:{port}")
        for orchestrator in (verify, hello, fan, history, events, timer, waiter):
            self._worker.add_orchestrator(orchestrator)
        for activity in (send_challenge, say_hello, one, tell_time):
            self._worker.add_activity(activity)
        self._worker.start()
        self._client = client.AsyncTaskHubGrpcClient(host_address=f"127.0.0.1:{port}")

    async def start_verify(self, key: str, phone: str) -> str:
        return await self._client.schedule_new_orchestration(verify, input=phone, instance_id=key)

    async def answer(self, key: str, code: int) -> None:
        await self._client.raise_orchestration_event(key, "SmsChallengeResponse", data=code)

    async def result(self, handle: str) -> bool:
        return await self._output(handle) is True

    async def _output(self, key: str) -> Any:
        state = await self._client.wait_for_orchestration_completion(key, timeout=600, fetch_payloads=True)
        return json.loads(state.serialized_output)

    async def hello(self, key: str) -> list[str]:
        return await self._output(await self._client.schedule_new_orchestration(hello, instance_id=key))

    async def fan(self, key: str, width: int) -> int:
        return await self._output(await self._client.schedule_new_orchestration(fan, input=width, instance_id=key))

    async def history(self, key: str, steps: int) -> int:
        return await self._output(
            await self._client.schedule_new_orchestration(history, input=steps, instance_id=key)
        )

    async def start_events(self, key: str, count: int) -> str:
        return await self._client.schedule_new_orchestration(events, input=count, instance_id=key)

    async def send_event(self, key: str, number: int) -> None:
        await self._client.raise_orchestration_event(key, "Number", data=number)

    async def total(self, handle: str) -> int:
        return await self._output(handle)

    async def start_timer(self, key: str, due: float) -> None:
        await self._client.schedule_new_orchestration(timer, input=due, instance_id=key)

    async def start_waiting(self, key: str) -> None:
        await self._client.schedule_new_orchestration(waiter, instance_id=key)

    async def all_waiting(self, count: int) -> None:
        def waiting() -> int:
            return sum(len(instance.history) >= 3 for instance in list(self._backend._instances.values()))

        while waiting() < count:  # noqa: ASYNC110 - nothing public tells
            await asyncio.sleep(0.2)

    async def answer_waiting(self, key: str) -> None:
        await self._client.raise_orchestration_event(key, "go", data=1)
