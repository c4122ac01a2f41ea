"""Who is let in, as whom, and what each may do."""

from __future__ import annotations

from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from bide import Settings
from bide.access.keys import KeyRing, Role
from bide.errors import InvalidTokenError
from bide.http.gate.auth import VERBS, Caller, Gate, grant_expired, is_open
from bide.model.clock import SECOND, to_datetime
from bide.model.instance import Instance, RuntimeStatus
from bide.model.tokens import InstanceGrant, ResponseGrant, sign
from bide.testing.clock import ManualClock
from tests.machine import ManualMachine

SECRET = bytes(range(32))
NOW = 1_763_880_000 * SECOND
DAY = 86_400 * SECOND
CLOSED = Settings(host="0.0.0.0")
OPEN = Settings()
GRANT = InstanceGrant("a", "b1", ("status", "raiseEvent", "purge"), 7.0)
TOKEN = sign(SECRET, GRANT)


@pytest.fixture
def ring() -> KeyRing:
    return KeyRing(None)


def request(query: str = "", client: tuple[str, int] | None = ("127.0.0.1", 5000), **headers: str) -> Request:
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "query_string": query.encode(),
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        "client": client,
    }
    return Request(scope)


def gate(ring: KeyRing, settings: Settings = CLOSED) -> Gate:
    return Gate(ring, SECRET, settings, ManualClock(to_datetime(NOW)))


def lets_in(gate: Gate, sent: Request) -> bool:
    """Whether the caller is known; who is not is told how to be."""
    try:
        gate.identify(sent)
    except HTTPException as error:
        refusal = (error.status_code, error.headers)
    else:
        return True
    assert refusal == (401, {"WWW-Authenticate": "Bearer"})
    return False


# --- showing a key


@pytest.mark.parametrize("settings", [OPEN, CLOSED], ids=["open", "closed"])
@pytest.mark.parametrize("place", ["code", "CODE", "x_functions_key", "bearer", "BEARER"])
def test_a_key_is_taken_from_each_place(ring: KeyRing, place: str, settings: Settings) -> None:
    key = ring.create("ci", Role.OPERATOR, NOW)
    match place:
        case "code" | "CODE":
            sent = request(f"a=b&{place}={key}")
        case "x_functions_key":
            sent = request(x_functions_key=key)
        case scheme:
            sent = request(authorization=f"{scheme} {key}")
    (known,) = ring.list()
    assert gate(ring, settings).identify(sent) == Caller("ci", Role.OPERATOR, "127.0.0.1", key=known)


def test_the_same_key_in_several_places_is_one_key(ring: KeyRing) -> None:
    key = ring.create("ci", Role.OPERATOR, NOW)
    sent = request(f"code={key}&Code={key}", x_functions_key=key, authorization=f"Bearer {key}")
    assert gate(ring).identify(sent).name == "ci"


@pytest.mark.parametrize("settings", [OPEN, CLOSED], ids=["open", "closed"])
def test_keys_that_differ_are_refused(ring: KeyRing, settings: Settings) -> None:
    one, other = ring.create("one", Role.VIEWER, NOW), ring.create("other", Role.ADMIN, NOW)
    for sent in (
        request(f"code={one}&code={other}"),
        request(f"code={one}&CODE={other}"),
        request(f"code={one}", x_functions_key=other),
        request(f"code={one}", authorization=f"Bearer {other}"),
        request(f"code={TOKEN}", x_functions_key=other),
        request("code=XXX", x_functions_key=other),
    ):
        assert not lets_in(gate(ring, settings), sent)


def test_without_a_valid_key_nobody_is_let_in(ring: KeyRing) -> None:
    key = ring.create("ci", Role.ADMIN, NOW, expires_at=NOW)
    for query in (
        "",
        "code=",
        "code=XXX",
        f"code={key}",
        f"code={key}x",
        "code=local",
        "code=%ff",
        "code=bide.a.b",
    ):
        assert not lets_in(gate(ring), request(query))
    assert not lets_in(gate(ring), request(authorization=f"Basic {key}"))
    assert not lets_in(gate(ring), request(client=None))


def test_a_revoked_key_is_refused_at_once(ring: KeyRing) -> None:
    key = ring.create("ci", Role.ADMIN, NOW)
    door = gate(ring)
    assert lets_in(door, request(f"code={key}"))
    ring.revoke("ci")
    assert not lets_in(door, request(f"code={key}"))


def test_a_caller_counts_as_long_as_its_key(ring: KeyRing) -> None:
    for name in ("kept", "revoked", "rotated", "over"):
        ring.create(name, Role.VIEWER, NOW - SECOND, NOW if name == "over" else None)
    kept, revoked, rotated, over = (Caller(each.name, each.role, "", key=each) for each in ring.list())
    ring.revoke("revoked")
    ring.rotate("rotated", NOW, timedelta(0))
    ring.rotate("kept", NOW, timedelta(seconds=1))
    door = gate(ring)
    for stays in (kept, Caller("local", Role.ADMIN, ""), door.identify(request(f"code={TOKEN}"))):
        door.check(stays)
    for gone in (revoked, rotated, over):
        with pytest.raises(HTTPException) as caught:
            door.check(gone)
        assert caught.value.status_code == 401


def test_no_refusal_repeats_what_was_shown(ring: KeyRing) -> None:
    for shown in (
        "a-secret-guess",
        "bide.a-secret-guess.x",
        sign(SECRET, ResponseGrant("a", "b1", 0, "E", 1, NOW, "0.1")),
    ):
        with pytest.raises(HTTPException) as caught:
            gate(ring).identify(request(f"code={shown}"))
        assert shown not in str(caught.value)


# --- without a key


@pytest.mark.parametrize(
    ("settings", "opened"),
    [
        (Settings(), True),
        (Settings(host="localhost"), True),
        (Settings(host="::1"), True),
        (Settings(host="127.8.9.1"), True),
        (Settings(host="0.0.0.0"), False),
        (Settings(host="::"), False),
        (Settings(host="192.168.1.2"), False),
        (Settings(host="example.test"), False),
        (Settings(require_key=True), False),
        (Settings(allowed_hosts=("example.test",)), False),
    ],
)
def test_only_a_server_for_this_machine_takes_callers_without_a_key(
    ring: KeyRing, settings: Settings, opened: bool
) -> None:
    assert is_open(settings) is opened
    assert lets_in(gate(ring, settings), request()) is opened


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", None])
def test_a_caller_on_this_machine_is_local(ring: KeyRing, address: str | None) -> None:
    client = None if address is None else (address, 1)
    assert gate(ring, OPEN).identify(request(client=client)) == Caller("local", Role.ADMIN, address or "")


@pytest.mark.parametrize(
    "address", ["10.0.0.7", "::ffff:10.0.0.7", "2001:db8::1", "localhost", "127.0.0.1.evil", ""]
)
def test_a_caller_from_elsewhere_needs_a_key_even_so(ring: KeyRing, address: str) -> None:
    """As it is when a proxy on this machine says for whom it asks."""
    assert not lets_in(gate(ring, OPEN), request(client=(address, 1)))
    key = ring.create("ci", Role.VIEWER, NOW)
    assert gate(ring, OPEN).identify(request(f"code={key}", client=(address, 1))).name == "ci"


def test_what_a_client_of_azure_brings_along_is_ignored(ring: KeyRing) -> None:
    for sent in (
        request("code=XXX"),
        request("code="),
        request(x_functions_key="abc=="),
        request(authorization="Basic x"),
    ):
        assert gate(ring, OPEN).identify(sent).name == "local"


def test_a_broken_token_is_not_ignored(ring: KeyRing) -> None:
    for shown in (TOKEN[:-1] + "!", "bide.a.b", "a.b", "."):
        assert not lets_in(gate(ring, OPEN), request(f"code={shown}"))


# --- tokens


@pytest.mark.parametrize("settings", [OPEN, CLOSED], ids=["open", "closed"])
def test_a_token_does_its_verbs_on_its_instance_and_nothing_else(ring: KeyRing, settings: Settings) -> None:
    door = gate(ring, settings)
    caller = door.identify(request(f"code={TOKEN}"))
    assert (caller.name, caller.grant) == ("token", GRANT)
    for verb, instance_id in product(VERBS, ("a", "b", "A", "", None)):
        allowed = verb in GRANT.verbs and instance_id == "a"
        assert caller.may(verb, instance_id) is allowed
        if allowed:
            door.require(caller, verb, instance_id)
        else:
            with pytest.raises(HTTPException) as caught:
                door.require(caller, verb, instance_id)
            assert caught.value.status_code == 403
            assert caught.value.detail.startswith("This token is for one instance, and good for ")


def test_a_token_of_another_hub_is_refused(ring: KeyRing) -> None:
    assert not lets_in(gate(ring), request(f"code={sign(bytes(32), GRANT)}"))


def test_a_response_link_is_no_key(ring: KeyRing) -> None:
    link = sign(SECRET, ResponseGrant("a", "b1", 0, "Answer", 1, NOW, "0.1"))
    for settings in (OPEN, CLOSED):
        assert not lets_in(gate(ring, settings), request(f"code={link}"))


def test_a_response_link_is_good_until_it_expires(ring: KeyRing) -> None:
    door = gate(ring)
    good = ResponseGrant("a", "b1", 0, "Answer", 1, NOW, "0.1", NOW + 1)
    assert door.response_grant(sign(SECRET, good)) == good
    for bad in (
        sign(SECRET, ResponseGrant("a", "b1", 0, "Answer", 1, NOW, "0.1", NOW)),
        sign(bytes(32), good),
        TOKEN,
        "",
    ):
        with pytest.raises(InvalidTokenError):
            door.response_grant(bad)


@pytest.mark.parametrize("by", [2, 3_600, -3_600, 315_360_000, -315_360_000])
def test_a_wrong_reading_of_the_clock_neither_ends_nor_revives_a_key_or_a_link(ring: KeyRing, by: int) -> None:
    machine = ManualMachine()
    now = machine.now()
    door = Gate(ring, SECRET, CLOSED, machine)
    good, over = (
        sign(SECRET, ResponseGrant("a", "b1", 0, "Answer", 1, NOW, "0.1", now + at)) for at in (SECOND, -SECOND)
    )
    key = ring.create("good", Role.ADMIN, now, expires_at=now + SECOND)
    old = ring.create("old", Role.ADMIN, now, expires_at=now - SECOND)
    machine.advance(timedelta(microseconds=SECOND // 2))
    machine.off = by * SECOND
    assert door.response_grant(good)
    assert lets_in(door, request(f"code={key}"))
    assert not lets_in(door, request(f"code={old}"))
    with pytest.raises(InvalidTokenError):
        door.response_grant(over)
    assert machine.readings > 1, "it was read wrong"


@pytest.mark.parametrize(
    ("status", "days", "ago", "expired"),
    [
        (RuntimeStatus.RUNNING, 0.0, 1000 * DAY, False),
        (RuntimeStatus.SUSPENDED, 7.0, 1000 * DAY, False),
        (RuntimeStatus.COMPLETED, 7.0, 7 * DAY - 1, False),
        (RuntimeStatus.COMPLETED, 7.0, 7 * DAY, True),
        (RuntimeStatus.FAILED, 0.5, DAY // 2, True),
        (RuntimeStatus.TERMINATED, 0.0, 0, True),
        (RuntimeStatus.TERMINATED, 1.0, -DAY, False),
    ],
)
def test_a_token_counts_until_days_after_the_end(
    status: RuntimeStatus, days: float, ago: int, expired: bool
) -> None:
    instance = Instance("a", "Approve", status, NOW - 10_000 * DAY, NOW - ago)
    assert grant_expired(InstanceGrant("a", "b1", ("status",), days), instance, NOW) is expired


# --- roles


READS = {"list", "status", "history", "waits", "events", "counts", "orchestrators", "activities"}
READS |= {"hub", "metrics", "timers", "failures", "workers"}
ACTS = {"start", "raiseEvent", "terminate", "suspend", "resume", "rewind", "restart", "responseLink"}
RULES = {"purge", "audit", "makeprimary"}


def test_each_role_may_what_the_documents_say(ring: KeyRing) -> None:
    may = {Role.VIEWER: READS, Role.OPERATOR: READS | ACTS, Role.ADMIN: READS | ACTS | RULES}
    assert set(VERBS) == may[Role.ADMIN]
    door = gate(ring)
    for role, verb, instance_id in product(Role, VERBS, ("a", None)):
        caller = Caller("x", role, "")
        assert caller.may(verb, instance_id) is (verb in may[role])
        if verb in may[role]:
            door.require(caller, verb, instance_id)
        else:
            with pytest.raises(HTTPException) as caught:
                door.require(caller, verb, instance_id)
            assert caught.value.status_code == 403
            assert VERBS[verb] in caught.value.detail
