"""No value is changed on its way without a word: it arrives as it left, or is refused where it is written."""

import math
from collections.abc import Callable, Iterable
from dataclasses import InitVar, dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any, NamedTuple, Never
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from bide import MisfitError, PayloadError
from bide.core.registry import Signature
from bide.errors import RunawayStep
from bide.model.payload import decoder, encode, schema


@dataclass
class Part:
    ratio: float
    name: str | None = None


class Shape(msgspec.Struct):
    size: float | None
    label: str = ""


class Pair(NamedTuple):
    left: float
    right: float


NAN, INF = math.nan, math.inf

NO_NUMBERS: list[tuple[Any, str]] = [
    (NAN, r"\$ is nan"),
    (-INF, r"\$ is -inf"),
    ({"ratio": NAN, "none": None}, r"\$\.ratio is nan"),
    ([None, 1.5, INF], r"\$\[2\] is inf"),
    ((1.0, (NAN,)), r"\$\[1\]\[0\]"),
    ({INF}, r"\$\[0\]"),
    (Part(NAN), r"\$\.ratio"),
    ({"a": [Part(1.0), Part(INF)]}, r"\$\.a\[1\]\.ratio"),
    (Shape(NAN), r"\$\.size"),
    (Pair(1, NAN), r"\$\[1\]"),
    ({"text": "null", "deep": {"b": {"c": NAN}}}, r"\$\.deep\.b\.c"),
]


@pytest.mark.parametrize(("value", "path"), NO_NUMBERS, ids=str)
def test_numbers_that_json_does_not_have_are_refused_where_they_are_written(value: Any, path: str) -> None:
    with pytest.raises(PayloadError, match=path):
        encode(value)


@pytest.mark.parametrize(
    "value", [[None, "nan", "null"], Part(1.0), Shape(None), {"a": None}, "null", [-0.0, 5e-324]]
)
def test_what_only_looks_like_it_is_written(value: Any) -> None:
    assert decoder(type(value))(encode(value)) == value


ODD = timezone(timedelta(hours=5, minutes=30, seconds=15))


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 1, 1, tzinfo=ODD),
        {"at": [datetime(2026, 1, 1, 1, 2, 3, 4, tzinfo=ODD)]},
        time(1, 2, tzinfo=ODD),
        datetime(1850, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")),
        Part(1.0, datetime(2026, 1, 1, tzinfo=ODD)),  # type: ignore[arg-type]
    ],
)
def test_an_instant_is_never_moved(value: Any) -> None:
    with pytest.raises(PayloadError, match="offset from UTC with seconds"):
        encode(value)


@pytest.mark.parametrize("zone", [UTC, None, timezone(timedelta(hours=-5, minutes=-30)), ZoneInfo("Asia/Kolkata")])
def test_other_offsets_are_kept(zone: Any) -> None:
    moment = datetime(2026, 1, 1, 1, 2, 3, 4, tzinfo=zone)
    assert decoder(datetime)(encode(moment)) == moment
    assert decoder(time)(encode(moment.timetz())).replace(tzinfo=None) == moment.time()


# --- Pydantic

pydantic = pytest.importorskip("pydantic")
alias_generators = pytest.importorskip("pydantic.alias_generators")
Base: Any = pydantic.BaseModel
Field: Any = pydantic.Field
Config: Any = pydantic.ConfigDict


class Alias(Base):
    order_id: int = Field(alias="orderId")


class Generated(Base):
    model_config = Config(alias_generator=alias_generators.to_camel)
    order_id: int


class ValidationAlias(Base):
    order_id: int = Field(validation_alias="orderId")


class Choices(Base):
    order_id: int = Field(validation_alias=pydantic.AliasChoices("orderId", "id"))


class AtPath(Base):
    first: str = Field(validation_alias=pydantic.AliasPath("names", 0))


class WrittenAs(Base):
    order_id: int = Field(serialization_alias="orderId")


class TwoAliases(Base):
    order_id: int = Field(validation_alias="in", serialization_alias="out")
    inner: WrittenAs


class Strict(Base):
    model_config = Config(strict=True)
    at: datetime
    pair: tuple[int, str]
    some: set[int]
    day: date
    amount: Decimal
    span: timedelta
    key: UUID


class Computed(Base):
    model_config = Config(extra="forbid")
    once: int

    @pydantic.computed_field  # type: ignore[untyped-decorator]
    def twice(self) -> int:
        return self.once * 2


class Kept(Base):
    password: pydantic.SecretStr

    @pydantic.field_serializer("password", when_used="json")  # type: ignore[untyped-decorator]
    def plain(self, value: Any) -> str:
        return str(value.get_secret_value())


class Root(pydantic.RootModel[dict[int, list[Alias]]]):  # type: ignore[misc]
    pass


class Ratio(Base):
    model_config = Config(ser_json_inf_nan="strings")
    ratio: float
    none: None = None


class Holder(Base):
    alias: Alias | None
    many: dict[str, Generated]


@dataclass
class Around:
    models: list[Alias]
    one: Strict | None = None


STRICT = Strict(
    at=datetime(2026, 1, 1, tzinfo=UTC),
    pair=(1, "a"),
    some={1, 2},
    day=date(2026, 1, 1),
    amount=Decimal("1.10"),
    span=timedelta(seconds=1),
    key=UUID(int=1),
)

MODELS: list[Any] = [
    Alias(orderId=1),
    Generated(orderId=1),
    ValidationAlias(orderId=1),
    Choices(orderId=1),
    AtPath.model_validate({"names": ["Ada"]}),
    WrittenAs(order_id=1),
    TwoAliases.model_validate({"in": 1, "inner": {"order_id": 2}}),
    STRICT,
    Computed(once=2),
    Kept(password="s3cret-Value"),
    Root({1: [Alias(orderId=1)]}),
    Holder(alias=None, many={"a": Generated(orderId=1)}),
    Ratio(ratio=INF),
    Around([Alias(orderId=1)], STRICT),
]
IDS = [type(model).__name__ for model in MODELS]


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_models_come_back_as_they_left(model: Any) -> None:
    wanted: Any = type(model)
    assert decoder(wanted)(encode(model)) == model
    assert decoder(wanted | None)(encode(model)) == model
    assert decoder(dict[str, list[wanted]])(encode({"a": [model]})) == {"a": [model]}


def test_models_are_written_under_the_names_that_their_schema_shows() -> None:
    assert bytes(encode(Alias(orderId=1))) == b'{"orderId":1}'
    assert b'"orderId"' in bytes(schema(Alias))


class Password(Base):
    password: pydantic.SecretStr


class Key(Base):
    key: pydantic.SecretBytes


class Pin(Base):
    pin: pydantic.Secret[int]


class Blob(Base):
    data: bytes


class Number(Base):
    number: float
    other: int | None = None


class At(Base):
    at: datetime


class Outer(Base):
    inner: list[Password]


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (Password(password="s3cret-Value"), r"Password\.password is a SecretStr"),
        (Key(key=b"s3cret-Value"), r"Key\.key is a SecretBytes"),
        (Pin(pin=5), r"Pin\.pin is a "),
        (Outer(inner=[Password(password="s3cret-Value")]), r"Outer\.inner\[0\]\.password"),
        (Blob(data=b"\xff"), "utf-8"),
        (Number(number=NAN), r"Number\.number is nan"),
        (At(at=datetime(2026, 1, 1, tzinfo=ODD)), r"At\.at has an offset"),
        (pydantic.SecretStr("s3cret-Value"), "SecretStr"),
    ],
    ids=lambda case: type(case).__name__,
)
@pytest.mark.parametrize(
    "wrap", [lambda value: value, lambda value: [value], lambda value: {"a": Part(1.0, value)}]
)
def test_what_a_model_would_lose_is_refused(model: Any, names: str, wrap: Callable[[Any], Any]) -> None:
    with pytest.raises(PayloadError, match=names) as raised:
        encode(wrap(model))
    assert "s3cret" not in str(raised.value)


def test_an_error_without_a_place_has_no_colon_for_it() -> None:
    with pytest.raises(MisfitError, match=r"^Input should be"):
        decoder(Alias)(Raw(b"5"))


# --- the code of types

RAISED: list[Any] = [
    KeyError,
    ZeroDivisionError,
    AttributeError,
    SystemExit,
    KeyboardInterrupt,
    GeneratorExit,
    StopIteration,
    RecursionError,
    ValueError,
    TypeError,
    type("Own", (BaseException,), {}),
]
_raises: list[BaseException] = []


@dataclass
class Raising:
    x: int

    def __post_init__(self) -> None:
        if _raises:
            raise _raises[0]


class RaisingModel(Base):
    x: int

    @pydantic.model_validator(mode="after")  # type: ignore[untyped-decorator]
    def check(self) -> Any:
        if _raises:
            raise _raises[0]
        return self

    @pydantic.model_serializer(mode="wrap")  # type: ignore[untyped-decorator]
    def write(self, handler: Any) -> Any:
        if _raises:
            raise _raises[0]
        return handler(self)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> Any:
        if _raises:
            raise _raises[0]
        return handler(core)


class RaisingStruct(msgspec.Struct):
    x: int

    def __post_init__(self) -> None:
        if _raises:
            raise _raises[0]


class RaisingEnum(Enum):
    A = 1

    @classmethod
    def _missing_(cls, value: object) -> Any:
        if _raises:
            raise _raises[0]


@pytest.fixture(params=RAISED, ids=lambda kind: kind.__name__)
def raising(request: pytest.FixtureRequest) -> Any:
    error = request.param()
    _raises.append(error)
    yield error
    _raises.clear()


@pytest.mark.parametrize("wanted", [Raising, RaisingModel, RaisingStruct])
@pytest.mark.parametrize("inside", [False, True])
def test_whatever_the_code_of_a_type_raises_is_a_value_that_does_not_fit(
    wanted: Any, inside: bool, raising: BaseException
) -> None:
    with pytest.raises(PayloadError):
        decoder(list[wanted] if inside else wanted)(Raw(b'[{"x":1}]' if inside else b'{"x":1}'))


def test_an_enum_may_raise_too(raising: BaseException) -> None:
    with pytest.raises(PayloadError):
        decoder(RaisingEnum)(Raw(b"7"))


def test_writing_and_describing_raise_nothing_else(raising: BaseException) -> None:
    with pytest.raises(PayloadError):
        encode([RaisingModel.model_construct(x=1)])
    schema.cache_clear()
    assert bytes(schema(RaisingModel)) == b"{}"
    schema.cache_clear()


def test_what_stops_the_code_from_outside_goes_through() -> None:
    _raises.append(RunawayStep())
    try:
        with pytest.raises(RunawayStep):
            decoder(Raising)(Raw(b'{"x":1}'))
    finally:
        _raises.clear()


class Untellable(ValueError):
    def __str__(self) -> str:
        raise KeyError


def test_an_error_without_a_text_is_one_too() -> None:
    _raises.append(Untellable())
    try:
        with pytest.raises(PayloadError):
            decoder(Raising)(Raw(b'{"x":1}'))
        with pytest.raises(PayloadError):
            encode(RaisingModel.model_construct(x=1))
    finally:
        _raises.clear()


# --- types that cannot travel


@dataclass
class One:
    x: int


@dataclass
class Two:
    y: int


class Mixed(Enum):
    A = 1
    B = "b"


@dataclass
class Init:
    x: int
    y: InitVar[int] = 3


class Word(StrEnum):
    A = "a"


class Digit(IntEnum):
    A = 1


@dataclass
class Deep:
    next: "Deep | None"
    numbers: dict[str, list[Iterable[int]]]


@pytest.mark.parametrize(
    "wanted",
    [
        One | Two,
        Alias | Generated,
        list[One | Two],
        date | datetime,
        bytes | str,
        Mixed,
        Init,
        Iterable[int],
        Callable[[], int],
        complex,
        dict[int, str],
        dict[Digit, str],
        dict[date, str],
        Deep,
    ],
    ids=str,
)
def test_types_that_cannot_travel_are_refused_when_declared(wanted: Any) -> None:
    def parameter(x: Any) -> None: ...
    def parameters(x: Any, y: int) -> None: ...
    def result() -> Any: ...

    parameter.__annotations__["x"] = parameters.__annotations__["x"] = result.__annotations__["return"] = wanted
    for function in (parameter, parameters, result):
        with pytest.raises(TypeError, match=rf"{function.__name__}: .* cannot travel as JSON.*(Use|Wrap)"):
            Signature(function, skip=0)


@pytest.mark.parametrize(
    ("wanted", "value"),
    [
        (object, {"a": [1]}),
        (list[object], [1, "a"]),
        (object | None, None),
        (dict[Word, int], {Word.A: 1}),
        (dict[Any, int], {"a": 1}),
        (Digit, Digit.A),
        (One | int | None, One(1)),
    ],
    ids=str,
)
def test_these_travel_both_ways(wanted: Any, value: Any) -> None:
    assert decoder(wanted)(encode(value)) == value


def test_a_function_that_never_returns_has_no_type_to_check() -> None:
    def never() -> Never:
        raise SystemExit

    assert Signature(never, skip=0).result is Any


# --- anything that Hypothesis thinks of


@dataclass
class Record:
    number: float
    text: str | None = None
    at: datetime | None = None
    parts: "list[Record]" = field(default_factory=list["Record"])


class Model(Base):
    number: float = Field(alias="theNumber")
    text: str | None
    at: datetime | None
    parts: "list[Model]" = Field(default_factory=list)


zones = st.none() | st.timezones() | st.just(ODD) | st.just(UTC)
records = st.recursive(
    st.builds(Record, st.floats(), st.none() | st.text(), st.none() | st.datetimes(timezones=zones)),
    lambda inner: st.builds(Record, st.floats(), st.none(), st.none(), st.lists(inner, max_size=3)),
    max_leaves=8,
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def _arrives(wanted: Any, value: Any) -> None:
    try:
        text = encode(value)
    except PayloadError:
        return
    arrived = decoder(wanted)(text)
    assert repr(_told_apart(arrived)) == repr(_told_apart(value))  # 1 is not 1.0, and -0.0 is not 0.0


def _told_apart(value: Any) -> Any:
    """Builtins; a moment as what its clock shows and its distance from UTC: zones lose their names."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=None, fold=0), value.utcoffset()
    if isinstance(value, Record | Model):
        return {name: _told_apart(part) for name, part in vars(value).items()}
    if isinstance(value, dict):
        return {name: _told_apart(value[name]) for name in sorted(value)}
    return [_told_apart(part) for part in value] if isinstance(value, list) else value


@settings(max_examples=100, deadline=None)
@given(plain)
def test_plain_values_arrive_or_are_refused(value: Any) -> None:
    _arrives(Any, value)


@settings(max_examples=100, deadline=None)
@given(records)
def test_dataclasses_arrive_or_are_refused(value: Record) -> None:
    _arrives(Record, value)


@settings(max_examples=100, deadline=None)
@given(records)
def test_models_arrive_or_are_refused(value: Record) -> None:
    def model(record: Record) -> Model:
        parts = [model(part) for part in record.parts]
        return Model(theNumber=record.number, text=record.text, at=record.at, parts=parts)

    try:
        made = model(value)
    except ValueError:
        return
    _arrives(Model, made)
