"""The engine under every kind of failure; and proof that the simulation would see a bug.

A failing seed prints the command that repeats it.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bide.store.memory import MemoryStore
from bide.testing.faults import FaultyStore, InjectedError, SeededFaults
from simulation import PROMISES, Plant, simulate
from tests.simulation.plants import PLANTS

ROOT = Path(__file__).parents[2]
SOME, PART = 25, 400
LATER = range(25, 2_025, PART)
"""2,025 worlds in all, in parts: a test that takes longer than two minutes is taken for one that hangs."""
STEPS = 2_000


def _run(*arguments: str) -> tuple[str, dict[str, Any]]:
    command = [sys.executable, "-m", "simulation", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert done.stdout, done.stderr
    return done.stdout, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("first", [0, *(pytest.param(first, marks=pytest.mark.kill) for first in LATER)])
def test_every_promise_holds_in_many_worlds(first: int) -> None:
    seeds = SOME if first == 0 else PART
    output, figures = _run("--first", str(first), "--seeds", str(seeds), "--jobs", "1")
    sys.stdout.write(output)
    assert figures["seeds"] == seeds
    assert not figures["failed"], output
    assert figures["violations"] == dict.fromkeys(PROMISES, 0)
    assert min(figures["checks"].values()) > seeds // 4, "every promise was put to the test"
    assert figures["counts"]["steps"] < STEPS * seeds, "each world comes to rest soon"
    assert figures["counts"]["turns"] > 0, "in some of them the code runs elsewhere"
    assert figures["counts"]["wanted elsewhere"] > 0, "in some of them not every worker has all orchestrators"


@pytest.mark.kill
def test_the_same_seed_gives_the_same_trace_in_every_process() -> None:
    seeds = (3, 4, 5)
    here = [simulate(seed).fingerprint for seed in seeds]
    code = f"from simulation import simulate\nfor seed in {seeds}: print(simulate(seed).fingerprint)"
    for hash_seed in ("0", "77"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        there = subprocess.check_output([sys.executable, "-c", code], text=True, env=environment, timeout=300)
        assert there.split() == here


def test_one_seed_is_repeated_from_the_command_line() -> None:
    output, figures = _run("--seed", "3", "--trace")
    report = simulate(3)
    assert output.splitlines()[:-1] == report.trace
    assert (figures["seeds"], figures["fingerprint"]) == (1, report.fingerprint)


@pytest.mark.parametrize("seeds", [4, pytest.param(60, marks=pytest.mark.kill)])
def test_both_stores_give_the_same_trace(seeds: int) -> None:
    for seed in range(seeds):
        assert simulate(seed, "memory").trace == simulate(seed, "sqlite").trace, f"seed {seed}"


@pytest.mark.parametrize(("plant", "promise"), PLANTS.values(), ids=PLANTS)
def test_a_planted_bug_is_found(plant: Plant, promise: str) -> None:
    found: set[str] = set()
    for seed in range(300):
        report = simulate(seed, "memory", plant)
        found |= {violation.promise for violation in report.violations}
        if promise in found:
            assert report.command in report.describe()
            with pytest.raises(AssertionError, match=promise):
                report.raise_violations()
            return
    pytest.fail(f"{promise} should be broken; broken are {found}")


def test_a_faulty_store_fails_before_and_after_the_effect_and_repeats_itself() -> None:
    async def errors(seed: int) -> list[str]:
        store = FaultyStore(MemoryStore(), SeededFaults(seed, errors=0.3, verbs={"acquire"}))
        seen: list[str] = []
        for now in range(40):
            try:
                seen.append(str(len(await store.acquire("me", now * 10, now * 10 + 5, 256))))
            except InjectedError as error:
                seen.append(str(error))
            assert await store.instance("nobody") is None
        return seen

    seen = asyncio.run(errors(1))
    assert {"256", "acquire: injected before the effect", "acquire: injected after the effect"} <= set(seen)
    assert seen == asyncio.run(errors(1))
    assert seen != asyncio.run(errors(2))
