"""How long the command line takes to answer `--help`, and what of it is Python and click.

    python bench/help.py [--runs 20]

Each figure is the median over runs that alternate between the commands. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

_BIDE = str(Path(sys.executable).parent / "bide")
_COMMANDS = {
    "python": [sys.executable, "-c", ""],
    "click": [sys.executable, "-c", "import click"],
    "help": [_BIDE, "--help"],
    "command_help": [_BIDE, "dev", "--help"],
    "version": [_BIDE, "--version"],
}


def run(command: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - begun) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    for command in _COMMANDS.values():  # the first run writes bytecode
        run(command)
    times: dict[str, list[float]] = {name: [] for name in _COMMANDS}
    for _ in range(runs):
        for name, command in _COMMANDS.items():
            times[name].append(run(command))
    for name, found in times.items():
        print(f"{name:14} median {statistics.median(found):6.1f} ms   worst {max(found):6.1f} ms")
    print(json.dumps({f"{name}_ms": round(statistics.median(found), 1) for name, found in times.items()}))


if __name__ == "__main__":
    main()
