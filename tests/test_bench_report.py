"""Results of the benchmark become tables and pictures."""

import importlib.util
import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def report() -> Any:
    spec = importlib.util.spec_from_file_location("report", ROOT / "bench" / "report.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row(engine: str, number: int, per_s: float) -> dict[str, object]:
    figures = {"per_s": per_s, "p50_ms": 4.0, "p95_ms": 6.0, "p99_ms": 8.0, "cpu_us": 80.0, "disk_bytes": 900.0}
    return {
        "key": "verify-100",
        "round": number,
        "engine": engine,
        "versions": {engine: "1.2"},
        "python": "3.11",
        "durability": "synced",
        **figures,
    }


@pytest.fixture
def written(report: Any, tmp_path: Path) -> Path:
    results, docs = tmp_path / "results", tmp_path / "docs"
    results.mkdir()
    (docs / "pictures").mkdir(parents=True)
    machine = {"cores": 2, "cpu": "some", "memory_gb": 8, "syncs_per_s": 5_000}
    rows = [row("bide", n, rate) for n, rate in enumerate((9_000.0, 12_000.0, 10_000.0))]
    rows.append(row("dbos:tuned", 0, 100.0))
    found = {"at": "2026-11-23T10:00+00:00", "machine": machine, "measurements": rows}
    (results / "verify.json").write_text(json.dumps(found))
    (docs / "performance.md").write_text(f"Before.\n{report.BEGIN}\nstale\n{report.END}\nAfter.\n")
    report.write(results, docs)
    return docs


def test_the_page_keeps_what_was_written_by_hand(written: Path) -> None:
    page = (written / "performance.md").read_text()
    assert page.startswith("Before.")
    assert page.endswith("After.\n")
    assert "stale" not in page


def test_a_cell_has_the_median_and_the_spread(written: Path) -> None:
    page = (written / "performance.md").read_text()
    assert "10,000 (9,000\N{EN DASH}12,000)" in page


def test_ours_is_compared_by_medians(written: Path) -> None:
    page = (written / "performance.md").read_text()
    line = next(line for line in page.splitlines() if line.startswith("| DBOS, tuned") and "100" in line)
    assert "100\N{MULTIPLICATION SIGN}" in line


def test_the_last_figure_of_a_single_instance_is_compared(report: Any) -> None:
    facts = {"round": 0, "versions": {}, "python": "3.11", "durability": "synced"}
    rows = [
        {"key": "history", "engine": engine, "us_100": 300.0, "us_1000": each, **facts}
        for engine, each in (("bide", 200.0), ("dbos:tuned", 1_100.0))
    ]
    assert "| DBOS, tuned | 300 | 1,100 | 5.5\N{MULTIPLICATION SIGN} |" in report.single(rows, "history")


def test_a_picture_is_well_formed_and_says_its_figures(written: Path) -> None:
    picture = ElementTree.parse(written / "pictures" / "bench-verify.svg").getroot()
    assert "Bide: 10,000" in (picture.get("aria-label") or "")


def test_the_medians_of_the_rounds_are_returned(report: Any) -> None:
    found = report.medians([row("toy", 0, 1.0), row("toy", 1, 3.0), row("toy", 2, 2.0)])
    assert found["verify-100"]["toy"]["per_s"] == 2.0


def test_the_page_has_what_the_results_say(report: Any) -> None:
    page = (ROOT / "docs" / "performance.md").read_text()
    for path in (ROOT / "bench" / "results").glob("*.json"):
        found = json.loads(path.read_text())
        assert path.stem == "alone" or report.section(path.stem, found)[2] in page


@pytest.mark.kill
@pytest.mark.parametrize(
    "script", ["verify.py", "run.py", "soak.py", "waiting.py", "workloads.py", "drive.py", "http_load.py"]
)
def test_a_directory_that_cannot_be_made_is_a_sentence(script: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    command = [sys.executable, str(ROOT / "bench" / script), "--dir", str(tmp_path / "file" / "data")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "cannot be used as a directory: Not a directory." in done.stderr


@pytest.mark.kill
def test_a_directory_is_made(tmp_path: Path) -> None:
    arguments = ["--n", "20", "--in-flight", "5", "--runs", "1", "--dir", str(tmp_path / "new" / "place")]
    subprocess.run([sys.executable, str(ROOT / "bench" / "verify.py"), *arguments], check=True, capture_output=True)
    assert (tmp_path / "new" / "place").is_dir()
