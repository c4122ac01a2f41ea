"""Links under which people answer: the same on every replay, whatever changed meanwhile."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bide import App, OrchestrationContext, PayloadError
from bide.testing.harness import Durable
from bide.tokens import ResponseGrant, read


@pytest.fixture
def asker(app: App) -> App:
    @app.activity
    def mail(url: str) -> None: ...

    @app.orchestrator
    async def ask(ctx: OrchestrationContext) -> str:
        url = ctx.response_url("Answer", once=True, valid_for=timedelta(days=3))
        await ctx.call_activity(mail, url)
        return await ctx.wait_for_external_event("Answer", str)

    return app


def grant_in(url: str) -> ResponseGrant:
    base, _, token = url.rpartition("/")
    assert base == "http://127.0.0.1:7071/respond"
    grant = read(bytes(32), token)
    assert isinstance(grant, ResponseGrant)
    return grant


def test_a_link_is_for_one_event_of_one_instance(asker: App, durable: Durable) -> None:
    mail = durable.fake("mail", None)
    began = durable.clock.now()
    instance_id = durable.start("ask")
    ((url,),) = mail.arguments
    grant = grant_in(url)
    assert (grant.instance_id, grant.event, grant.once) == (instance_id, "Answer", True)
    assert grant.expires_at == began + 3 * 86_400_000_000


def test_links_of_one_instance_differ(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def two(ctx: OrchestrationContext) -> list[str]:
        return [ctx.response_url("Answer"), ctx.response_url("Answer")]

    one, other = durable.output(durable.start(two))
    assert grant_in(one).link_id != grant_in(other).link_id


def test_a_link_is_the_same_after_a_crash(asker: App, durable: Durable) -> None:
    mail = durable.hold("mail")
    instance_id = durable.start("ask")
    durable.crash()
    (first,), (second,) = mail.arguments
    assert first == second
    mail.finish()
    durable.raise_event(instance_id, "Answer", "yes")
    assert durable.output(instance_id) == "yes"
    durable.replay_all()


def test_another_event_no_longer_fits_the_history(asker: App, durable: Durable) -> None:
    durable.fake("mail", None)
    instance_id = durable.start("ask")
    changed = App()

    @changed.orchestrator
    async def ask(ctx: OrchestrationContext) -> str:
        ctx.response_url("Question")
        return ""

    durable.deploy(changed)
    durable.raise_event(instance_id, "Answer", "yes")
    assert "no longer fits" in (durable.status(instance_id).held or "")


def test_a_name_that_cannot_be_fails_the_orchestrator(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def wrong(ctx: OrchestrationContext) -> str:
        try:
            return ctx.response_url("")
        except PayloadError as error:
            return str(error)

    assert "1 to 200" in durable.output(durable.start(wrong))
