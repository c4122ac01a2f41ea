"""The simulated world: workers that crash and pause, a clock, and one scheduler that draws from a seed.

The workers, the partition and the store are the product's own, unchanged. The world implements their ports: a
clock that it moves, a store that fails (`faults`), and activities that it runs itself. A worker's turn is a
coroutine that awaits nothing but the store; sending it on, or dropping it, is all it takes to run or to crash it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from msgspec.structs import replace

from bide.core.executors import Executors
from bide.core.replay import Executions
from bide.engine.options import WorkerOptions
from bide.engine.worker import Worker
from bide.errors import BideError
from bide.model.batch import Batch, Message, Snapshot
from bide.model.clock import SECOND, Clock, Timestamp
from bide.model.history import Step, Unreadable
from bide.model.instance import Instance
from bide.model.links import SignedLinks
from bide.model.metrics import Metrics
from bide.model.presence import BEAT, Presence
from bide.store.protocol import Store
from bide.testing.clock import ManualClock
from bide.testing.faults import InjectedError, Moment
from simulation.activities import SimulatedActivities
from simulation.actors import Actor
from simulation.clocks import ProcessClock, WallClock
from simulation.ledger import SEALER, Ledger, WatchedStore
from simulation.remote import Host, RemoteExecutors
from simulation.report import Report
from simulation.rogues import REFUSED, UNREAD
from simulation.workload import UNFIT, registry

_LINKS = SignedLinks(bytes(32), "http://127.0.0.1:7071")

HEALING_LIMIT: Timestamp = 1800 * SECOND
STEPS_LIMIT = 40_000


@dataclass(frozen=True, slots=True)
class Hazards:
    """What goes wrong in one run: each seed switches on a part of it. Numbers are odds per step."""

    workers: int
    crash: float
    pause: float
    error_before: float
    error_after: float
    store_pause: float
    twice: float
    late: float
    clock_wrong: float
    clock_set: float
    body_fails: float
    brink: float
    """Odds that a process crashes or is paused at the worst moment: around an effect, and while claiming it."""
    too_much: float
    """Odds that the database does not take a commit of several steps."""
    meddle: bool
    deploy: bool
    rogues: int
    """How many instances misbehave."""
    steps: int
    options: WorkerOptions

    @classmethod
    def draw(cls, rng: Random) -> Hazards:
        def some(odds: float) -> float:
            return odds if rng.random() < 0.6 else 0.0

        lease = rng.choice((4, 8, 15)) * SECOND
        return cls(
            workers=rng.choice((1, 2, 2, 3)),
            crash=some(rng.choice((0.003, 0.01, 0.02))),
            pause=some(rng.choice((0.003, 0.01))),
            error_before=some(rng.choice((0.01, 0.05))),
            error_after=some(rng.choice((0.01, 0.05))),
            store_pause=rng.choice((0.05, 0.3, 0.8)),
            twice=some(0.2),
            late=some(0.1),
            clock_wrong=some(0.01),
            clock_set=some(0.005),
            body_fails=some(0.3),
            brink=some(0.25),
            too_much=some(0.5),
            meddle=rng.random() < 0.6,
            deploy=rng.random() < 0.25,
            rogues=rng.choice((0, 0, 1, 2, 3)),
            steps=rng.choice((200, 400, 700)),
            options=WorkerOptions(
                max_live=rng.choice((1, 2, 3, 10_000)),
                max_step=rng.choice((1, 2, 5, 1_000)),
                lease=lease,
                poll=rng.choice((1, 3)) * SECOND,
                retry=SECOND,
            ),
        )


@dataclass(frozen=True, slots=True)
class Plant:
    """How a test puts a bug into the product from outside: other workers, another store, another clock."""

    worker: type[Worker] = Worker
    store: Callable[[Store], Store] = lambda store: store
    clock: Callable[[Clock], Clock] = lambda clock: clock


class Process:
    """One worker process, until it crashes. All it knows is lost then."""

    def __init__(self, world: World, name: str, version: int) -> None:
        self.world = world
        self.name = name
        self.version = version
        self.alive = True
        self.paused_until: Timestamp = 0
        self.time = ProcessClock(world.wall)
        self.latest: Timestamp = 0
        """The latest that it may have been when the present turn began."""
        self.born_at = self.time.clock.now()
        self._seen_at: Timestamp = 0
        self.activities = SimulatedActivities(world, self)
        self._turn: Coroutine[Any, Any, bool] | None = None
        self._awake = True
        unfit = UNFIT if version == 2 else frozenset[str]()
        store = WatchedStore(
            world.store,
            _ProcessFaults(world, name),
            world.ledger,
            unfit,
            self,
            lambda: max(self.latest, self.time.latest),
        )
        options, clock = world.hazards.options, world.plant.clock(self.time.clock)
        self.worker = world.plant.worker(
            store,
            world.executors(version),
            clock,
            self.activities,
            name,
            SEALER,
            Metrics(clock.now()),
            options,
            f"v{version}",
        )

    def _latest(self) -> Timestamp:
        """The latest that it may have been since the present turn began."""
        return max(self.latest, self.time.latest)

    def dies_of(self, batch: Batch) -> bool:
        """Whether the code of a step in this batch ends the process."""
        fatal = _steps(batch, "ends the process")
        if fatal:
            self.world.kill_soon(self)
        return fatal

    def refuses(self, batch: Batch) -> bool:
        """Whether there is something in this batch that the database does not take."""
        world = self.world
        refused = _steps(batch, REFUSED)
        if world.hostile and len(batch.history) > 1 and world.hazards.too_much:
            refused |= world.rng.random() < world.hazards.too_much
        self.world.report.counts["refused commits"] += refused
        return refused

    def spoils(self, found: dict[str, Snapshot]) -> dict[str, Snapshot]:
        """What is loaded, some of which cannot be read."""
        spoilt = {key: each for key, each in found.items() if _is_rogue(each.instance, UNREAD) and each.history}
        self.world.report.counts["unreadable rows"] += len(spoilt)
        return found | {key: replace(each, history=_unread(each.history)) for key, each in spoilt.items()}

    def ready(self) -> bool:
        if self.paused_until > self.world.now:
            return False
        return self._turn is not None or self._awake or self.time.clock.now() >= self.worker.next_at()

    @property
    def wakes_at(self) -> Timestamp:
        """When it will have something to do, in the world's time."""
        return max(self.paused_until, self.worker.next_at() - self.time.clock.now() + self.world.now)

    def step(self) -> None:
        """Run until the next await that suspends, or to the end of the turn."""
        if self._turn is None:
            self._awake = False
            self._turn = self._live_on()
        try:
            self._turn.send(None)
        except StopIteration as end:
            self._turn = None
            self._awake = self._awake or bool(end.value)

    async def _live_on(self) -> bool:
        """A turn of the worker, and now and then a sign of life, as its heartbeat gives it."""
        now, self.latest = self.time.clock.now(), self.time.latest
        if abs(now - self._seen_at) >= BEAT:
            self._seen_at = now
            names = tuple(registry(self.version).orchestrators)
            presence = Presence(self.name, "host", 1, str(self.version), names, (), self.born_at, now)
            await self.world.store.announce(presence)
        return await self.worker.turn()

    def crash(self) -> None:
        self.alive = False
        if self._turn is not None:
            self._turn.close()
        self.activities.drop()
        self.worker.dispatcher.forget()

    def submit(self, message: Message, reply: Callable[[BideError | None], None]) -> None:
        self.worker.submit(message, reply)
        self.wake()

    def wake(self) -> None:
        self._awake = True


def _is_rogue(instance: Instance, kind: str) -> bool:
    return instance.name == "rogue" and instance.input == kind


def _steps(batch: Batch, kind: str) -> bool:
    """Whether a rogue of that kind takes the step after its timer."""
    rows = [row for row in batch.history if b"TimerFired" in row.facts_json]
    return any(_is_rogue(batch.instances[row.instance_id], kind) for row in rows)


def _unread(history: Sequence[Step]) -> list[Step]:
    first, *others = history
    return [replace(first, facts=(Unreadable("A newer version wrote this."),)), *others]


class _ProcessFaults:
    """Implements `Faults` for one process, from the world's dice."""

    def __init__(self, world: World, process: str) -> None:
        self._world = world
        self._process = process

    def pause(self, verb: str, moment: Moment) -> bool:
        world = self._world
        return world.hostile and world.rng.random() < world.hazards.store_pause

    def error(self, verb: str, moment: Moment) -> Exception | None:
        world = self._world
        if moment == "before":
            world.log(self._process, verb)
        hazards = world.hazards
        odds = hazards.error_before if moment == "before" else hazards.error_after
        if not world.hostile or not odds or world.rng.random() >= odds:
            return None
        world.report.counts[f"errors {moment} the effect"] += 1
        world.log(self._process, f"{verb}: error {moment} the effect")
        return InjectedError(f"{verb}: injected {moment} the effect")


class World:
    """Everything there is, and the scheduler."""

    def __init__(self, report: Report, store: Store, plant: Plant) -> None:
        self.report = report
        self.plant = plant
        self.store = plant.store(store)
        self.rng = Random(report.seed)  # noqa: S311 - must be repeatable
        self.hazards = Hazards.draw(self.rng)
        self.ledger = Ledger(report)
        self.clock_start = self.now = ManualClock().now()
        self.wall = WallClock(lambda: self.now)
        self.remote = not self.hazards.deploy and Random(f"remote {report.seed}").random() < 0.3  # noqa: S311
        """Whether the code of orchestrators runs elsewhere."""
        partial = Random(f"partial {report.seed}")  # noqa: S311
        self._partial = partial if not self.hazards.deploy and partial.random() < 0.4 else None
        self.host = Host(self.executions(1), SEALER)
        self.steps = 0
        self.order = 0
        self.hostile = True
        self.version = 1
        self.processes: list[Process] = []
        self.clients: list[Actor] = []
        self.running: list[tuple[Process, Actor]] = []
        self._doomed: list[Process] = []
        self._dying: list[Process] = []
        self.hopeless: set[str] = set()
        """Instances that can never go on."""
        self._restarts: list[Timestamp] = [self.now] * self.hazards.workers
        self._born = 0

    # --- code

    def executions(self, version: int) -> Executions:
        """The orchestrators of one version of the code."""
        return Executions(registry(version), _LINKS, SEALER)

    def executors(self, version: int) -> Executors:
        """What a process has of them."""
        native = self.executions(version)
        return RemoteExecutors(native, SEALER) if self.remote else native

    # --- time and order

    def log(self, who: str, what: str) -> None:
        self.report.trace.append(f"{self.steps:5} {self.now / SECOND % 100_000:10.3f} {who:6} {what}")

    def next_order(self) -> int:
        self.order += 1
        return self.order

    def advance(self, span: Timestamp) -> None:
        self.now += span
        self.ledger.highest = self.now + self.wall.highest

    def set_clock(self) -> None:
        """Let the wall clock be set, ahead or back. It stays so."""
        self.wall.be_set(self.rng)
        self.ledger.highest = self.now + self.wall.highest
        for process in self.processes:
            process.time.was_set(process.paused_until)
        self.log("world", f"the clock was set to {self.wall.off}")
        self.report.counts["clock steps"] += 1

    def _look_at_clocks(self) -> None:
        """As each process does every second."""
        for process in self.processes:
            if process.paused_until <= self.now:
                process.time.clock.now()

    # --- the scheduler

    def run(self, until: Callable[[], bool], limit: Timestamp) -> bool:
        """Go on until something holds. Returns False if the time or the number of steps ran out."""
        while not until():
            if self.now > limit or self.steps > STEPS_LIMIT:
                return False
            self.step()
        return True

    def step(self) -> None:
        """One step of somebody, or a while of nothing."""
        self.steps += 1
        dying, self._dying = self._dying, []
        for process in dying:
            if process.alive:
                self.crash(process)
        if self.hostile:
            self._strike()
        self._restart()
        self._look_at_clocks()
        ready = self._ready()
        if not ready:
            self._sleep()
        elif self.rng.random() < 0.02:
            self.advance(self.rng.randint(1, SECOND))
        else:
            ready[int(self.rng.random() * len(ready))].step()
            self.clients = [client for client in self.clients if not client.done]
            self.running = [(process, actor) for process, actor in self.running if not actor.done]

    def _ready(self) -> list[Process | Actor]:
        now = self.now
        ready: list[Process | Actor] = [process for process in self.processes if process.ready()]
        ready += [client for client in self.clients if client.ready(now)]
        ready += [actor for process, actor in self.running if process.paused_until <= now and actor.ready(now)]
        return ready

    def _sleep(self) -> None:
        """Nobody has anything to do: on to the next time at which somebody has."""
        times: list[Timestamp] = [process.wakes_at for process in self.processes]
        times += [at for client in self.clients if (at := client.wakes_at) is not None]
        times += [
            max(at, process.paused_until)
            for process, actor in self.running
            if (at := actor.wakes_at if actor.wakes_at is not None else process.paused_until)
        ]
        times += self._restarts
        later = [at for at in times if at > self.now]
        if not all(process.time.at_rest for process in self.processes):
            later.append(self.now + SECOND)
        self.advance(min(later, default=self.now + SECOND) - self.now)

    # --- what goes wrong

    def _strike(self) -> None:
        hazards, rng = self.hazards, self.rng
        doomed, self._doomed = self._doomed, []
        for process in doomed:
            if process.alive:
                self.crash(process) if rng.random() < 0.5 else self.pause(process)
        if self.processes:
            if rng.random() < hazards.crash:
                self.crash(rng.choice(self.processes))
            elif rng.random() < hazards.pause:
                self.pause(rng.choice(self.processes))
        if self.processes and rng.random() < hazards.clock_wrong:
            self.report.counts["wrong readings"] += rng.choice(self.processes).time.be_wrong(rng)
        if rng.random() < hazards.clock_set:
            self.set_clock()

    def kill_soon(self, process: Process) -> None:
        """The code that it runs ends it."""
        self._dying.append(process)

    def doom(self, process: Process) -> None:
        """Let the next step be the last of this process, at least for a while."""
        self._doomed.append(process)

    def pause(self, process: Process) -> None:
        """The process stands still, perhaps for longer than its lease, and knows nothing of it when it wakes."""
        process.paused_until = self.now + self.rng.randint(SECOND, self.hazards.options.lease * 4)
        process.time.is_paused(process.paused_until)
        self.log(process.name, "paused")
        self.report.counts["pauses"] += 1

    def crash(self, process: Process) -> None:
        """The process is gone, with everything it knew. Another starts in a while."""
        self.log(process.name, "crashes")
        self.report.counts["crashes"] += self.hostile
        process.crash()
        self.processes.remove(process)
        self.running = [(owner, actor) for owner, actor in self.running if owner is not process]
        delay = self.rng.choice((0, SECOND, 20 * SECOND)) if self.hostile else 0
        self._restarts.append(self.now + delay)

    def crash_all(self) -> None:
        for process in list(self.processes):
            self.crash(process)

    def end(self) -> None:
        """Drop everything, so that nothing of this world is left."""
        for process in self.processes:
            process.crash()
        for client in self.clients:
            client.drop()

    def deploy(self, version: int) -> None:
        """Every worker ends, and starts again with this version of the code."""
        self.log("world", f"version {version} is deployed")
        self.report.counts["deployments"] += 1
        self.version = version
        self.crash_all()

    def _version(self) -> int:
        """Some workers lack orchestrators that others have; but one at least has all."""
        whole = any(process.version == self.version for process in self.processes)
        return 3 if whole and self._partial is not None and self._partial.random() < 0.6 else self.version

    def _restart(self) -> None:
        due = [at for at in self._restarts if at <= self.now]
        for at in due:
            self._restarts.remove(at)
            self._born += 1
            process = Process(self, f"w{self._born}", self._version())
            self.processes.append(process)
            self.log(process.name, "starts")

    def heal(self) -> None:
        """No more faults from here on; everybody who was away comes back."""
        self.log("world", "heals")
        self.hostile = False
        for process in self.processes:
            process.paused_until = min(process.paused_until, self.now)
            process.time.be_right()
        if self.version != 1:
            self.deploy(1)
