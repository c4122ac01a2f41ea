"""What must hold when everything has come to rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from bide.core.replay import check_replay
from bide.engine.isolation import WithoutLoop
from bide.model.history import ContinuedAsNew, ExecutionCompleted, ExecutionTerminated, Step
from bide.model.instance import PARTITIONS, Instance, RuntimeStatus
from bide.store.protocol import BEFORE_ALL
from simulation.clients import User, code_for_instance
from simulation.ledger import FOR_ONE, SEALER, Past, Sent
from simulation.rogues import ends_as
from simulation.workload import registry
from simulation.world import World

_ALL = range(PARTITIONS)
_FOREVER = 2**62


async def check_rest(world: World, clients: Sequence[User]) -> None:
    """Every check that needs the end of the run. Reads the store itself, without faults."""
    for instance_id in world.ledger.pasts:
        await _check_instance(world, instance_id)
    for client in clients:
        await _check_story(world, client)
    for instance_id in world.ledger.misfits:
        instance = await world.store.instance(instance_id)
        gone_on = instance is not None and instance.status.finished
        world.report.check("G7", gone_on, f"{instance_id} was held, and did not go on when fitting code came back")
    await _check_rows(world)
    _check_sent_by_instances(world)


# --- every instance


async def _check_instance(world: World, instance_id: str) -> None:
    report, past = world.report, world.ledger.pasts[instance_id]
    instance = await world.store.instance(instance_id)
    history = await world.store.history(instance_id)
    if instance is None:
        report.broken("G1", f"{instance_id} is gone")
        return
    report.check("rest", instance.status.finished, f"{instance_id} is {instance.status}, {instance.held}")
    present = past.generations[-1] if past.generation == instance.generation else []
    same = [step.facts for step in history] == present and [step.seq for step in history] == list(
        range(len(present))
    )
    report.check("G2", same, f"the history of {instance_id} is not what was committed")
    if history:
        _check_replay(world, instance, history)
    _check_ends(world, instance, past)


def _check_replay(world: World, instance: Instance, history: list[Step]) -> None:
    if world.remote and instance.name != "rogue":
        asked, recorded = world.host.asked(instance, history)
        world.report.check("replay", asked == recorded, f"{instance.id}: {asked} is not {recorded}")
        return
    try:
        with WithoutLoop():
            check_replay(registry(), instance.name, instance.id, instance.generation, history, sealer=SEALER)
    except Exception as error:  # a history that was damaged may break replay in any way
        world.report.broken("replay", f"{instance.id}: {error!r}")
    world.report.checks["replay"] += 1


def _check_ends(world: World, instance: Instance, past: Past) -> None:
    """A generation ends once, with its last step; the next begins after it."""
    for number, steps in enumerate(past.generations):
        endings = [fact for facts in steps for fact in facts if isinstance(fact, _ENDINGS)]
        last = number == len(past.generations) - 1
        wanted = int(instance.status.finished or not last)
        world.report.check("G2", len(endings) == wanted, f"{instance.id} ended {len(endings)} times in a run")
        if endings:
            world.report.check("G2", endings[0] in steps[-1], f"{instance.id} went on after its end")


_ENDINGS = (ExecutionCompleted, ExecutionTerminated, ContinuedAsNew)


async def _check_rows(world: World) -> None:
    """All instances have ended, so nothing may be left of them but their histories."""
    store, report = world.store, world.report
    timers = await store.timers(_ALL, _FOREVER)
    report.check("rows", not timers, f"timers of ended instances: {timers[:3]}")
    activities = await store.activities(_ALL)
    report.check("rows", not activities, f"activities of ended instances: {activities[:3]}")
    inbox = await store.inbox(_ALL, BEFORE_ALL, 1000)
    report.check("rows", not inbox, f"messages that nobody took: {inbox[:3]}")
    for instance_id in world.ledger.pasts:
        waits = await store.waits(instance_id)
        report.check("rows", not waits, f"waits of an ended instance: {waits[:3]}")


def _check_sent_by_instances(world: World) -> None:
    for payload, receiver in world.ledger.sent_by_instances.items():
        past = world.ledger.pasts.get(receiver)
        times = 0 if past is None else len(past.raised.get(payload, ()))
        world.report.check("G2", times <= 1, f"{payload}, sent by an instance, was taken {times} times")


# --- what clients know


async def _check_story(world: World, client: User) -> None:
    report, ledger = world.report, world.ledger
    instance = await world.store.instance(client.instance_id)
    if client.acknowledged:
        report.check("G1", instance is not None, f"the acknowledged start of {client.instance_id} is lost")
    report.check("births", not client.replaced_twice, f"{client.instance_id} was replaced twice by one request")
    if instance is None:
        return
    past, lives = ledger.pasts.get(client.instance_id, Past("")), ledger.lives.get(client.instance_id, [])
    report.check("births", past.birth == instance.birth, f"{client.instance_id} is not the one that began last")
    sent = [event for event in ledger.sent.values() if event.instance_id == client.instance_id]
    for event in sent:
        _check_event(world, event, lives, instance)
    if (
        len(lives) > 1 or client.instance_id in ledger.made_way
    ):  # what came late may have been for the one before, or too late for both
        sent = []
    elif past.generation > 0:  # an event on its way to another worker, and a new generation: no order is promised
        sent = [event for event in sent if not event.relayed]
    for name in {event.name.lower(): None for event in sent}:
        _check_order(world, [event for event in sent if event.name.lower() == name], _payloads(past, name))
    if client.name == "rogue":
        expected = ends_as(str(client.value))
        text = f"{client.instance_id}, which {client.value}, is {instance.status}: {instance.output}"
        report.check("isolation", instance.status in expected, text)
    if instance.status is RuntimeStatus.COMPLETED:
        _check_output(world, client, past, instance.output)


def _check_event(world: World, event: Sent, lives: Sequence[Past], instance: Instance) -> None:
    """Acknowledged: in history, or too late for an instance that has ended. Refused: nowhere."""
    taken = any(event.payload in past.raised for past in lives)
    if event.acked:
        there = taken or instance.status.finished
        world.report.check("G1", there, f"the acknowledged event {event.payload} is lost")
    elif event.error is not None:
        world.report.check("G2", not taken, f"event {event.payload} was refused, and taken")


def _payloads(past: Past, name: str) -> list[str]:
    return [payload for event_name, payload in past.arrived if event_name == name]


def _check_order(world: World, sent: Sequence[Sent], arrived: Sequence[str]) -> None:
    """One client's events arrive in the order in which it sent them, as far as it can know one."""
    place = {payload: number for number, payload in enumerate(arrived)}
    for one, other in ((a, b) for n, a in enumerate(sent) for b in sent[n + 1 :] if b.payload in place):
        if not _ordered(one, other):
            continue
        kept = one.payload in place
        world.report.check("G1", kept, f"{other.payload} arrived, but {one.payload} before it is lost")
        before = not kept or place[one.payload] < place[other.payload]
        world.report.check("G4", before, f"{other.payload} overtook {one.payload}")


def _ordered(one: Sent, other: Sent) -> bool:
    """Whether `one` must come before `other`, which was sent later.

    What was left in the inbox for another worker may be overtaken by what that worker was told directly.
    """
    if not one.acked or (one.relayed and not other.relayed):
        return False
    return one.answered < other.order or one.worker == other.worker


# --- outputs


def _check_output(world: World, client: User, past: Past, output: Any) -> None:
    holds = True
    match client.name:
        case "rogue":
            holds = client.value != "keeps its context" or output is True
        case "fan":
            holds = output == [2 * number for number in range(int(str(client.value)))]
        case "chain":
            holds = output in (client.value, -1)
        case "pay":
            holds = output in (f"paid {client.value}", "unknown")
        case "parent":
            holds = all(got in (-1, 2 * n) for n, got in enumerate(output)) and len(output) == client.value
        case "verify":
            holds = _verified(client, past) == (output == "verified") or output in ("late", "unknown", "refused")
        case "collect":
            _check_taken(world, client, past, "red", output["red"])
            _check_taken(world, client, past, "blue", output["blue"])
        case "loop":
            _check_taken(world, client, past, "item", output)
        case "vote":
            _check_votes(world, client, output)
        case "patient":
            _check_fifo(world, client, past, "late", [got for got in output if "#" in got and "early" not in got])
        case _:
            pass
    if client.name in ("chain", "parent"):
        seen = output == -2 or (isinstance(output, list) and -2 in output)
        world.report.check("isolation", not seen, f"{client.instance_id} saw the context of another instance")
    world.report.check("outcome", holds, f"{client.instance_id}: {output} for {client.value}")


def _check_taken(world: World, client: User, past: Past, name: str, taken: Sequence[str]) -> None:
    """The orchestrator got the events in the order in which they arrived, each once, none left out."""
    arrived = _payloads(past, name)
    once = len(set(taken)) == len(taken)
    world.report.check("G2", once, f"{client.instance_id} got an event twice: {taken}")
    lost = [payload for payload in arrived[: len(taken)] if payload not in taken]
    world.report.check("G1", not lost, f"{client.instance_id} never got {lost}")
    if not lost and once:
        ordered = list(taken) == arrived[: len(taken)]
        world.report.check("G4", ordered, f"{client.instance_id} got {taken}, but {arrived} arrived")


def _check_votes(world: World, client: User, output: Sequence[str]) -> None:
    """Each answer that was for one wait was given to the code as that one's."""
    for taken in output:
        wait_id, _, payload = taken.partition("=")
        if payload.startswith(FOR_ONE):
            mine = payload.partition("#")[0].endswith(f"/{wait_id}")
            world.report.check("waits", mine, f"{client.instance_id} took {payload} for its wait {wait_id}")


def _check_fifo(world: World, client: User, past: Past, name: str, taken: Iterable[str]) -> None:
    place = {payload: number for number, payload in enumerate(_payloads(past, name))}
    places = [place[payload] for payload in taken if payload in place]
    ordered = all(one < other for one, other in pairwise(places))
    world.report.check("G4", ordered, f"{client.instance_id} got events of '{name}' out of order")


def _verified(client: User, past: Past) -> bool:
    """Whether the right code is among the first four answers that arrived."""
    code = code_for_instance(client.instance_id, past.birth)
    return any(payload.startswith(code) for payload in _payloads(past, "answer")[:4])
