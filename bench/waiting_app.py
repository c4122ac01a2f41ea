"""What bench/waiting.py serves: a verification that waits for a day."""

from datetime import timedelta

from bide import App, OrchestrationContext, when_any

app = App()


@app.activity
async def send_code(number: str) -> str:
    return "0042"


@app.orchestrator(name="verify")
async def verify(ctx: OrchestrationContext, number: str) -> bool:
    code = await ctx.call_activity(send_code, number)
    deadline = ctx.create_timer(timedelta(days=1))
    answer = ctx.wait_for_external_event("Answer", str)
    await when_any(answer, deadline)
    return answer.is_completed and answer.result == code
