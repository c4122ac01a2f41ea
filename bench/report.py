"""Results to tables and pictures: what `make bench` writes into docs/performance.md.

python bench/report.py     # from bench/results/*.json, without measuring anew
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

NOTHING = "\N{EN DASH}"
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
Row = dict[str, Any]
Spread = tuple[float, float, float]
"""Median, least, most."""

NAMES = {
    "bide": "**Bide**",
    "toy": "toy (a ceiling for Python, no engine)",
    "dbos:default": "DBOS, as installed",
    "dbos:tuned": "DBOS, tuned",
    "restate:default": "Restate, as installed",
    "restate:tuned": "Restate, tuned",
    "bide:postgres": "**Bide** on PostgreSQL",
    "dbos:postgres": "DBOS on PostgreSQL",
    "durabletask": "durabletask (in memory, not durable)",
}


def workload_of(row: Row) -> str:
    name: str = row["key"].partition("-")[0]
    return "waiting" if name == "resume" else name


def spread(rows: Iterable[Row], key: str, engine: str, figure: str) -> Spread | None:
    values = [row[figure] for row in rows if row["key"] == key and row["engine"] == engine]
    return (statistics.median(values), min(values), max(values)) if values else None


def short(value: float) -> str:
    """Three digits, or all of a whole number."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 1 or value >= 10 else f"{value:.2f}".rstrip("0").rstrip(".")


def cell(found: Spread | None, scale: float = 1) -> str:
    if found is None:
        return NOTHING
    middle, least, most = (value * scale for value in found)
    return short(middle) if least == most else f"{short(middle)} ({short(least)}\N{EN DASH}{short(most)})"


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def engines_of(rows: list[Row]) -> list[str]:
    present = {row["engine"] for row in rows}
    return [engine for engine in NAMES if engine in present] + sorted(present - NAMES.keys())


def ours_beside(engine: str) -> str:
    """What is fair to compare it with."""
    return "bide:postgres" if engine.endswith(":postgres") else "bide"


def times(ours: Spread | None, theirs: Spread | None) -> str:
    return NOTHING if ours is None or theirs is None else f"{short(ours[0] / theirs[0])}\N{MULTIPLICATION SIGN}"


# --- the tables


def steady(rows: list[Row], workload: str) -> str:
    """Verify and hello: rates, latencies, CPU, disk."""
    head = [
        "",
        "1 in flight",
        "100",
        "1,000",
        "ours by",
        "p50 at 1, ms",
        "p50, p95, p99 at 100, ms",
        "CPU each, µs",
        "disk each, bytes",
    ]

    def line(engine: str) -> list[str]:
        rates = {n: spread(rows, f"{workload}-{n}", engine, "per_s") for n in (1, 100, 1_000)}
        ours = spread(rows, f"{workload}-100", ours_beside(engine), "per_s")
        late = [spread(rows, f"{workload}-100", engine, f"p{p}_ms") for p in (50, 95, 99)]
        return [
            NAMES.get(engine, engine),
            *(cell(rates[n]) for n in (1, 100, 1_000)),
            times(ours, rates[100]),
            cell(spread(rows, f"{workload}-1", engine, "p50_ms")),
            ", ".join(short(each[0]) for each in late if each) or NOTHING,
            cell(spread(rows, f"{workload}-100", engine, "cpu_us")),
            disk(spread(rows, f"{workload}-100", engine, "disk_bytes")),
        ]

    return table(head, (line(engine) for engine in engines_of(rows)))


def disk(found: Spread | None) -> str:
    """Files that were made large beforehand do not grow, and tell nothing."""
    return cell(found) if found and found[0] else NOTHING


class Column(NamedTuple):
    head: str
    figure: str
    scale: float = 1


SINGLE = {
    "fan": [Column("1,000 activities at once, ms", "ms")],
    "history": [Column("each of 100 activities in sequence, µs", "us_100"), Column("of 1,000", "us_1000")],
    "events": [Column("each of 100 events, µs", "us_100"), Column("of 1,000", "us_1000")],
    "timers": [Column("late by, p50, ms", "p50_s", 1e3), Column("p99, ms", "p99_s", 1e3)],
}
"""Workloads of one instance, or of one moment: what their tables show. The last column is the one to compare."""


def single(rows: list[Row], workload: str) -> str:
    columns = SINGLE[workload]

    def line(engine: str) -> list[str]:
        found = [(spread(rows, workload, engine, column.figure), column.scale) for column in columns]
        ours = spread(rows, workload, ours_beside(engine), columns[-1].figure)
        return [NAMES.get(engine, engine), *(cell(*each) for each in found), times(found[-1][0], ours)]

    head = ["", *(column.head for column in columns), "ours by"]
    return table(head, (line(engine) for engine in engines_of(rows)))


def waiting(rows: list[Row]) -> str:
    head = ["", "starts per s", "memory each, bytes", "disk each, bytes", "first answer, s", "answered per s"]

    def line(engine: str) -> list[str]:
        first = [spread(rows, "waiting", engine, name) for name in ("starts_per_s", "memory_bytes", "disk_bytes")]
        then = [spread(rows, "resume", engine, name) for name in ("first_answer_s", "completed_per_s")]
        return [NAMES.get(engine, engine), *map(cell, first), *map(cell, then)]

    return table(head, (line(engine) for engine in engines_of(rows)))


def settings(rows: list[Row]) -> str:
    def line(engine: str) -> list[str]:
        row = next(row for row in rows if row["engine"] == engine)
        versions = ", ".join(f"{name} {version}" for name, version in row["versions"].items())
        return [NAMES.get(engine, engine), f"{versions}, Python {row['python']}", row["durability"]]

    head = ["", "versions", "where it keeps what it promises"]
    return table(head, (line(engine) for engine in engines_of(rows))).replace("--:", "---")


# --- the pictures


def bars(title: str, unit: str, values: dict[str, Spread]) -> str:
    """Bars over a logarithmic axis, with lines from the least to the most."""
    left, width, step, top = 250, 720, 30, 44
    least, most = min(low for _, low, _ in values.values()), max(high for *_, high in values.values())
    first, last = math.floor(math.log10(least) - 0.2), math.log10(most) + 0.35

    def x(value: float) -> float:
        return left + (math.log10(value) - first) / (last - first) * (width - left - 20)

    height = top + step * len(values) + 34
    floor = top + step * len(values)
    grid = "".join(
        f'<line class="grid" x1="{x(10**power):.1f}" x2="{x(10**power):.1f}" y1="{top - 8}" y2="{floor}"/>'
        f'<text class="axis" x="{x(10**power):.1f}" y="{floor + 18}">{10**power:,g}</text>'
        for power in range(first, math.floor(last) + 1)
    )
    drawn = "".join(
        f'<text class="name" x="{left - 10}" y="{y + 15}">{name}</text>'
        f'<rect class="{"ours" if name.startswith("Bide") else "bar"}" x="{left}" y="{y}" rx="2"'
        f' width="{x(middle) - left:.1f}" height="20"/>'
        f'<line class="spread" x1="{x(low):.1f}" x2="{x(high):.1f}" y1="{y + 10}" y2="{y + 10}"/>'
        f'<text class="value" x="{x(high) + 6:.1f}" y="{y + 15}">{short(middle)}</text>'
        for y, (name, (middle, low, high)) in zip(range(top, floor, step), values.items(), strict=True)
    )
    spoken = "; ".join(f"{name}: {short(middle)}" for name, (middle, _, _) in values.items())
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"
  height="{height}" role="img" aria-label="{title}, {unit}: {spoken}">
<style>
text {{ font: 12px system-ui, sans-serif; fill: #1b2430 }} .title {{ font-weight: 600 }}
.name {{ text-anchor: end }} .axis {{ fill: #5b6675; text-anchor: middle }} .grid {{ stroke: #dde2e9 }}
.bar {{ fill: #a9b3c1 }} .ours {{ fill: #3b4cca }} .spread {{ stroke: #1b2430; stroke-width: 1.5 }}
@media (prefers-color-scheme: dark) {{
  text {{ fill: #e8ecf2 }} .axis {{ fill: #9aa5b4 }} .grid {{ stroke: #303946 }} .bar {{ fill: #566273 }}
  .ours {{ fill: #9db0ff }} .spread {{ stroke: #e8ecf2 }}
}}
</style>
<text class="title" x="16" y="22">{title} ({unit}; logarithmic)</text>
{grid}{drawn}
</svg>
"""


PICTURES = {
    "bench-verify": ("Phone verifications, 100 in flight", "per second", "verify-100", "per_s"),
    "bench-latency": ("From the answer to the end, one in flight, p50", "ms", "verify-1", "p50_ms"),
    "bench-hello": ("Three activities in sequence, 100 in flight", "per second", "hello-100", "per_s"),
    "bench-fan": ("1,000 activities at once", "ms", "fan", "ms"),
}


def draw(rows: list[Row], pictures: Path) -> list[str]:
    """Returns the lines that show the pictures."""
    lines: list[str] = []
    for file, (title, unit, key, figure) in PICTURES.items():
        found = {engine: spread(rows, key, engine, figure) for engine in engines_of(rows)}
        values = {
            NAMES.get(engine, engine).replace("*", "").partition(" (")[0]: value
            for engine, value in found.items()
            if value
        }
        if values:
            (pictures / f"{file}.svg").write_text(bars(title, unit, values))
            lines.append(f"![{title}](pictures/{file}.svg)")
    return lines


# --- together


def write(results: Path, docs: Path) -> Row:
    """Put what the results say into docs/performance.md; returns the medians of the peers' workloads."""
    files = {path.stem: json.loads(path.read_text()) for path in sorted(results.glob("*.json"))}
    compared = {name: found for name, found in files.items() if name != "alone"}
    rows = [row for found in compared.values() for row in found["measurements"]]
    sections = [part for name, found in compared.items() for part in section(name, found)]
    text = "\n\n".join([settings(rows), *draw(rows, docs / "pictures"), *sections])
    page = docs / "performance.md"
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
    return medians(rows)


def section(name: str, found: Row) -> list[str]:
    machine, rows = found["machine"], found["measurements"]
    where = (
        f"{found['at'][:10]}; {machine['cores']} cores ({machine['cpu']}), {machine['memory_gb']} GB,"
        f" {machine['syncs_per_s']:,} synced writes a second. `make bench ARGS='--only {name}'`"
    )
    body = single(rows, name) if name in SINGLE else waiting(rows) if name == "waiting" else steady(rows, name)
    return [f"### {name}", where, body]


def medians(rows: list[Row]) -> Row:
    found: dict[str, dict[str, dict[str, float]]] = {}
    for row in rows:
        for figure, value in row.items():
            if isinstance(value, float):
                median = spread(rows, row["key"], row["engine"], figure)
                assert median is not None
                found.setdefault(row["key"], {}).setdefault(row["engine"], {})[figure] = median[0]
    return found


if __name__ == "__main__":
    here = Path(__file__).parent
    print(json.dumps(write(here / "results", here.parent / "docs")))
