"""Python values to JSON and back, and the arguments of functions (G8)."""

import enum
from collections.abc import Awaitable, Callable, Coroutine, Generator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal, TypedDict
from uuid import UUID

import msgspec
import pytest
from msgspec import Raw

from bide import PayloadError, Secret
from bide.core.registry import Signature
from bide.model.payload import MAX_DEPTH, decoder, encode, holds_secret, schema


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Address:
    street: str
    number: int = 1


class Order(TypedDict):
    to: Address
    items: list[str]


class Point(msgspec.Struct):
    x: int


VALUES: list[tuple[Any, Any, bytes]] = [
    (None, None, b"null"),
    (int, 5, b"5"),
    (int, 2**70, b"1180591620717411303424"),
    (str, "\u0000 ü 🙂", '"\\u0000 ü 🙂"'.encode()),
    (Colour, Colour.RED, b'"red"'),
    (Address, Address("Elm"), b'{"street":"Elm","number":1}'),
    (Order, Order(to=Address("Elm"), items=["a"]), b'{"items":["a"],"to":{"street":"Elm","number":1}}'),
    (Point, Point(3), b'{"x":3}'),
    (datetime, datetime(2026, 1, 1, tzinfo=UTC), b'"2026-01-01T00:00:00Z"'),
    (date, date(2026, 1, 1), b'"2026-01-01"'),
    (timedelta, timedelta(minutes=1), b'"PT60S"'),
    (UUID, UUID(int=1), b'"00000000-0000-0000-0000-000000000001"'),
    (tuple[int, str], (1, "a"), b'[1,"a"]'),
    (int | str, "a", b'"a"'),
    (Literal["a", "b"], "b", b'"b"'),
    (Address | None, None, b"null"),
    (bytes, b"ab", b'"YWI="'),
]


@pytest.mark.parametrize(("wanted", "value", "text"), VALUES, ids=[str(case[0]) for case in VALUES])
def test_values_are_written_and_read_back(wanted: Any, value: Any, text: bytes) -> None:
    assert bytes(encode(value)) == text
    assert decoder(wanted)(Raw(text)) == value


def test_pydantic_models_travel_like_others() -> None:
    pydantic = pytest.importorskip("pydantic")
    model = pydantic.create_model("Model", name=(str, ...), age=(int, 7))
    text = encode([model(name="Ada")])
    assert bytes(text) == b'[{"age":7,"name":"Ada"}]'
    assert decoder(list[model])(text) == [model(name="Ada")]  # type: ignore[valid-type]
    assert b'"name"' in bytes(schema(model))
    with pytest.raises(PayloadError, match=r"age: .*valid integer.* - at `\$\[0\]`") as raised:
        decoder(list[model])(Raw(b'[{"name":"Ada","age":"secret"}]'))  # type: ignore[valid-type]
    assert "secret" not in str(raised.value)


def test_writing_is_the_same_in_every_process() -> None:
    assert bytes(encode({"b": 1, "a": {"d", "c"}})) == b'{"a":["c","d"],"b":1}'


def test_json_text_is_taken_as_it_is() -> None:
    assert bytes(encode(Raw(b'{"b": 1, "a": 1.50}'))) == b'{"b": 1, "a": 1.50}'
    assert bytes(encode([Raw(b'"2026-01-01T00:00:00+01:00"')])) == b'["2026-01-01T00:00:00+01:00"]'


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("text", [b"[", b"nul", b"NaN", b"1 2", b"\xff", b'"\xff"', b'"\\ud800"'])
def test_what_says_to_be_json_is_looked_at(text: bytes, inside: bool) -> None:
    with pytest.raises(PayloadError, match="cannot be sent as JSON"):
        encode([Raw(text)] if inside else Raw(text))


class Unwritable:
    pass


@pytest.mark.parametrize("value", [Unwritable(), {"a": Unwritable()}, {(1, 2): 3}, "\ud800", print])
def test_what_is_no_json_is_refused(value: Any) -> None:
    with pytest.raises(PayloadError, match="cannot be sent as JSON"):
        encode(value)


def test_what_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(PayloadError):
        encode(endless)


@pytest.mark.parametrize(
    ("wanted", "text", "path"),
    [
        (Address, b'{"street":"secret words","number":"secret"}', r"\$\.number"),
        (Order, b'{"to":{"street":5},"items":[]}', r"\$\.to\.street"),
        (list[int], b'[1,"secret"]', r"\$\[1\]"),
        (int, b'"secret"', "Expected `int`, got `str`"),
        (Colour, b'"secret"', "Invalid enum value"),
        (list[int], b"[1,", "truncated"),
    ],
)
def test_errors_name_the_path(wanted: Any, text: bytes, path: str) -> None:
    with pytest.raises(PayloadError, match=path):
        decoder(wanted)(Raw(text))


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (int, b'"secret"'),
        (list[int], b'["secret"]'),
        (datetime, b'"secret"'),
        (Colour, b'"secret"'),
        (Literal["a"], b'"secret - at `"'),
    ],
)
def test_errors_do_not_repeat_values(wanted: Any, text: bytes) -> None:
    with pytest.raises(PayloadError) as raised:
        decoder(wanted)(Raw(text))
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("depth", [100, 100_000])
def test_deep_nesting_is_read_or_refused_but_never_breaks(depth: int) -> None:
    text = Raw(b"[" * depth + b"]" * depth)
    try:
        decoder(Any)(text)
    except PayloadError:
        assert depth > 1_000


def test_types_have_a_schema_and_those_that_have_none_take_anything() -> None:
    assert bytes(schema(int)) == b'{"type":"integer"}'
    assert bytes(schema(Any)) == b"{}"
    assert b"minimum" in bytes(schema(Annotated[int, msgspec.Meta(ge=0)]))
    assert bytes(schema(Unwritable)) == b"{}"


# --- the arguments of a function


def none() -> None: ...
def one(a: int) -> None: ...
def one_default(a: int = 7) -> None: ...
def one_optional(a: int | None = None) -> None: ...
def one_nullable(limit: int | None = 10) -> None: ...
def one_named(*, limit=10) -> None: ...  # type: ignore[no-untyped-def]
def two(a: int, b: str = "x") -> None: ...
def named(a: int, *, b: str) -> None: ...
def bare(a, b=2): ...  # type: ignore[no-untyped-def]
def data(order: Order) -> None: ...


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "text", "decoded"),
    [
        (none, (), {}, b"null", ()),
        (one, (5,), {}, b"5", (5,)),
        (one, (), {"a": 5}, b"5", (5,)),
        (one_default, (), {}, b"null", ()),
        (one_default, (5,), {}, b"5", (5,)),
        (one_optional, (None,), {}, b"null", (None,)),
        (one_nullable, (), {}, b"10", (10,)),
        (one_nullable, (None,), {}, b"null", (None,)),
        (one_nullable, (), {"limit": None}, b"null", (None,)),
        (one_named, (), {"limit": None}, b"null", (None,)),
        (one_named, (), {}, b"10", (10,)),
        (two, (1,), {}, b'{"a":1}', (1, "x")),
        (two, (1, "y"), {}, b'{"a":1,"b":"y"}', (1, "y")),
        (two, (), {"b": "y", "a": 1}, b'{"a":1,"b":"y"}', (1, "y")),
        (named, (1,), {"b": "y"}, b'{"a":1,"b":"y"}', (1, "y")),
        (bare, (1, {"z": 1}), {}, b'{"a":1,"b":{"z":1}}', (1, {"z": 1})),
        (data, ({"to": {"street": "E"}, "items": []},), {}, b'{"items":[],"to":{"street":"E"}}', None),
    ],
)
def test_arguments_travel(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], text: bytes, decoded: Any
) -> None:
    signature = Signature(function, skip=0)
    assert bytes(signature.encode(args, kwargs)) == text
    wanted = ({"to": Address("E"), "items": []},) if decoded is None else decoded
    assert signature.decode(Raw(text)) == wanted


def test_parameters_that_must_be_named_are() -> None:
    def function(a: int, b: int = 2, *, c: int, d: int = 4) -> list[int]:
        return [a, b, c, d]

    signature = Signature(function, skip=0)
    assert signature.call(function, signature.decode(Raw(b'{"a":1,"c":3}'))) == [1, 2, 3, 4]


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), ((1, "x", 2), {}), ((1,), {"c": 1}), ((1,), {"a": 1})])
def test_a_wrong_call_is_refused_as_python_would(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="argument"):
        Signature(two, skip=0).encode(args, kwargs)


@pytest.mark.parametrize("text", [b"null", b"{}", b'{"a":"x"}', b'{"a":1,"c":2}', b"[1]", b"5"])
def test_arguments_that_do_not_fit_are_refused(text: bytes) -> None:
    with pytest.raises(PayloadError):
        Signature(two, skip=0).decode(Raw(text))


def test_none_is_refused_where_it_would_mean_the_default() -> None:
    for call in ((None,), {}), ((), {"a": None}):
        with pytest.raises(PayloadError, match="None does not fit a"):
            Signature(one_default, skip=0).encode(*call)


def test_a_default_beside_none_must_travel() -> None:
    def function(a: Any = Unwritable()) -> None: ...  # noqa: B008

    with pytest.raises(TypeError, match="default of"):
        Signature(function, skip=0)


def test_a_missing_single_argument_is_refused() -> None:
    with pytest.raises(PayloadError):
        Signature(one, skip=0).decode(Raw(b"null"))


def test_open_ended_parameters_cannot_travel() -> None:
    def many(*numbers: int) -> None: ...
    def options(**settings: int) -> None: ...

    for function in (many, options):
        with pytest.raises(TypeError, match="cannot travel as JSON"):
            Signature(function, skip=0)


def test_the_type_of_the_result_is_found_behind_the_coroutine() -> None:
    async def coroutine() -> int: ...  # type: ignore[empty-body]
    def awaitable() -> Awaitable[int]: ...  # type: ignore[empty-body]
    def wrapped() -> Coroutine[Any, Any, int]: ...  # type: ignore[empty-body]
    def plain() -> int: ...  # type: ignore[empty-body]
    def generator() -> Generator[Any, Any, int]:
        yield
        return 1

    assert all(Signature(f, skip=0).result is int for f in (coroutine, awaitable, wrapped, plain, generator))
    assert Signature(bare, skip=0).result is Any


def test_fields_may_have_any_default() -> None:
    def function(a: int, tags: list[str] = [], more: dict[str, int] = {"x": 1}) -> None: ...  # noqa: B006

    signature = Signature(function, skip=0)
    assert signature.decode(Raw(b'{"a":1}')) == (1, [], {"x": 1})


def test_a_parameter_with_a_default_may_be_left_out_by_whoever_reads_its_schema() -> None:
    def echo(value: int = 0) -> int:
        return value

    def strict(value: int) -> int:
        return value

    optional, needed = (msgspec.json.decode(Signature(each, skip=0).input_schema) for each in (echo, strict))
    assert {each["type"] for each in optional["anyOf"]} == {"integer", "null"}
    assert needed["type"] == "integer"


def test_what_is_too_deep_to_be_read_everywhere_is_refused_where_it_is_written() -> None:
    def nested(depth: int) -> Any:
        found: Any = 1
        for _ in range(depth):
            found = [found]
        return found

    assert decoder(Any)(encode(nested(MAX_DEPTH))) == nested(MAX_DEPTH)
    assert encode("[" * 1000), "within a text there is no depth"
    for deeper in (nested(MAX_DEPTH + 1), Raw(b"[" * 201 + b"]" * 201)):
        with pytest.raises(PayloadError, match="up to 200 lists and objects within each other"):
            encode(deeper)


def test_a_value_may_be_as_deep_as_it_likes_to_be_searched_for_secrets() -> None:
    class Hidden(msgspec.Struct):
        code: Secret[str]

    class Odd(list[object]):
        def __iter__(self) -> Any:
            raise KeyError("its own")

    itself: list[object] = []
    itself.append(itself)
    deep: object = Hidden("1234")
    for _ in range(10_000):
        deep = [deep, {"x": 1}]
    assert holds_secret(deep)
    assert holds_secret({"x": Odd([Hidden("1234")])})
    assert not holds_secret([itself, "x"])
