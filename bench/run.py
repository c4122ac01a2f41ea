"""Ours beside the peers, in turns, on the same workloads: `make bench`.

    python bench/run.py [--only verify hello fan history events timers waiting alone]
                        [--engines bide dbos:tuned ...] [--repeat 3] [--seconds 5] [--quick] [--dir DIR]

Each peer gets an environment of its own in bench/.peers, by pip and npm; one that cannot be installed is left out,
and that is said. Then round by round each engine does each workload once, in a process of its own (bench/drive.py),
so that a slow minute of the machine hits all of them. `alone` are the workloads that only ours has a script for.

Writes bench/results/*.json, plots in docs/pictures and tables in docs/performance.md. The last line is one JSON
object with the medians.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import places
import report

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.postgres.server import PostgresServer, find_binaries

HERE = Path(__file__).parent
PEERS = HERE / ".peers"
RESULTS = HERE / "results"

PIP = {
    "dbos": ["dbos==3.4.0", "pysqlite3-binary", "psycopg[binary]", "uvloop"],
    "durabletask": ["durabletask==1.12.0"],
    "restate": ["restate-sdk[serde]==1.3.0", "hypercorn==0.18.0", "aiohttp==3.14.5", "uvloop"],
}
RESTATE_SERVER = "@restatedev/restate-server@1.7.12"
ENGINES = (
    "bide",
    "toy",
    "dbos:default",
    "dbos:tuned",
    "restate:default",
    "restate:tuned",
    "durabletask",
    "bide:postgres",
    "dbos:postgres",
)
IN_FLIGHT = (1, 100, 1_000)
LIMIT_S = 600

ALONE = {
    "workloads": ["bench/workloads.py", "--runs", "{repeat}"],
    "http": ["bench/http_load.py", "--runs", "{repeat}"],
    "retention": ["bench/retention.py"],
}


@dataclass(frozen=True)
class Measurement:
    engine: str
    workload: str
    arguments: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The workload and how many were in flight."""
        return "-".join((self.workload, *self.arguments[1:2]))


def measurements(options: argparse.Namespace) -> Iterator[Measurement]:
    """One round, without the instances that wait."""
    for workload in ("verify", "hello"):
        for in_flight in IN_FLIGHT if workload in options.only else ():
            for engine in options.engines:
                window = ("--seconds", str(options.seconds))
                yield Measurement(engine, workload, ("--in-flight", str(in_flight), *window))
    for workload in ("fan", "history", "events", "timers"):
        for engine in options.engines if workload in options.only else ():
            if engine != "toy":
                yield Measurement(engine, workload)


def drive(measurement: Measurement, directory: Path) -> dict[str, object] | None:
    """The figures, or None if the engine did not get there."""
    command = [
        str(python_of(measurement.engine)),
        str(HERE / "drive.py"),
        measurement.engine,
        measurement.workload,
        *measurement.arguments,
        "--dir",
        str(directory),
    ]
    try:
        done = subprocess.run(
            command,
            env=environment(measurement.workload) | on_server(measurement, directory),
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        say(f"{measurement.engine} {measurement.key}: nothing within {LIMIT_S} s")
        return None
    for line in reversed(done.stdout.splitlines()):
        if line.startswith("{"):
            found: dict[str, object] = json.loads(line)
            return found
    say(f"{measurement.engine} {measurement.key} failed:\n{done.stdout[-500:]}\n{done.stderr[-1_500:]}")
    return None


def on_server(measurement: Measurement, directory: Path) -> dict[str, str]:
    """Where an engine on PostgreSQL finds its database: one for each directory."""
    if not measurement.engine.endswith(":postgres"):
        return {}
    server, name = postgres(), directory.name.replace("-", "_")
    url = server.url(name) if measurement.workload == "resume" else server.create_database(name)
    return {"DATABASE_URL": url, "POSTMASTER": str(server.pid)}


@cache
def postgres() -> PostgresServer:
    """A server with its own settings: `fsync` and `synchronous_commit` are on. It ends with this process."""
    server = PostgresServer()
    server.start()
    return server


def environment(workload: str = "") -> dict[str, str]:
    server = next(PEERS.glob("npm/node_modules/@restatedev/restate-server-*/bin/restate-server"), None)
    # At its default of a minute, with a thousand at once, ten thousand that wait take ten minutes to lie down.
    patience = {"RESTATE_WORKER__INVOKER__INACTIVITY_TIMEOUT": "1s"} if workload in ("waiting", "resume") else {}
    return os.environ | patience | ({"RESTATE_SERVER": str(server)} if server else {})


def python_of(engine: str) -> Path:
    name = engine.partition(":")[0]
    return PEERS / name / "bin" / "python" if name in PIP else Path(sys.executable)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# --- installing


def install(engine: str) -> bool:
    """Whether the engine can be run here, after trying to install it."""
    name, _, setting = engine.partition(":")
    if setting == "postgres" and find_binaries() is None:
        say(f"{engine} is left out: there is no PostgreSQL here (apt-get install postgresql).")
        return False
    if name not in PIP:
        return True
    try:
        _install(name)
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        reason = getattr(error, "stderr", "") or error
        say(f"{name} cannot be installed here and is left out: {str(reason).strip()[-400:]}")
        return False
    return True


def _install(name: str) -> None:
    target = PEERS / name
    wanted = " ".join(PIP[name])
    stamp = target / ".installed"
    if not stamp.exists() or stamp.read_text() != wanted:
        say(f"Installing {wanted}")
        run([sys.executable, "-m", "venv", "--clear", str(target)])
        run([str(target / "bin" / "pip"), "install", "--quiet", *PIP[name]])
        stamp.write_text(wanted)
    if name == "restate" and "RESTATE_SERVER" not in environment():
        say(f"Installing {RESTATE_SERVER}")
        (PEERS / "npm").mkdir(exist_ok=True)
        run(["npm", "install", "--prefix", str(PEERS / "npm"), "--ignore-scripts", "--silent", RESTATE_SERVER])


def run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


# --- running


def in_turns(options: argparse.Namespace) -> list[dict[str, object]]:
    """Every measurement of every round."""
    todo = [(number, one) for number in range(options.repeat) for one in measurements(options)]
    found: list[dict[str, object]] = []
    begun = time.monotonic()
    for number, (round_number, measurement) in enumerate(todo):
        left = (time.monotonic() - begun) / number * (len(todo) - number) / 60 if number else 0
        progress = f"{number + 1} of {len(todo)}" + (f", {left:.0f} min left" if number else "")
        say(f"[{progress}] round {round_number + 1}: {measurement.engine} {measurement.key}")
        with tempfile.TemporaryDirectory(prefix="bench-", dir=options.dir) as directory:
            figures = drive(measurement, Path(directory))
        if figures is not None:
            found.append({"key": measurement.key, "round": round_number, **figures})
    return found


def waiting(options: argparse.Namespace) -> list[dict[str, object]]:
    """Once for each: instances that wait, a kill, and all of them answered. What keeps nothing is left out."""
    found: list[dict[str, object]] = []
    for engine in options.engines if "waiting" in options.only else ():
        if engine in ("toy", "durabletask", "dbos:default"):
            continue
        with tempfile.TemporaryDirectory(prefix="bench-", dir=options.dir) as directory:
            for workload in ("waiting", "resume"):
                say(f"[once] {engine} {workload}, {options.waiting:,} instances")
                figures = drive(Measurement(engine, workload, ("--n", str(options.waiting))), Path(directory))
                if figures is None:
                    break
                found.append({"key": workload, "round": 0, "n": options.waiting, **figures})
    return found


def alone(options: argparse.Namespace) -> dict[str, object]:
    """What each of our own scripts says in its last line."""
    found: dict[str, object] = {}
    for name, command in ALONE.items() if "alone" in options.only else ():
        say(f"[ours] {name}")
        arguments = [part.format(repeat=options.repeat) for part in command]
        done = subprocess.run(
            [sys.executable, *arguments], cwd=HERE.parent, stdout=subprocess.PIPE, text=True, check=True
        )
        found[name] = json.loads(done.stdout.splitlines()[-1])
    return found


def save(name: str, found: dict[str, object]) -> None:
    (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")


def machine(directory: Path | None) -> dict[str, object]:
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    cpu = models[0].partition(":")[2].strip() if models else "unknown"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {"cores": os.cpu_count(), "cpu": cpu, "memory_gb": round(memory), "syncs_per_s": syncs_per_s(directory)}


def syncs_per_s(directory: Path | None) -> int:
    """How often a second this disk can append 4 KiB and sync them."""
    with tempfile.NamedTemporaryFile(dir=directory) as file:
        begun, count = time.perf_counter(), 500
        for _ in range(count):
            os.write(file.fileno(), bytes(4_096))
            os.fdatasync(file.fileno())
        return round(count / (time.perf_counter() - begun))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    workloads = ["verify", "hello", "fan", "history", "events", "timers", "waiting", "alone"]
    parser.add_argument("--only", nargs="+", choices=workloads, default=workloads)
    parser.add_argument("--engines", nargs="+", default=list(ENGINES))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5, help="how long each window is")
    parser.add_argument("--waiting", type=int, default=10_000, help="instances that wait")
    parser.add_argument("--quick", action="store_true", help="one round of short windows, to see that it works")
    parser.add_argument("--dir", type=places.made, default=None, help="where the data goes (a real disk)")
    options = parser.parse_args()
    if options.quick:
        options.repeat, options.seconds, options.waiting = 1, 1.0, 1_000
    PEERS.mkdir(exist_ok=True)
    RESULTS.mkdir(exist_ok=True)
    options.engines = [engine for engine in options.engines if install(engine)]
    facts = {"at": datetime.now(UTC).isoformat(timespec="minutes"), "machine": machine(options.dir)}
    for stage in (in_turns, waiting):  # what is there stays, if the next one is cut short
        measured = stage(options)
        for workload in dict.fromkeys(report.workload_of(row) for row in measured):
            rows = [row for row in measured if report.workload_of(row) == workload]
            save(workload, {**facts, "measurements": rows})
    if ours := alone(options):
        save("alone", {**facts, **ours})
    medians = report.write(RESULTS, HERE.parent / "docs")
    print(json.dumps(medians))


if __name__ == "__main__":
    main()
