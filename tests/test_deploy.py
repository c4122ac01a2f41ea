"""What stands in deploy/ has the shape that its readers expect, and gives workers time to end in order.

Neither Docker nor Helm is needed here: a few lines render the chart, which uses few of Helm's words on purpose.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from bide import Settings
from bide.cli.first_key import MISSING
from bide.config import load

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm"
PAGE = (ROOT / "docs" / "deploy.md").read_text()


def grace_needed(drain_s: float) -> float:
    """Requests may take as long to end, and then activities; a commit and the farewell come on top."""
    return 2 * drain_s + 5


# --- systemd


def test_the_page_shows_the_unit_as_it_is() -> None:
    assert f"```ini\n{(DEPLOY / 'bide.service').read_text()}```" in PAGE


def test_the_unit_is_one(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("No systemd-analyze here, so the unit's words are not checked.")
    text = (DEPLOY / "bide.service").read_text()
    assert text.count("ExecStart=/opt/myapp/.venv/bin/bide ") == 1
    unit = tmp_path / "bide.service"
    # The command is not there on this machine, nor is its user.
    unit.write_text(text.replace("/opt/myapp/.venv/bin/bide", "/bin/true").replace("User=bide", "User=root"))
    done = subprocess.run([analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if unit.name in line]) == (0, [])


def test_the_unit_waits_for_the_drain() -> None:
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", (DEPLOY / "bide.service").read_text(), re.M)
    assert int(seconds) > grace_needed(Settings().drain_s)


# --- containers


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return found


def test_compose_runs_two_workers_over_one_database() -> None:
    services = compose()["services"]
    assert services.keys() == {"postgres", "migrate", "worker-1", "worker-2"}
    for worker in (services["worker-1"], services["worker-2"]):
        settings = settings_of(worker["environment"])
        assert settings.db == "postgresql://bide_worker:w@postgres/bide"
        assert int(worker["stop_grace_period"].removesuffix("s")) > grace_needed(settings.drain_s)
        assert worker["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
        assert "/readyz" in " ".join(worker["healthcheck"]["test"])
        compile(worker["healthcheck"]["test"][-1], "healthcheck", "exec")
    assert settings_of(services["migrate"]["environment"]).db == "postgresql://bide_owner:o@postgres/bide"
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    published = [port for name in ("worker-1", "worker-2") for port in services[name]["ports"]]
    assert published == ["127.0.0.1:7071:7071", "127.0.0.1:7072:7071"]


def test_what_compose_mounts_is_there() -> None:
    mounts = [mount.split(":") for mount in compose()["services"]["postgres"]["volumes"]]
    for source in [mount[0] for mount in mounts if mount[0].startswith(".")]:
        assert (ROOT / source).is_file()
    assert {mount[0] for mount in mounts if not mount[0].startswith(".")} == compose()["volumes"].keys()


def test_the_page_names_what_compose_wants() -> None:
    wanted = set(re.findall(r"\$\{(\w+):\?\}", (ROOT / "compose.yaml").read_text()))
    (shown,) = re.findall(r"```sh\n(POSTGRES_PASSWORD=.*?)```", PAGE, re.S)
    assert {line.partition("=")[0] for line in shown.splitlines()} == wanted


def settings_of(environment: dict[str, str]) -> Settings:
    """What a container's environment means to Bide; a name that is none of its settings is an error."""
    known = {name.upper() for name in Settings.__struct_fields__}
    ours = {name: value for name, value in environment.items() if name.startswith("BIDE_")}
    assert {name.removeprefix("BIDE_") for name in ours} <= known
    given = {"WORKER_PASSWORD": "w", "OWNER_PASSWORD": "o"}
    filled = {
        name: re.sub(r"\$\{(\w+):(?:\?|-(.*))\}", lambda match: given.get(match[1]) or match[2], str(value))
        for name, value in ours.items()
    }
    return load({}, filled, Path("nowhere"))


def test_the_dockerfile_copies_what_is_there_and_not_ignored() -> None:
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", "").splitlines()
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [shlex.split(line)[1:-1] for line in lines if line.startswith("COPY ") and "--from" not in line]
    for source in [source for sources in copied for source in sources]:
        assert (ROOT / source).exists()
        assert source.split("/")[0] in kept
    needed = re.findall(r'^(?:readme|license-files) = \[?"([^"]+)"', (ROOT / "pyproject.toml").read_text(), re.M)
    assert {*needed, "src", "pyproject.toml"} <= {source for sources in copied for source in sources}
    (health,) = [line for line in lines if line.startswith("HEALTHCHECK")]
    compile(json.loads(health[health.index("[") :])[-1], "healthcheck", "exec")
    (entry,) = [line for line in lines if line.startswith("ENTRYPOINT")]
    assert json.loads(entry.removeprefix("ENTRYPOINT ")) == ["bide"]  # no shell, which would keep SIGTERM


# --- Helm


def values() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
    return found


def rendered(name: str, **changed: Any) -> dict[str, Any]:
    """A template as Helm renders it; a word that is not known here is an error."""
    given = {**values(), **changed}

    def one(expression: str, item: Any) -> str:
        path, _, pipe = (part.strip() for part in expression.partition("|"))
        if path == ".":
            found = item
        elif path == ".Release.Name":
            found = "workflows"
        else:
            assert path.startswith(".Values."), path
            found = given[path.removeprefix(".Values.")]
        assert pipe in ("", "toJson"), pipe
        return json.dumps(found) if pipe else str(found)

    def fill(text: str, item: Any = None) -> str:
        return re.sub(r"\{\{ (\.[^}]*?) \}\}", lambda match: one(match[1], item), text)

    def each(match: re.Match[str]) -> str:
        return "".join(fill(match[2], item) for item in given[match[1]])

    text = (CHART / "templates" / name).read_text()
    text = re.sub(r"\s*\{\{- range \.Values\.(\w+) \}\}(.*?)\s*\{\{- end \}\}", each, text, flags=re.S)
    found: dict[str, Any] = yaml.safe_load(fill(text))
    return found


def test_the_chart_says_what_it_is() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["apiVersion"], chart["name"], chart["type"]) == ("v2", "bide", "application")
    used = {
        name
        for path in (CHART / "templates").iterdir()
        for name in re.findall(r"\.Values\.(\w+)", path.read_text())
    }
    assert used == values().keys()


def test_pods_leave_the_service_and_then_have_time_to_end() -> None:
    spec = rendered("deployment.yaml")["spec"]
    assert spec["replicas"] == 2
    pod = spec["template"]["spec"]
    (worker,) = pod["containers"]
    drain_s = float(next(each["value"] for each in worker["env"] if each["name"] == "BIDE_DRAIN_S"))
    pause_s = float(worker["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > pause_s + grace_needed(drain_s)
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert worker["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert worker["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_a_pod_has_minutes_to_start_before_it_is_asked_whether_it_lives() -> None:
    """Kubernetes asks no other probe until this one has had an answer."""
    (worker,) = rendered("deployment.yaml")["spec"]["template"]["spec"]["containers"]
    starts, lives, ready = (worker[f"{each}Probe"] for each in ("startup", "liveness", "readiness"))
    assert starts["httpGet"] == lives["httpGet"]
    assert starts["periodSeconds"] * starts["failureThreshold"] >= 300
    assert "initialDelaySeconds" not in lives
    hosts = [probe["httpGet"]["httpHeaders"] for probe in (starts, lives, ready)]
    assert hosts == [[{"name": "Host", "value": "localhost"}]] * 3


def test_workers_are_not_all_taken_away_at_once() -> None:
    budget, deployment = rendered("disruption.yaml"), rendered("deployment.yaml")
    assert budget["spec"]["maxUnavailable"] == 1  # with one replica, nodes can be drained all the same
    assert budget["spec"]["selector"] == deployment["spec"]["selector"]


def test_the_notes_say_how_the_first_key_is_made() -> None:
    notes = (CHART / "templates" / "NOTES.txt").read_text()
    (command,) = re.findall(r"-- (bide .+)$", notes, re.M)
    assert command in PAGE
    assert command in (ROOT / "compose.yaml").read_text()
    assert command in MISSING


def test_pods_know_their_settings() -> None:
    app_s = {"name": "TwilioAuthToken", "valueFrom": {"secretKeyRef": {"name": "twilio", "key": "token"}}}
    (worker,) = rendered("deployment.yaml", env=[app_s, {"name": "A", "value": "b"}])["spec"]["template"]["spec"][
        "containers"
    ]
    by_name = {each["name"]: each for each in worker["env"]}
    assert by_name["TwilioAuthToken"] == app_s
    assert by_name["BIDE_DB"]["valueFrom"] == {"secretKeyRef": {"name": "bide-database", "key": "url"}}
    settings = settings_of({name: each["value"] for name, each in by_name.items() if "value" in each})
    assert settings.allowed_hosts == ("workflows.example.com",)
    assert settings.public_url == "https://workflows.example.com"
    assert worker["resources"] == values()["resources"]


def test_the_service_finds_the_pods() -> None:
    service, deployment = rendered("service.yaml"), rendered("deployment.yaml")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"] == labels
    (worker,) = deployment["spec"]["template"]["spec"]["containers"]
    assert service["spec"]["ports"][0]["targetPort"] == worker["ports"][0]["name"]


def test_migrations_run_before_with_the_owner_s_url() -> None:
    job = rendered("migrate.yaml")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["db", "migrate"]
    assert container["env"][0]["valueFrom"]["secretKeyRef"]["key"] == "ownerUrl"
