"""Events reach an instance in their order, also while it goes from one generation to the next."""

from __future__ import annotations

import asyncio

import msgspec

from bide import App, OrchestrationContext
from bide.engine.options import WorkerOptions
from bide.model.batch import Message
from bide.model.history import EventRaised, ExecutionStarted
from bide.model.sealing import SealingKeys
from bide.store.memory import MemoryStore
from bide.testing.clock import ManualClock
from bide.testing.harness import Durable
from tests.workers import new_worker

SEALER = SealingKeys([bytes(32)])

SECRET = bytes(32)

app = App()


@app.orchestrator
async def collect(ctx: OrchestrationContext, got: list[int]) -> list[int]:
    got = [*got, await ctx.wait_for_external_event("Item", int)]
    if len(got) < 4:
        ctx.continue_as_new(got)
    return got


def item(number: int) -> Message:
    return Message("a", EventRaised("Item", msgspec.Raw(str(number).encode())))


def test_what_comes_between_two_generations_is_not_overtaken_by_what_another_worker_sends() -> None:
    """One message a step, so that others wait in the inbox at each step's end."""
    clock, store = ManualClock(), MemoryStore()
    worker = new_worker(app, store, clock, "one", WorkerOptions(max_step=1))

    async def left_by_another(*messages: Message) -> None:
        await store.send(messages)
        worker.mail_came()

    async def main() -> bytes:
        await left_by_another(
            Message("a", ExecutionStarted("collect", msgspec.Raw(b"[]"))), item(1), item(2), item(3)
        )
        for _ in range(3):  # the start, the event that ends the first generation, and the one behind it
            assert await worker.turn()
        await left_by_another(item(4))
        while await worker.turn():
            pass
        (row,) = await store.rows(["a"])
        return bytes(row.output_json)

    assert asyncio.run(main()) == b"[1,2,3,4]"


def test_what_comes_in_the_step_that_resumes_a_held_instance_comes_once(app: App, durable: Durable) -> None:
    """The inbox is read again for it; what had just been taken from there is not taken twice."""
    changed = False

    @app.orchestrator
    async def collect(ctx: OrchestrationContext) -> list[str]:
        await ctx.wait_for_external_event("Other" if changed else "Go")
        return [await ctx.wait_for_external_event("Item", str) for _ in range(3)]

    @app.orchestrator
    async def send(ctx: OrchestrationContext, to: str) -> None:
        ctx.send_event(to, "Item", "a")

    instance = durable.start(collect)
    durable.raise_event(instance, "Go")
    changed = True
    durable.crash()
    durable.raise_event(instance, "Item", "first")
    assert durable.status(instance).held is not None
    changed = False

    async def at_once() -> None:
        await asyncio.gather(durable.client.start(send, instance), durable.client.resume(instance))

    durable.run(at_once())
    durable.raise_event(instance, "Item", "last")
    assert durable.output(instance) == ["first", "a", "last"]
