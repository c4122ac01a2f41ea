"""Phone verification: send a code by SMS, then wait for the answer or for 90 seconds, whichever comes first.

    bide dev examples/phone_verification/app.py

With `TwilioAccountSid`, `TwilioAuthToken` and `TwilioPhoneNumber` set (environment or bide.toml), the SMS goes
out through Twilio, which tells what became of it if `TwilioStatusCallback` is set; otherwise the SMS goes to a
telephone on this machine, at /dev/phone.

Names are those of the Azure Durable Functions sample of the same purpose.
"""

import asyncio
from datetime import timedelta
from typing import Annotated

from msgspec import Meta

from bide import (
    ActivityCall,
    App,
    Done,
    NotDone,
    OneTimeCode,
    OrchestrationContext,
    Outcome,
    Secret,
    current_call,
    when_any,
)
from bide.config import data_file, setting
from bide.phone import (
    DevPhone,
    SendUnknownError,
    Sms,
    TwilioCarrier,
    carrier_from_settings,
    challenge_text,
    check_number,
    code_from,
    dev_phone_routes,
    normalise_code,
    same_code,
    twilio_status_routes,
)

PhoneNumber = Annotated[str, Meta(title="Phone number", examples=["+12025550123"])]
"""What forms call it, and one to try: out of the range that is kept for fiction."""

NO_CODE = "A code is 4 digits. The last answer was none, and cost no try."

app = App()
carrier = carrier_from_settings(setting, data_file("phone.jsonl"), app.utc_now)
if isinstance(carrier, DevPhone):
    app.mounts += dev_phone_routes(carrier, orchestrator="E4_SmsPhoneVerification", event="SmsChallengeResponse")
elif isinstance(carrier, TwilioCarrier):
    app.mounts += twilio_status_routes(carrier)


def challenge(call: ActivityCall, phone_number: str) -> tuple[str, Sms]:
    """The code of a call, and the SMS that carries it: the same each time the call is repeated."""
    code = code_from(call.derive("sms-challenge"))
    return code, Sms(check_number(phone_number), challenge_text(code))


async def find_sent(call: ActivityCall) -> Outcome:
    """After a crash: was this SMS accepted? The carrier's list may lag, so 'no' takes a few seconds to be sure.

    If it cannot be read, the next look may tell. It counts as unread if the last one cannot.
    """
    code, sms = challenge(call, *call.arguments)
    unread: SendUnknownError | None = None
    for pause_s in (0, 1, 2):
        await asyncio.sleep(pause_s)
        try:
            found, unread = await carrier.find(sms, call.scheduled_at), None
        except SendUnknownError as error:
            found, unread = None, error
        if found is not None:
            return Done(code)
    if unread is not None:
        raise unread
    return NotDone()


@app.activity(
    name="E4_SendSmsChallenge",
    once=True,
    reconcile=find_sent,
    unknown_on=(SendUnknownError,),
    timeout=timedelta(seconds=30),
)
async def send_sms_challenge(phone_number: str) -> Secret[str]:
    """Send a 4-digit code, and return it."""
    code, sms = challenge(current_call(), phone_number)
    await carrier.send(sms)
    return code


@app.orchestrator(name="E4_SmsPhoneVerification")
async def sms_phone_verification(ctx: OrchestrationContext, phone_number: PhoneNumber | None = None) -> bool:
    """True if the right code comes within 90 seconds, at the first try or one of three more.

    What cannot be a code at all is a slip of the fingers, and no try.
    """
    if not phone_number:
        raise ValueError("A phone number input is required.")
    code = await ctx.call_activity(send_sms_challenge, phone_number)
    deadline = ctx.create_timer(timedelta(seconds=90))
    tries_left = 4
    ctx.set_custom_status({"triesLeft": tries_left})
    while tries_left:
        answer = ctx.wait_for_external_event("SmsChallengeResponse", OneTimeCode)
        if await when_any(answer, deadline) is deadline:
            return False
        typed = normalise_code(answer.result)
        if typed is None:
            ctx.set_custom_status({"triesLeft": tries_left, "hint": NO_CODE})
            continue
        if same_code(typed, code):
            deadline.cancel()
            return True
        tries_left -= 1
        ctx.set_custom_status({"triesLeft": tries_left})
    deadline.cancel()
    return False
