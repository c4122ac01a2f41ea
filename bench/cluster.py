"""Several workers over one PostgreSQL, each on a host of its own: what do they do together, and what does it cost?

    python bench/cluster.py [--workers 1 2 4] [--in-flight 100] [--seconds 10] [--runs 3]

Each worker is a process in a network namespace (bench/hosts.py) with a load of its own: so many phone verifications
in flight, shared out among the workers. PostgreSQL runs here, with `fsync` and `synchronous_commit` on. Statements
are counted by pg_stat_statements, bytes on the workers' cables, log by pg_stat_wal. Medians of the runs; the last
line is one JSON object. Where there are no namespaces, workers are plain processes, and bytes are not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import uvloop
import verify

from bide import Settings

sys.path.insert(0, str(Path(__file__).parent.parent))
from hosts import Host, Hosts, NoNamespaces

from tests.postgres.server import PostgresServer

HOST_BASED = "local all all trust\nhost all all 127.0.0.1/32 trust\nhost all all 10.0.0.0/8 trust\n"
STATEMENTS = "SELECT sum(calls) FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid AND datname = '{}'"


async def work(url: str, in_flight: int, seconds: float) -> None:
    """A worker and its load: warm up, say so, wait for the word, run, say how many."""
    done = 0
    numbers = iter(range(10**9))

    async with verify.app.running(Settings(db=url)) as client:

        async def user() -> None:
            nonlocal done
            for number in numbers:
                await verify.one(client, f"+{os.getpid()}{number:07d}", wait_until_asked=False)
                done += 1

        await asyncio.sleep(4)  # until partitions are shared out: the codes are read in this process only
        users = [asyncio.create_task(user()) for _ in range(in_flight)]  # noqa: F841 - they must not be collected
        await asyncio.sleep(1)
        print("warm", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        before, begun = done, time.perf_counter()
        await asyncio.sleep(seconds)
        print(json.dumps({"done": done - before, "seconds": time.perf_counter() - begun}), flush=True)
        os._exit(0)  # in the middle of it


class Load:
    """Workers that run."""

    def __init__(self, server: PostgresServer, name: str, hosts: list[Host | None], options: argparse.Namespace):
        self._processes = [self._start(server, name, host, len(hosts), options) for host in hosts]

    @staticmethod
    def _start(
        server: PostgresServer, name: str, host: Host | None, workers: int, options: argparse.Namespace
    ) -> subprocess.Popen[str]:
        url = server.url(name)
        if host is not None:
            url = url.replace("127.0.0.1", host.gateway)
        script = [sys.executable, __file__, "--work", url, "--seconds", str(options.seconds)]
        script += ["--in-flight", str(options.in_flight // workers)]
        command = script if host is None else host.command(*script)
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def warm(self) -> None:
        for process in self._processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "warm\n"

    def run(self) -> list[dict[str, float]]:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return [json.loads(process.stdout.readline()) for process in self._processes if process.stdout]

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


def once(server: PostgresServer, hosts: list[Host | None], options: argparse.Namespace) -> dict[str, float]:
    name = f"cluster_{time.time_ns()}"
    server.create_database(name)
    load = Load(server, name, hosts, options)
    try:
        load.warm()
        before = counted(server, name, hosts)
        done = load.run()
        after = counted(server, name, hosts)
    finally:
        load.end()
        server.drop_database(name)
    total = sum(each["done"] for each in done)
    return {
        "per_s": sum(each["done"] / each["seconds"] for each in done),
        **{figure: (after[figure] - before[figure]) / total for figure in after},
    }


def counted(server: PostgresServer, name: str, hosts: list[Host | None]) -> dict[str, float]:
    return {
        "statements": float(server.query(STATEMENTS.format(name)) or 0),
        "wal_bytes": float(server.query("SELECT wal_bytes FROM pg_stat_wal")),
        **({"network_bytes": float(sum(host.bytes() for host in hosts if host))} if all(hosts) else {}),
    }


def measure(options: argparse.Namespace) -> dict[int, dict[str, float]]:
    found: dict[int, list[dict[str, float]]] = {}
    with ExitStack() as stack:
        hosts: list[Host | None]
        try:
            hosts = [*stack.enter_context(Hosts(max(options.workers)))]
        except NoNamespaces as error:
            print(f"{error} Workers are plain processes.", file=sys.stderr)
            hosts = [None] * max(options.workers)
        file = stack.enter_context(tempfile.NamedTemporaryFile("w", suffix=".conf"))
        file.write(HOST_BASED)
        file.flush()
        Path(file.name).chmod(0o644)
        conf = {"listen_addresses": "*", "hba_file": file.name, "shared_preload_libraries": "pg_stat_statements"}
        server = stack.enter_context(PostgresServer(conf=conf))
        server.query("CREATE EXTENSION pg_stat_statements")
        for number in range(options.runs):
            for workers in options.workers:
                found.setdefault(workers, []).append(once(server, hosts[:workers], options))
                last = ", ".join(f"{name} {value:,.1f}" for name, value in found[workers][-1].items())
                print(f"run {number + 1}, {workers} workers: {last}", file=sys.stderr)
    return {
        workers: {name: round(statistics.median(run[name] for run in runs), 2) for name in runs[0]}
        for workers, runs in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--in-flight", type=int, default=100, help="verifications, of all workers together")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        uvloop.run(work(options.work, options.in_flight, options.seconds))
    else:
        print(json.dumps({"in_flight": options.in_flight, "cpus": os.cpu_count(), "workers": measure(options)}))


if __name__ == "__main__":
    main()
