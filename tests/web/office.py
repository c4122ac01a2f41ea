"""An app that shows what there is to be seen: forms, secrets, retries, children, failures, and a long history."""

from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Annotated

from msgspec import Meta

from bide import App, OrchestrationContext, RetryPolicy, Secret, current_call, when_any

app = App()


class Level(Enum):
    LOW = "low"
    HIGH = "high"
    SEVERE = "severe"


@dataclass
class Address:
    street: str
    postcode: Annotated[str, Meta(pattern="^[0-9]{5}$", description="five digits")]


@dataclass
class Decision:
    approved: bool
    amount: Annotated[int, Meta(ge=0, le=5000, description="in euros")]
    level: Level
    comment: str = ""
    notes: list[str] = field(default_factory=list)
    address: Address | None = None
    pin: Secret[str] = ""


@dataclass
class Account:
    owner: str
    password: Secret[str]


@app.activity
async def notify(who: str) -> str:
    return f"told {who}"


@app.activity
async def print_letter(number: int) -> int:
    """Fails twice."""
    if current_call().attempt < 3:
        raise ValueError("the printer is on fire")
    return number


@app.activity
async def pay(amount: int) -> None:
    raise RuntimeError("the ledger is closed")


@app.orchestrator(name="Approval")
async def approval(ctx: OrchestrationContext, who: str) -> bool:
    """Ask for approval, for twelve minutes."""
    await ctx.call_activity(notify, who)
    patience = ctx.create_timer(timedelta(minutes=12))
    answer = ctx.wait_for_external_event("Approval", Decision)
    if await when_any(answer, patience) is patience:
        return False
    patience.cancel()
    return answer.result.approved


@app.orchestrator(name="Open")
async def open_account(ctx: OrchestrationContext, account: Account) -> Account:
    """Wait for a signature, for as long as it takes."""
    await ctx.wait_for_external_event("Signature", str)
    return account


@app.orchestrator(name="Letter")
async def letter(ctx: OrchestrationContext, number: int) -> int:
    patient = RetryPolicy(max_attempts=3, first_interval=timedelta(milliseconds=20))
    return await ctx.with_options(retry=patient).call_activity(print_letter, number)


@app.orchestrator(name="Leaves")
async def leaves(ctx: OrchestrationContext) -> None:
    ctx.with_options(instance_id=f"left-by-{ctx.instance_id}").call_sub_orchestrator("Approval", "Ann")
    raise ValueError("it cannot go on")


@app.orchestrator(name="Letters")
async def letters(ctx: OrchestrationContext, count: int) -> int:
    for number in range(count):
        await ctx.call_sub_orchestrator(letter, number)
    await ctx.wait_for_external_event("Stamp", str)
    return count


@app.orchestrator(name="Payment")
async def payment(ctx: OrchestrationContext, amount: int) -> None:
    await ctx.call_activity(pay, amount)


@app.orchestrator(name="Steps")
async def steps(ctx: OrchestrationContext, count: int) -> int:
    for number in range(count):
        await ctx.call_activity(notify, str(number))
    return count


@app.orchestrator(name="Echo")
async def echo(ctx: OrchestrationContext, value: str = "") -> str:
    return value


@dataclass
class Verdict:
    """Ada spent it on a train."""

    approved: Annotated[bool, Meta(title="Approve this expense?")]
    euros: Annotated[float, Meta(title="How much, in euros", gt=0, lt=1000)] = 1.0


@app.orchestrator(name="AskTheBoardForItsVerdict")
async def ask_the_board(ctx: OrchestrationContext, seconds: int) -> bool:
    """Ask for a verdict for so many seconds, with a reminder after each tenth (0: for as long as it takes)."""
    answer = ctx.wait_for_external_event("Verdict", Verdict)
    if not seconds:
        return (await answer).approved
    end = ctx.create_timer(timedelta(seconds=seconds))
    reminder = ctx.create_timer(timedelta(seconds=seconds / 10))
    while (first := await when_any(answer, reminder, end)) is reminder:
        reminder = ctx.create_timer(timedelta(seconds=seconds / 10))
    if first is end:
        return False
    end.cancel()
    reminder.cancel()
    return answer.result.approved
