"""Restate: its server beside the driver's process, which holds the service too, served by hypercorn over HTTP/2.

Settings: `default` (24 partitions), `tuned` (one partition: its best on one machine), `unsynced` (not safe when the
power fails; to see what the syncs cost). RESTATE_SERVER says where the server's program is.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib.metadata
import json
import os
import random
import signal
import socket
import subprocess
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import restate
from hypercorn.asyncio import serve
from hypercorn.config import Config

import engines
from engines import CITIES, Outbox, allocated_bytes, with_children

outbox: Outbox
verification = restate.Workflow("Verify")
greeting = restate.Service("Hello")
numbers = restate.Workflow("Numbers")
waiting = restate.Workflow("Waiter")


@verification.main()
async def verify(ctx: restate.WorkflowContext, phone: str) -> bool:
    def send_challenge() -> int:
        code = random.randrange(1_000, 10_000)
        outbox.deliver(ctx.key(), code)
        return code

    code = await ctx.run_typed("send_challenge", send_challenge)
    deadline = ctx.sleep(timedelta(seconds=90))
    for number in range(4):
        answer = ctx.promise(f"SmsChallengeResponse-{number}", type_hint=int).value()
        match await restate.select(answer=answer, deadline=deadline):
            case ["answer", given]:
                if given == code:
                    return True
            case _:
                return False
    return False


@verification.handler()
async def answer(ctx: restate.WorkflowSharedContext, given: dict[str, int]) -> None:
    await ctx.promise(f"SmsChallengeResponse-{given['try']}", type_hint=int).resolve(given["code"])


@greeting.handler()
async def hello(ctx: restate.Context) -> list[str]:
    async def say_hello(name: str) -> str:
        return f"Hello {name}!"

    return [await ctx.run_typed("say_hello", say_hello, name=city) for city in CITIES]


@greeting.handler()
async def fan(ctx: restate.Context, width: int) -> int:
    async def one(number: int) -> int:
        return number

    futures = [ctx.run_typed("one", one, number=number) for number in range(width)]
    return sum([await future for future in await restate.gather(*futures)])


@greeting.handler()
async def history(ctx: restate.Context, steps: int) -> int:
    async def one(number: int) -> int:
        return number

    for number in range(steps):
        await ctx.run_typed("one", one, number=number)
    return steps


@greeting.handler()
async def timer(ctx: restate.Context, given: dict[str, Any]) -> None:
    def tell_time() -> None:
        outbox.deliver(given["key"], time.time())

    await ctx.sleep(timedelta(seconds=max(0.0, given["due"] - await ctx.time())))
    await ctx.run_typed("tell_time", tell_time)


@numbers.main()
async def events(ctx: restate.WorkflowContext, count: int) -> int:
    total = 0
    for number in range(count):
        total += await ctx.promise(f"Number-{number}", type_hint=int).value()
    return total


@numbers.handler()
async def event(ctx: restate.WorkflowSharedContext, number: int) -> None:
    await ctx.promise(f"Number-{number}", type_hint=int).resolve(number)


@waiting.main()
async def waiter(ctx: restate.WorkflowContext) -> int:
    go = ctx.promise("go", type_hint=int).value()
    match await restate.select(go=go, hour=ctx.sleep(timedelta(hours=1))):
        case ["go", value]:
            return value
        case _:
            return -1


@waiting.handler()
async def go(ctx: restate.WorkflowSharedContext, value: int) -> None:
    await ctx.promise("go", type_hint=int).resolve(value)


class Engine(engines.Engine):
    versions: ClassVar = {"restate-sdk": importlib.metadata.version("restate-sdk"), "restate-server": ""}

    def __init__(self, setting: str, its_outbox: Outbox) -> None:
        global outbox
        outbox = its_outbox
        self._setting = setting
        self._program = os.environ["RESTATE_SERVER"]
        self.versions["restate-server"] = _version(self._program)
        self.durability = {
            "default": "its log, 24 partitions (default): synced",
            "tuned": "its log, one partition (set by us): synced",
            "unsynced": "its log, not synced (set by us): lost when the power fails",
        }[setting]

    async def open(self, directory: Path, *, fresh: bool) -> None:
        self._directory = directory / "restate"
        ports = directory / "restate-ports.json"
        if fresh:
            ports.write_text(json.dumps(_free_ports(4)))
        ingress, admin, node, service = json.loads(ports.read_text())
        self._ingress, self._admin = f"http://127.0.0.1:{ingress}", f"http://127.0.0.1:{admin}"
        self._server = self._start_server(directory, self._environment(ingress, admin, node))
        config = Config()
        config.bind = [f"127.0.0.1:{service}"]
        config.loglevel, config.accesslog = "ERROR", None
        config.h2_max_concurrent_streams = 20_000
        config.keep_alive_max_requests = 10**9  # at the default of 1,000 a connection's end runs steps again
        app = restate.app(services=[verification, greeting, numbers, waiting])
        self._service = asyncio.create_task(serve(app, config, shutdown_trigger=asyncio.Event().wait))
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=300), timeout=aiohttp.ClientTimeout(total=900)
        )
        await self._until_healthy()
        if fresh:
            await self._register(f"http://127.0.0.1:{service}")

    def _start_server(self, directory: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [self._program, "--base-dir", str(self._directory), "--node-name", "n1", "--no-logo"],
            env=os.environ | environment,
            stdout=(directory / "restate.log").open("a"),
            stderr=subprocess.STDOUT,
            preexec_fn=_die_with_parent,
        )

    def _environment(self, ingress: int, admin: int, node: int) -> dict[str, str]:
        found = {
            "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
            "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
            "RESTATE_BIND_ADDRESS": f"127.0.0.1:{node}",
            "RESTATE_ADVERTISED_ADDRESS": f"http://127.0.0.1:{node}",
            "RESTATE_DISABLE_TELEMETRY": "true",
            "RESTATE_LOG_FILTER": "warn",
            "RESTATE_LISTEN_MODE": "tcp",
        }
        if self._setting == "tuned":
            found["RESTATE_DEFAULT_NUM_PARTITIONS"] = "1"
        if self._setting == "unsynced":
            found["RESTATE_LOG_SERVER__ROCKSDB_DISABLE_WAL_FSYNC"] = "true"
            found["RESTATE_BIFROST__LOCAL__ROCKSDB_DISABLE_WAL_FSYNC"] = "true"
        return found

    async def _until_healthy(self) -> None:
        for _ in range(1_200):
            try:
                async with self._http.get(f"{self._ingress}/restate/health") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass  # it is still starting
            await asyncio.sleep(0.05)
        raise SystemExit("restate-server did not start within a minute")

    async def _register(self, uri: str) -> None:
        text = ""
        for _ in range(100):
            async with self._http.post(f"{self._admin}/deployments", json={"uri": uri, "force": True}) as answer:
                text = await answer.text()
                if answer.status < 300:
                    return
            await asyncio.sleep(0.1)
        raise SystemExit(f"restate-server did not accept the service: {text}")

    async def _call(self, path: str, argument: object = None) -> Any:
        content = {"skip_auto_headers": ["Content-Type"]} if argument is None else {"json": argument}
        for _ in range(200):
            async with self._http.post(f"{self._ingress}/{path}", **content) as answer:
                body = await answer.read()
                if answer.status < 300:
                    return json.loads(body) if body else None
                if answer.status not in (429, 502, 503):
                    raise SystemExit(f"{path}: {answer.status} {body[:200]!r}")
            await asyncio.sleep(0.05)
        raise SystemExit(f"{path}: not available within 10 s")

    async def start_verify(self, key: str, phone: str) -> asyncio.Task[Any]:
        return asyncio.create_task(self._call(f"Verify/{key}/verify", phone))

    async def answer(self, key: str, code: int) -> None:
        await self._call(f"Verify/{key}/answer", {"try": 0, "code": code})

    async def result(self, handle: asyncio.Task[Any]) -> bool:
        return await handle is True

    async def hello(self, key: str) -> list[str]:
        return await self._call("Hello/hello")

    async def fan(self, key: str, width: int) -> int:
        return await self._call("Hello/fan", width)

    async def history(self, key: str, steps: int) -> int:
        return await self._call("Hello/history", steps)

    async def start_events(self, key: str, count: int) -> asyncio.Task[Any]:
        return asyncio.create_task(self._call(f"Numbers/{key}/events", count))

    async def send_event(self, key: str, number: int) -> None:
        await self._call(f"Numbers/{key}/event", number)

    async def total(self, handle: asyncio.Task[Any]) -> int:
        return await handle

    async def start_timer(self, key: str, due: float) -> None:
        await self._call("Hello/timer/send", {"key": key, "due": due})

    async def start_waiting(self, key: str) -> None:
        await self._call(f"Waiter/{key}/waiter/send")

    async def all_waiting(self, count: int) -> None:
        waiting = 0
        while waiting < count:
            found = await self._counts()
            waiting = found.get("suspended", 0) + found.get("running", 0)
            await asyncio.sleep(0.5)

    async def answer_waiting(self, key: str) -> None:
        await self._call(f"Waiter/{key}/go", 1)

    async def completed_waiting(self) -> int:
        return (await self._counts()).get("completed", 0)

    async def _counts(self) -> dict[str, int]:
        query = (
            "select status, count(*) as n from sys_invocation"
            " where target_service_name = 'Waiter' and target_handler_name = 'waiter' group by status"
        )
        headers = {"accept": "application/json"}
        async with self._http.post(f"{self._admin}/query", json={"query": query}, headers=headers) as answer:
            rows = json.loads(await answer.text())["rows"] if answer.status == 200 else []
        return {row["status"]: row["n"] for row in rows}

    def processes(self) -> list[int]:
        return with_children(os.getpid())

    def disk_bytes(self) -> int:
        return allocated_bytes(self._directory)

    def kill(self) -> None:
        self._server.send_signal(signal.SIGKILL)
        self._server.wait()


def _version(program: str) -> str:
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    found = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return found


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
