"""The people and programs outside: they start instances, answer, repeat themselves, and meddle.

A client believes only what it was told. If it was told nothing (a crash, an error, no answer in time), the outcome
is unknown: it starts the same instance again (G2), and sends another event in place of the one it lost track of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from bide.errors import (
    BideError,
    CommitUnknownError,
    InstanceExistsError,
    InstanceFinishedError,
    RequestError,
    TryAgainError,
)
from bide.model.batch import Message, RequestKey
from bide.model.clock import SECOND, Timestamp
from bide.model.history import (
    EventRaised,
    ExecutionPurged,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
)
from bide.model.instance import Instance, RuntimeStatus, Wait
from bide.model.payload import encode
from simulation.actors import Actor, Until
from simulation.ledger import FOR_ONE, Sent
from simulation.rogues import HOPELESS, KINDS
from simulation.workload import UNFIT
from simulation.world import Process, World

PATIENCE: Timestamp = 12 * SECOND
FOREVER: Timestamp = 2**62

Answer: TypeAlias = BideError | None


class Call:
    """One message on its way, and what became of it."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.answered = False
        self.answer: Answer = None

    def over(self) -> bool:
        return self.answered or not self.process.alive


class User:
    """What every story can do."""

    def __init__(self, world: World, instance_id: str, name: str, value: object) -> None:
        self.world = world
        self.instance_id = instance_id
        self.name = name
        self.value = value
        self.birth = ""
        """Of the instance that was there when the last start was acknowledged."""
        self.lives = 1
        """How many instances it begins, one after the other, all of the same id."""
        self.acknowledged = False
        self._process: Process | None = None
        self._tags = 0
        self._births = 0
        self._replacements: list[set[str]] = []

    # --- what a story is made of

    async def live(self) -> None:
        """Start the instance, do what this kind of instance needs, and see it end; perhaps again under its id."""
        await self.sleep(self.world.rng.randint(0, 10 * SECOND))
        await self.start()
        await self.talk()
        for life in range(1, self.lives):
            if self.world.rng.random() < 0.5:
                await self.until_ended()
                if life == 1 and self.world.rng.random() < 0.5:
                    await self.purge()
            await self.replace(f"life {life}")
            await self.talk()
        await self.until_ended()

    async def until_ended(self) -> None:
        while not (instance := await self.look()) or not instance.status.finished:
            await self.sleep(7 * SECOND)
            if not self.world.hostile and instance is not None:
                if instance.status is RuntimeStatus.SUSPENDED:
                    await self.send(ExecutionResumed())
                await self.push()

    async def talk(self) -> None:
        """What the story says of its own accord."""

    async def push(self) -> None:
        """What still has to be said, when the faults are over, for the instance to end."""

    # --- messages

    async def start(self) -> None:
        fact = self._new()
        while True:
            answer = await self.send(fact)
            if answer is None:
                break
            if isinstance(answer, RequestError):
                self.world.report.broken("G2", f"a repeated start of {self.instance_id} was refused: {answer}")
                break
        self.acknowledged = True
        self.world.ledger.acked_start(self.instance_id, self.name)
        await self._learn_birth()
        while self.world.rng.random() < 0.2:
            await self._start_again(fact)

    def _new(self) -> ExecutionStarted:
        """A start; each has a birth of its own, as the product's client makes it."""
        self._births += 1
        return ExecutionStarted(self.name, encode(self.value), birth=f"b{self._births}")

    async def _learn_birth(self) -> None:
        while (instance := await self.look()) is None:  # it is on its way to another worker
            await self.sleep(SECOND)
        self.birth = instance.birth

    async def purge(self) -> None:
        """Delete what has ended, and nothing that has its id later."""
        while not await self._gone():
            message = Message(self.instance_id, ExecutionPurged(), birth=self.birth)
            await self._hear(self._submit(await self._worker(), message))

    async def _gone(self) -> bool:
        instance = await self.look()
        return instance is None or instance.birth != self.birth

    async def replace(self, key: str) -> None:
        """Start anew, whatever is there; once, however often it is sent."""
        request, births = RequestKey(key, key.encode(), FOREVER, outlives=True), set[str]()
        while True:
            fact = self._new()
            births.add(fact.birth)
            message = Message(self.instance_id, fact, reuse="replace", request=request)
            if await self._hear(self._submit(await self._worker(), message)) is None:
                break
        self.world.report.counts["replacements"] += 1
        self._replacements.append(births)
        await self._learn_birth()

    async def _start_again(self, fact: ExecutionStarted) -> None:
        """The same start once more changes nothing; another one under the same id is refused."""
        self.world.report.counts["repeated starts"] += 1
        answer = await self.send(fact)
        same = not isinstance(answer, RequestError)
        self.world.report.check("G2", same, f"a repeated start of {self.instance_id} was refused: {answer}")
        if self.instance_id not in self.world.ledger.pasts:
            return  # it is on its way to another worker: whoever comes first takes the id
        answer = await self.send(ExecutionStarted("fan", encode(-1)))
        other = answer is None or isinstance(answer, InstanceExistsError | TryAgainError)
        self.world.report.check("G2", other, f"another start of {self.instance_id}: {answer}")

    async def tell(self, name: str, payload: str = "") -> Answer:
        """Raise an event with a payload of its own."""
        return (await self.tell_all([name], payload))[0]

    async def tell_all(self, names: Sequence[str], payload: str = "") -> list[Answer]:
        """Raise events one after the other, without waiting for the answers in between."""
        process = await self._worker()
        under_way = [self._submit_event(process, name, payload) for name in names]
        answers: list[Answer] = []
        for call in under_way:
            answers.append(await self._hear(call))
        return answers

    def _submit_event(self, process: Process, name: str, payload: str) -> Call:
        self._tags += 1
        world = self.world
        tag = f"{payload}#{self.instance_id}:{self._tags}"
        sent = Sent(world.next_order(), self.instance_id, self.instance_id, name, tag, process.name)
        world.ledger.sent[tag] = sent

        def settle(answer: Answer) -> None:
            if isinstance(answer, TryAgainError):
                return
            sent.answered, sent.error = world.next_order(), answer
            if answer is None:
                world.ledger.acked_event(sent)

        world.log("client", f"{self.instance_id} <- {name} {tag}")
        return self._submit(process, Message(self.instance_id, EventRaised(name, encode(tag))), settle)

    async def send(
        self, fact: ExecutionStarted | ExecutionSuspended | ExecutionResumed | ExecutionTerminated
    ) -> Answer:
        process = await self._worker()
        self.world.log("client", f"{self.instance_id} <- {type(fact).__name__}")
        return await self._hear(self._submit(process, Message(self.instance_id, fact)))

    def _submit(self, process: Process, message: Message, also: object = None) -> Call:
        call = Call(process)
        self.world.report.counts["messages"] += 1

        def reply(answer: Answer) -> None:
            if call.answered:
                return
            call.answered, call.answer = True, answer
            if callable(also):
                also(answer)

        try:
            process.submit(message, reply)
        except TryAgainError as error:
            reply(error)
        return call

    async def _hear(self, call: Call) -> Answer:
        await Until(call.over, at=self.world.now + PATIENCE)
        return call.answer if call.answered else CommitUnknownError()

    async def _worker(self) -> Process:
        """Mostly the same worker as before, while it lives."""
        world = self.world
        while not world.processes:
            await Until(lambda: bool(world.processes))
        if self._process not in world.processes or world.rng.random() < 0.1:
            self._process = world.rng.choice(world.processes)
        assert self._process is not None
        return self._process

    # --- looking

    @property
    def replaced_twice(self) -> bool:
        """Whether one request to replace the instance did so twice."""
        began = {past.birth for past in self.world.ledger.lives.get(self.instance_id, ())}
        return any(len(births & began) > 1 for births in self._replacements)

    async def look(self) -> Instance | None:
        return await self.world.store.instance(self.instance_id)

    async def sleep(self, span: Timestamp) -> None:
        await Until(at=self.world.now + span)


class Quiet(User):
    """An instance that needs nobody."""


class Verification(User):
    """A person with a phone: reads the SMS, and types the code; or another one; or too early, too late, twice."""

    async def talk(self) -> None:
        rng = self.world.rng
        for _ in range(rng.randint(0, 5)):
            await self.sleep(rng.choice((0, SECOND, 20 * SECOND, 45 * SECOND)))
            right = rng.random() < 0.4
            code = code_for_instance(self.instance_id, self.birth) if right else "wrong"
            answers = await self.tell_all([rng.choice(("Answer", "ANSWER"))] * rng.choice((1, 1, 2)), code)
            if any(isinstance(answer, InstanceFinishedError) for answer in answers):
                return


class Collection(User):
    """Sends events of two names, some early, some in a burst."""

    names: tuple[str, ...] = ("red", "BLUE")

    async def talk(self) -> None:
        rng = self.world.rng
        for _ in range(rng.randint(2, 8)):
            burst = [rng.choice(self.names) for _ in range(rng.choice((1, 1, 2, 4)))]
            await self.tell_all(burst)
            await self.sleep(rng.choice((0, 0, SECOND, 10 * SECOND)))

    async def push(self) -> None:
        for name in self.names:
            await self.tell(name)


class Looping(Collection):
    names = ("item", "Item")


class Voter(User):
    """Answers single waits, as people with links do: some at once, some when they are over, some twice."""

    async def talk(self) -> None:
        rng = self.world.rng
        for _ in range(rng.randint(2, 8)):
            await self.sleep(rng.choice((0, SECOND, 5 * SECOND)))
            instance, waits = await self.look(), await self.world.store.waits(self.instance_id)
            if instance is None or not waits:
                continue
            wait = rng.choice(waits)
            await self.sleep(rng.choice((0, 0, SECOND, 10 * SECOND)))
            for _ in range(rng.choice((1, 1, 2))):
                await self._answer(instance, wait)
            if rng.random() < 0.3:
                await self.tell("vote")

    async def _answer(self, instance: Instance, wait: Wait) -> None:
        self._tags += 1
        payload = f"{FOR_ONE}{instance.birth}/{instance.generation}/{wait.id}#{self.instance_id}:{self._tags}"
        fact = EventRaised("vote", encode(payload), wait.id)
        message = Message(self.instance_id, fact, instance.generation, birth=instance.birth)
        self.world.log("client", f"{self.instance_id} <- {payload}")
        await self._hear(self._submit(await self._worker(), message))


class Patient(Collection):
    names = ("early", "LATE", "late")

    async def push(self) -> None:
        pass


class Family(User):
    """A parent whose first child hears from somebody."""

    async def talk(self) -> None:
        if self.world.rng.random() < 0.7:
            await self.sleep(self.world.rng.randint(0, 10 * SECOND))
            process = await self._worker()
            self._tags += 1
            go = EventRaised("go", encode(f"go#{self.instance_id}:{self._tags}"))
            await self._hear(self._submit(process, Message(f"{self.instance_id}.0", go)))


class Player(User):
    """One of two that play ball; serves again what was lost before the other began."""

    async def push(self) -> None:
        if self.world.rng.random() < 0.3:
            await self.tell("Ball")


class Rogue(User):
    """One whose code misbehaves. If it can never go on, it is held, and then terminated."""

    def __init__(self, world: World, instance_id: str, kind: str) -> None:
        super().__init__(world, instance_id, "rogue", kind)
        if kind in HOPELESS:
            world.hopeless.add(instance_id)

    async def talk(self) -> None:
        await self.tell("Go")

    async def until_ended(self) -> None:
        while not (instance := await self.look()) or not instance.status.finished:
            await self.sleep(7 * SECOND)
            if instance is None:
                continue
            if instance.held is not None and self.instance_id in self.world.hopeless:
                await self.send(ExecutionTerminated("it can never go on"))
            if not self.world.hostile:
                await self.send(ExecutionResumed()) if instance.status is RuntimeStatus.SUSPENDED else None
                await self.tell("Go")


class Meddler(User):
    """Suspends, resumes and terminates the instances of others."""

    async def live(self) -> None:
        rng = self.world.rng
        while self.world.hostile:
            await self.sleep(rng.randint(0, 20 * SECOND))
            if rng.random() < 0.05:
                await self.send(ExecutionTerminated("meddled", recurse=rng.random() < 0.5))
            else:
                await self.send(ExecutionSuspended())
                await self.sleep(rng.randint(0, 20 * SECOND))
                await self.send(ExecutionResumed())


class Operator(User):
    """Resumes what is held because it was under way whenever a process ended: here, that was not its fault."""

    def __init__(self, world: World) -> None:
        super().__init__(world, "", "", None)

    async def live(self) -> None:
        held = self.world.ledger.held
        while held or len(self.world.clients) > 1:
            for instance_id in sorted(held - self.world.hopeless):
                self.instance_id = instance_id
                await self.send(ExecutionResumed())
            await self.sleep(7 * SECOND)


def code_for_instance(instance_id: str, birth: str) -> str:
    """The code of the first activity of an instance."""
    return f"code-{instance_id}/{birth}/0/1"


def populate(world: World) -> list[User]:
    """A few stories, drawn from the seed."""
    rng = world.rng
    clients: list[User] = []
    for number in range(rng.randint(2, 5)):
        clients += _story(world, rng.choice(tuple(_KINDS)), number)
    for client in clients:
        if client.name != "play" and not (world.hazards.deploy and client.name in UNFIT):
            client.lives = rng.choice((1, 1, 2, 3))
    for number in range(world.hazards.rogues):
        clients.append(Rogue(world, f"rogue-{world.report.seed}-{number}", rng.choice(KINDS)))
    if world.hazards.meddle:
        targets = [client for client in clients if not isinstance(client, Player | Rogue)]
        if targets:
            clients.append(Meddler(world, rng.choice(targets).instance_id, "", None))
    world.clients = [Actor(f"client of {client.instance_id}", client.live()) for client in clients]
    return [client for client in clients if not isinstance(client, Meddler)]


_KINDS: dict[str, type[User]] = {
    "verify": Verification,
    "collect": Collection,
    "loop": Looping,
    "patient": Patient,
    "vote": Voter,
    "chain": Quiet,
    "pay": Quiet,
    "fan": Quiet,
    "parent": Family,
    "play": Player,
}


def _story(world: World, kind: str, number: int) -> list[User]:
    rng, instance_id = world.rng, f"{kind}-{world.report.seed}-{number}"
    if kind == "play":
        rounds, peer = rng.randint(1, 4), f"{instance_id}-b"
        return [
            Player(world, instance_id, kind, {"peer": peer, "rounds": rounds, "serves": True}),
            Player(world, peer, kind, {"peer": instance_id, "rounds": rounds, "serves": False}),
        ]
    value: object = rng.randint(1, 4)
    if kind == "verify":
        value = "+491701234567"
    elif kind == "loop":
        value = {"wanted": rng.randint(2, 7), "got": []}
    elif kind == "vote":
        value = {"rounds": rng.randint(1, 6), "got": []}
    return [_KINDS[kind](world, instance_id, kind, value)]
