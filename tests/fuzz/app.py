"""An app of many types, for the fuzzer."""

from __future__ import annotations

from datetime import timedelta
from enum import Enum
from typing import Annotated, Any

from msgspec import Meta, Struct
from pydantic import BaseModel, ConfigDict

from bide import App, OrchestrationContext

app = App()


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


class Order(Struct):
    items: list[str]
    size: Size
    price: Annotated[float, Meta(ge=0)] = 0.0
    note: str | None = None


class Strict(BaseModel):
    """Takes what its schema says: by itself a Pydantic model also takes false as 0."""

    model_config = ConfigDict(strict=True)


class Address(Strict):
    street: str
    number: int | None = None


class Person(Strict):
    name: str
    homes: list[Address] = []


@app.orchestrator
async def echo(ctx: OrchestrationContext, value: Any = None) -> Any:
    return value


@app.orchestrator
async def approve(ctx: OrchestrationContext, order: Order) -> bool:
    return await ctx.wait_for_external_event("Approval", bool, timeout=timedelta(hours=1))


@app.orchestrator
async def move(ctx: OrchestrationContext, person: Person) -> Person:
    return person


@app.orchestrator
async def add(ctx: OrchestrationContext, first: int, second: int = 2) -> int:
    return first + second
