"""Several workers over PostgreSQL, and everything that can go wrong with them: is anything lost, doubled, early?

    python bench/chaos.py [--minutes 10] [--workers 4] [--rate 30] [--seed N] [--faketime LIBRARY]

Workers (`bide serve`) run in network namespaces of their own (bench/hosts.py; needs Linux and root), the
database here, with a synchronous standby. Callers start phone verifications, answer right, wrong and right, or not
at all, each time at another worker, and repeat what failed as they should: a start with its id, an answer with its
key. Every few seconds something goes wrong:

* kill: `kill -9`, and a new start seconds later
* stop: SIGSTOP for longer than the lease, then SIGCONT
* cut: the cable is out; one-way: nothing gets from the worker to the database
* restart: the database restarts at once (`immediate`); failover (once): it dies, and the standby takes over

With --faketime (the path of libfaketimeMT.so.1) the first worker's clock is a minute ahead all the time.

Judged in the end: the log of what was sent (an fsync for each), and what the database has. The last line is one
JSON object; the exit code is 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import msgspec

sys.path.insert(0, str(Path(__file__).parent.parent))
from cluster import HOST_BASED
from hosts import Host, Hosts

from bide import Settings
from bide.access.keys import Role, key_ring
from bide.access.sealing_keys import hub_key
from bide.model.clock import SECOND, SystemClock
from bide.model.history import EventRaised, Fact
from bide.model.sealing import SealingKeys, event_place
from tests.postgres.server import PostgresServer

APP = """
import os
from datetime import timedelta
from pathlib import Path

from bide import App, Done, NotDone, OrchestrationContext, current_call, when_any

app = App()
LOG = Path(os.environ["CARRIER_LOG"])


def was_sent(call):
    for line in LOG.read_text().splitlines():
        instance_id, code = line.split()
        if instance_id == call.instance_id:
            return Done(code)
    return NotDone()


@app.activity(once=True, reconcile=was_sent)
def send(number: str) -> str:
    call = current_call()
    code = f"{int.from_bytes(call.derive('code')[:8]) % 10_000:04d}"
    handle = os.open(LOG, os.O_WRONLY | os.O_APPEND)
    os.write(handle, f"{call.instance_id} {code}\\n".encode())
    os.fsync(handle)
    os.close(handle)
    return code


@app.orchestrator
async def verify(ctx: OrchestrationContext, seconds: int) -> bool:
    code = await ctx.call_activity(send, "+1425")
    deadline = ctx.create_timer(timedelta(seconds=seconds))
    for _ in range(4):
        answer = ctx.wait_for_external_event("Answer", str)
        if await when_any(answer, deadline) is deadline:
            return False
        if answer.result == code:
            deadline.cancel()
            return True
    return False
"""
PORT = 7071
LEASE_S = 15
INSTANCES = "/runtime/webhooks/durabletask/instances"


@dataclass
class Worker:
    """One host, and the process on it."""

    host: Host
    command: list[str]
    environ: dict[str, str]
    log: Path
    impaired: bool = False
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.host.command(*self.command), env={**os.environ, **self.environ}, stdout=log, stderr=log
            )

    @property
    def url(self) -> str:
        return f"http://{self.host.address}:{PORT}"


@dataclass
class Tale:
    """One verification, as its caller knows it."""

    id: str
    kind: str
    seconds: int
    started: bool = False
    answers: list[str] = field(default_factory=list)
    """Those that were acknowledged."""
    refused: list[int] = field(default_factory=list)
    ended: bool = False


class World:
    """The workers, the callers and what goes wrong."""

    def __init__(
        self, options: argparse.Namespace, workers: list[Worker], servers: list[PostgresServer], log: Path
    ):
        self.options, self.workers, self.servers, self.log = options, workers, servers, log
        self.random = random.Random(options.seed)
        self.tales: list[Tale] = []
        self.codes: dict[str, str] = {}
        self.faults: Counter[str] = Counter()
        self.retries = 0
        self.takeovers: list[float] = []
        self.pauses: list[float] = [0.0]
        self.http = httpx2.AsyncClient(timeout=12, headers={"x-functions-key": options.key}, trust_env=False)
        self.failed_over = False

    @property
    def primary(self) -> PostgresServer:
        return self.servers[1 if self.failed_over else 0]

    # --- callers

    async def call(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Any:
        """The first answer that is one, from any worker. What may be repeated is repeated."""
        while True:
            worker = self.random.choice(self.workers)
            try:
                answer = await self.http.request(method, worker.url + path, json=body, headers=headers)
                if answer.status_code < 500:
                    return answer
            except httpx2.TransportError:
                pass  # it is dead, cut off, or too slow: another one will do
            self.retries += 1
            await asyncio.sleep(0.2)

    async def live(self, tale: Tale) -> None:
        answer = await self.call("POST", f"/orchestrators/verify/{tale.id}", tale.seconds)
        assert answer.status_code == 202, (answer.status_code, answer.text)
        tale.started = True
        while tale.kind != "silent" and tale.id not in self.codes:  # noqa: ASYNC110 - a file tells
            await asyncio.sleep(0.1)
        code = self.codes.get(tale.id, "")
        wrong = f"{(int(code or 0) + 1) % 10_000:04d}"
        for number, said in enumerate({"right": [code], "wrong": [wrong, code], "silent": []}[tale.kind]):
            path, key = f"{INSTANCES}/{tale.id}/raiseEvent/Answer", f"{tale.id}-{number}"
            answer = await self.call("POST", path, said, {"Idempotency-Key": key})
            if answer.status_code == 202:
                tale.answers.append(said)
            else:
                tale.refused.append(answer.status_code)
        while not tale.ended:
            await asyncio.sleep(1)
            answer = await self.call("GET", f"{INSTANCES}/{tale.id}")
            tale.ended = answer.status_code == 200

    async def callers(self, end: float) -> None:
        async with asyncio.TaskGroup() as group:
            while time.monotonic() < end:
                kind = self.random.choice(("right", "right", "wrong", "silent"))
                tale = Tale(f"v-{len(self.tales):06}", kind, self.random.randint(5, 20))
                self.tales.append(tale)
                group.create_task(self.live(tale))
                await asyncio.sleep(self.random.expovariate(self.options.rate))

    async def read_log(self) -> None:
        """What has been sent; and how long nothing was."""
        read, last = 0, time.monotonic()
        while True:
            lines = self.log.read_text().splitlines()
            self.codes.update(line.split() for line in lines[read:])  # type: ignore[misc]
            if len(lines) > read:
                self.pauses.append(time.monotonic() - last)
                read, last = len(lines), time.monotonic()
            await asyncio.sleep(0.1)

    # --- what goes wrong

    async def trouble(self, end: float) -> None:
        kinds: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "kill": self.kill,
            "stop": self.stop,
            "cut": self.cut,
            "one-way": self.one_way,
            "restart": self.restart,
            "failover": self.failover,
        }
        half = time.monotonic() + (end - time.monotonic()) / 2
        async with asyncio.TaskGroup() as group:
            while time.monotonic() < end:
                await asyncio.sleep(self.random.uniform(3, 8))
                kind = self.random.choice([*kinds][:5])
                if not self.failed_over and time.monotonic() > half:
                    kind = "failover"
                self.faults[kind] += 1
                print(f"{time.strftime('%H:%M:%S')} {kind}", file=sys.stderr)
                group.create_task(kinds[kind]())

    def victim(self) -> Worker | None:
        """A worker that is well, if half of them are."""
        well = [worker for worker in self.workers if not worker.impaired]
        if len(well) <= len(self.workers) // 2:
            return None
        worker = self.random.choice(well)
        worker.impaired = True
        return worker

    async def kill(self) -> None:
        worker = self.victim()
        if worker is None:
            return
        assert worker.process is not None
        pid, killed, outages = worker.process.pid, time.monotonic(), self.outages
        worker.process.kill()
        worker.process.wait()
        await asyncio.sleep(self.random.uniform(1, 3))
        worker.start()
        while await self.owned_by(pid):  # noqa: ASYNC110 - the database tells
            await asyncio.sleep(0.25)
        if self.outages == outages:  # else it took as long as the database was away
            self.takeovers.append(time.monotonic() - killed)
        worker.impaired = False

    @property
    def outages(self) -> int:
        """How often the database has gone."""
        return self.faults["restart"] + self.faults["failover"]

    async def owned_by(self, pid: int) -> bool:
        """Whether partitions are still leased to that process. While the database is away, they are."""
        query = f"SELECT count(*) FROM bide.partitions WHERE owner LIKE '%:{pid}:%'"
        try:
            return await asyncio.to_thread(self.primary.query, query, "hub") != "0"
        except Exception:
            return True

    async def stop(self) -> None:
        worker = self.victim()
        if worker is not None:
            assert worker.process is not None
            worker.process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(self.random.uniform(LEASE_S + 1, LEASE_S + 7))
            worker.process.send_signal(signal.SIGCONT)
            worker.impaired = False

    async def cut(self) -> None:
        await self.for_a_while(["ip", "link", "set", "{cable}", "down"], ["ip", "link", "set", "{cable}", "up"])

    async def one_way(self) -> None:
        inside = ["ip", "-n", "{name}", "route"]
        hole = ["blackhole", "{gateway}/32"]
        await self.for_a_while([*inside, "add", *hole], [*inside, "del", *hole])

    async def for_a_while(self, begin: list[str], end: list[str]) -> None:
        worker = self.victim()
        if worker is None:
            return
        names = {"cable": worker.host.cable, "name": worker.host.name, "gateway": worker.host.gateway}
        await asyncio.to_thread(_run, [word.format(**names) for word in begin])
        await asyncio.sleep(self.random.uniform(5, 20))
        await asyncio.to_thread(_run, [word.format(**names) for word in end])
        worker.impaired = False

    async def restart(self) -> None:
        await asyncio.to_thread(self.primary.stop, "immediate")
        await asyncio.sleep(self.random.uniform(0, 2))
        await asyncio.to_thread(self.primary.start)

    async def failover(self) -> None:
        old, new = self.servers
        self.failed_over = True
        await asyncio.to_thread(old.kill)
        await asyncio.to_thread(new.promote)

    # --- the whole

    async def run(self) -> None:
        reading = asyncio.create_task(self.read_log())
        end = time.monotonic() + self.options.minutes * 60
        await asyncio.gather(self.callers(end), self.trouble(end))
        reading.cancel()


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True)


# --- the judge


def judge(world: World) -> list[str]:
    """Every promise that was broken."""
    query = (
        "SELECT i.id, i.status, convert_from(i.output, 'UTF8'), i.created_at, i.updated_at,"
        " (SELECT string_agg(convert_from(h.facts, 'UTF8'), ' ' ORDER BY h.seq) FROM bide.history h"
        " WHERE h.instance_id = i.id) FROM bide.instances i"
    )
    rows = {row[0]: row for row in (line.split("|", 5) for line in world.primary.query(query, "hub").splitlines())}
    secret = bytes.fromhex(world.primary.query("SELECT encode(secret, 'hex') FROM bide.secrets", "hub").strip())
    sealer = SealingKeys([hub_key(secret)])
    sent = Counter(line.split()[0] for line in world.log.read_text().splitlines())
    broken = [f"{name}: {count} messages were sent" for name, count in sent.items() if count > 1]
    for tale in world.tales:
        broken += judge_one(tale, rows.get(tale.id), sent, sealer)
    return broken


def judge_one(tale: Tale, row: list[str] | None, sent: Counter[str], sealer: SealingKeys) -> list[str]:
    if row is None:
        return [f"{tale.id}: acknowledged, and not there"]
    _, status, output, created_at, updated_at, history = row
    broken: list[str] = []
    if status != "Completed" or not sent[tale.id]:
        broken.append(f"{tale.id}: {status}, {sent[tale.id]} messages sent")
    facts = msgspec.json.decode(f"[{history.replace('] [', ',')[1:-1]}]", type=list[Fact])
    raised = [  # what came by another worker is sealed
        msgspec.json.decode(sealer.open(fact.input, event_place(tale.id, fact.name)))
        for fact in facts
        if isinstance(fact, EventRaised)
    ]
    late = output == "false" and len(raised) < len(tale.answers)  # it came when the time was over
    if raised != tale.answers[: len(raised)] or (len(raised) < len(tale.answers) and not late):
        broken.append(f"{tale.id}: acknowledged {tale.answers}, recorded {raised}")
    timed_out = '"TimerFired"' in history
    if timed_out and int(updated_at) < int(created_at) + tale.seconds * SECOND:
        broken.append(f"{tale.id}: its timer fired early")
    if output != ("false" if timed_out or tale.kind == "silent" else "true"):
        broken.append(f"{tale.id}: {tale.kind} gave {output}")
    return broken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--rate", type=float, default=30, help="verifications that begin each second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faketime", type=Path, default=None)
    options = parser.parse_args()
    with ExitStack() as stack:
        world = made(stack, options)
        try:
            asyncio.run(world.run())
            time.sleep(3)
            broken = judge(world)
        finally:
            for worker in world.workers:
                if worker.process is not None:
                    worker.process.kill()
    for each in broken[:50]:
        print(each)
    kinds = Counter(tale.kind for tale in world.tales)
    print(
        json.dumps(
            {
                "verifications": len(world.tales),
                **kinds,
                "faults": world.faults,
                "retries": world.retries,
                "takeover_max_s": round(max(world.takeovers, default=0), 1),
                "takeover_median_s": round(statistics.median(world.takeovers or [0]), 1),
                "longest_pause_s": round(max(world.pauses), 1),
                "broken": len(broken),
                "seed": options.seed,
            }
        )
    )
    sys.exit(bool(broken))


def made(stack: ExitStack, options: argparse.Namespace) -> World:
    """Everything, running."""
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True)))
    directory.chmod(0o755)
    (directory / "app.py").write_text(APP)
    (directory / "carrier.log").touch()
    (directory / "hba.conf").write_text(
        f"{HOST_BASED}local replication all trust\nhost replication all all trust\n"
    )
    conf = {"listen_addresses": "*", "hba_file": str(directory / "hba.conf")}
    primary = stack.enter_context(PostgresServer(conf=conf))
    standby = stack.enter_context(primary.standby())
    primary.make_synchronous(standby)
    url = primary.create_database("hub")
    options.key = key_ring(Settings(db=url)).create("chaos", Role.ADMIN, SystemClock().now())
    hosts = stack.enter_context(Hosts(options.workers))
    workers: list[Worker] = []
    for number, host in enumerate(hosts):
        servers = f"{host.gateway}:{primary.port},{host.gateway}:{standby.port}"
        command = [sys.executable, "-m", "bide.cli", "serve", str(directory / "app.py")]
        command += ["--host", "0.0.0.0", "--port", str(PORT), "--db", f"postgresql://postgres@{servers}/hub"]
        environ = {"CARRIER_LOG": str(directory / "carrier.log")}
        if options.faketime and not number:
            environ |= {
                "LD_PRELOAD": str(options.faketime),
                "FAKETIME": "+60s",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
        workers.append(Worker(host, command, environ, directory / f"worker-{number}.log"))
        workers[-1].start()
    return World(options, workers, [primary, standby], directory / "carrier.log")


if __name__ == "__main__":
    main()
