"""Activities in a simulated world: the protocol of `engine.activities.ActivityRunner`, without an event loop.

What the runner does with asyncio tasks is done here with actors that the scheduler sends on. An actor can be
dropped at every await, which is what a crash does to a body.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from bide.core.calls import Done, NotDone, Outcome, Unknown
from bide.engine.activities import Claim, Post
from bide.errors import BideError, CommitUnknownError, LeaseLostError
from bide.model.batch import Message, ScheduledActivity, TaskKey
from bide.model.clock import SECOND
from bide.model.history import Fact, Failure, TaskCompleted, TaskFailed
from bide.model.payload import encode
from simulation.actors import Actor, Until
from simulation.workload import CarrierTimeout

if TYPE_CHECKING:
    from simulation.world import Process, World

_ONCE = frozenset({"send_sms", "charge"})


def code_for(activity: ScheduledActivity) -> str:
    """The code that an SMS carries: a function of the call, so that everybody can know it."""
    return f"code-{activity.idempotency_key}"


class SimulatedActivities:
    """Implements `bide.engine.activities.Activities`."""

    def __init__(self, world: World, process: Process) -> None:
        self._world = world
        self._process = process
        self._running: dict[TaskKey, Actor] = {}
        self._begun: set[TaskKey] = set()
        self._post: Post | None = None
        self._claim: Claim | None = None

    def connect(self, post: Post, claim: Claim) -> None:
        self._post, self._claim = post, claim

    def run(self, activity: ScheduledActivity, *, recovered: bool = False) -> None:
        self._world.ledger.released(activity)
        if activity.key in self._begun or (activity.key in self._running and not recovered):
            return
        self.cancel([activity.key])
        name = f"{self._process.name}/{activity.name}:{activity.instance_id}:{activity.task_id}"
        actor = Actor(name, self._run(activity, recovered))
        self._running[activity.key] = actor
        self._world.running.append((self._process, actor))

    def cancel(self, keys: Iterable[TaskKey]) -> None:
        for key in keys:
            actor = self._running.pop(key, None)
            if actor is not None:
                actor.drop()
                self._begun.discard(key)

    @property
    def running(self) -> Collection[TaskKey]:
        return self._running.keys()

    def drop(self) -> None:
        """The process crashes."""
        for actor in self._running.values():
            actor.drop()
        self._running.clear()
        self._begun.clear()

    def has(self, key: TaskKey) -> bool:
        """Whether the body may still do something to the world, perhaps after a long pause."""
        return key in self._running

    # --- one activity, as the runner does it

    async def _run(self, activity: ScheduledActivity, recovered: bool) -> None:
        fact: Fact | None
        try:
            fact = await (self._turn(activity) if activity.task_id < 0 else self._outcome(activity, recovered))
        except LeaseLostError:
            fact = None
        self._running.pop(activity.key, None)
        self._begun.discard(activity.key)
        if fact is not None:
            self._world.ledger.gave(activity, fact)
            await self._hand_in(Message(activity.instance_id, fact, activity.generation, birth=activity.birth))

    async def _turn(self, activity: ScheduledActivity) -> Fact | None:
        """Let the code run elsewhere, which takes its time."""
        world = self._world
        await self._sleep(world.rng.randint(0, SECOND // 2))
        await self._brink()
        instance = await world.store.instance(activity.instance_id)
        history = await world.store.history(activity.instance_id)
        if instance is None or (instance.birth, instance.generation) != (activity.birth, activity.generation):
            return None
        answer = world.host.run(instance, history, activity.task_id)
        world.report.counts["turns"] += 1
        await self._sleep(world.rng.randint(0, SECOND // 2))
        return answer

    async def _outcome(self, activity: ScheduledActivity, recovered: bool) -> TaskCompleted | TaskFailed:
        once = activity.name in _ONCE
        if once and not activity.started:
            await self._mark_started(activity)
        self._begun.add(activity.key)
        if once and recovered and activity.started:
            return await self._reconcile(activity)
        return await self._body(activity)

    async def _mark_started(self, activity: ScheduledActivity) -> None:
        assert self._claim is not None, "connect() comes first"
        while True:
            answers: list[BideError | None] = []
            self._claim(activity, answers.append)
            self._process.wake()
            await self._brink()
            await Until(lambda answers=answers: bool(answers))  # type: ignore[misc]
            if answers[0] is None:
                return
            if not isinstance(answers[0], CommitUnknownError):
                raise answers[0]

    async def _body(self, activity: ScheduledActivity) -> TaskCompleted | TaskFailed:
        try:
            return TaskCompleted(activity.task_id, encode(await self._do(activity)))
        except CarrierTimeout:
            return await self._reconcile(activity)
        except ValueError as error:
            return TaskFailed(activity.task_id, Failure("ValueError", str(error)))

    async def _reconcile(self, activity: ScheduledActivity) -> TaskCompleted | TaskFailed:
        match await self._find(activity):
            case Done(result):
                return TaskCompleted(activity.task_id, encode(result))
            case NotDone():
                return await self._body(activity)
            case Unknown():
                failure = Failure("bide.errors.OutcomeUnknownError", "nobody knows", kind="outcome_unknown")
                return TaskFailed(activity.task_id, failure)

    async def _hand_in(self, message: Message) -> None:
        """Post the result; now and then twice, and the second time late."""
        rng, hazards = self._world.rng, self._world.hazards
        self._hand_over(message)
        if self._world.hostile and rng.random() < hazards.twice:
            self._world.report.counts["duplicate results"] += 1
            if rng.random() < 0.5:
                await self._sleep(rng.randint(0, 30 * SECOND))
            self._hand_over(message)

    def _hand_over(self, message: Message) -> None:
        assert self._post is not None, "connect() comes first"
        self._post(message)
        self._process.wake()

    # --- the bodies

    async def _do(self, activity: ScheduledActivity) -> object:
        rng, hazards = self._world.rng, self._world.hazards
        if activity.name == "deadly":
            self._world.kill_soon(self._process)
            await self._sleep(3600 * SECOND)
        if activity.name == "odd":
            raise ValueError("odd")
        fails = self._world.hostile and rng.random() < hazards.body_fails
        if self._world.hostile and rng.random() < hazards.late:
            await self._sleep(rng.randint(SECOND, 40 * SECOND))
        else:
            await self._sleep(rng.randint(0, SECOND))
        if fails and activity.name != "double":
            if activity.name == "send_sms":
                if rng.random() < 0.5:
                    raise CarrierTimeout
                await self._effect(activity)
                raise CarrierTimeout
            if activity.name == "flaky":
                raise ValueError("flaky")
        await self._effect(activity)
        await self._sleep(rng.randint(0, SECOND))
        return self._result(activity)

    async def _effect(self, activity: ScheduledActivity) -> None:
        await self._brink()
        self._world.log(self._process.name, f"effect of {activity.name} {activity.key}")
        self._world.ledger.effect(activity, activity.name in _ONCE)
        await self._brink()

    async def _brink(self) -> None:
        """A moment at which a crash, or a long pause, hurts most."""
        world = self._world
        if world.hostile and world.rng.random() < world.hazards.brink:
            world.doom(self._process)
            await self._sleep(0)

    def _result(self, activity: ScheduledActivity) -> object:
        if activity.name == "send_sms":
            return code_for(activity)
        number = int(bytes(activity.input_json))
        return {"charge": number, "flaky": number + 1, "double": 2 * number}[activity.name]

    async def _find(self, activity: ScheduledActivity) -> Outcome:
        """`reconcile`: looks at what the carrier has, and tells the truth, or that it cannot tell."""
        world, key = self._world, activity.key
        await self._sleep(world.rng.randint(0, SECOND))
        if activity.name != "send_sms" or world.rng.random() < 0.1:
            return Unknown()
        if world.ledger.effects.get(key):
            return Done(code_for(activity))
        others = [process for process in world.processes if process is not self._process]
        if any(process.activities.has(key) for process in others):
            excused = world.ledger.excused
            excused[key] = excused.get(key, 0) + 1  # a paused body will do it later: nobody could know
        return NotDone()

    async def _sleep(self, span: int) -> None:
        await Until(at=self._world.now + span)
