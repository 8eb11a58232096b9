"""The codec: what comes back is what went in, across releases, and the rest is refused."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Literal, Optional, Union
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond.core.annotations import describe
from millpond.core.codec import Codec
from millpond.core.entry import HEAD_SIZE, LARGEST_PAYLOAD, Unreadable, pack_value
from millpond.errors import CodecError, ConfigError
from tests.support.samples import (
    NOON,
    ROUND_TRIPS,
    SHOP,
    Address,
    Colour,
    Foreign,
    Order,
    Owner,
    Pair,
    Product,
    Shop,
    User,
)


@pytest.mark.parametrize(("annotation", "value"), ROUND_TRIPS)
def test_a_value_comes_back_equal_and_of_the_same_class(annotation: Any, value: Any) -> None:
    codec = Codec(annotation)
    again = codec.decode(codec.encode(value))
    assert again == value
    if not isinstance(value, OrderedDict):
        assert type(again) is type(value)


def test_a_pydantic_model_comes_back_whole_not_by_alias() -> None:
    codec = Codec(Shop)
    payload = codec.encode(SHOP)
    again = codec.decode(payload)
    assert b"full_name" in payload
    assert b"label" not in payload
    assert again.owner == Owner(id=1, born=date(1990, 1, 1))
    assert again.label == "Ärmel & Söhne!"
    assert again.settings == {"b": 2}


def test_a_none_is_encodable_only_where_the_type_has_it() -> None:
    with pytest.raises(CodecError, match=r"NoneType cannot be kept in a cache of type=User:"):
        Codec(User).encode(None)


# Two releases of one program: the same name, other fields.


def release_struct(fields: list[Any], **options: Any) -> Any:
    return msgspec.defstruct("Account", fields, **options)


RELEASES: list[tuple[str, Any, Any]] = [
    (
        "struct",
        release_struct([("id", int)]),
        release_struct([("id", int), ("plan", str, "free")]),
    ),
    (
        "array",
        release_struct([("id", int)], array_like=True),
        release_struct([("id", int), ("plan", str, "free")], array_like=True),
    ),
    (
        "attrs",
        attrs.make_class("Account", {"id": attrs.field(type=int)}),
        attrs.make_class(
            "Account", {"id": attrs.field(type=int), "plan": attrs.field(type=str, default="free")}
        ),
    ),
    (
        "pydantic",
        pydantic.create_model("Account", id=(int, ...)),
        pydantic.create_model("Account", id=(int, ...), plan=(str, "free")),
    ),
]


@pytest.mark.parametrize(
    ("older", "newer"), [r[1:] for r in RELEASES], ids=[r[0] for r in RELEASES]
)
def test_a_field_with_a_default_may_be_added_and_removed(older: Any, newer: Any) -> None:
    old, new = Codec(older), Codec(newer)
    assert old.prefix == new.prefix
    assert new.decode(old.encode(older(id=1))) == newer(id=1, plan="free")
    assert old.decode(new.encode(newer(id=1, plan="pro"))) == older(id=1)


def test_a_field_without_a_default_makes_older_entries_unreadable() -> None:
    old = Codec(release_struct([("id", int)]))
    new = Codec(release_struct([("id", int), ("plan", str)]))
    with pytest.raises(Unreadable, match="Account: Object missing required field `plan`"):
        new.decode(old.encode(release_struct([("id", int)])(id=1)))


def test_the_fingerprint_is_of_names_alone() -> None:
    assert Codec(User | None).fingerprint == Codec(Optional[User]).fingerprint  # noqa: UP045
    assert Codec(int | User).fingerprint == Codec(Union[User, int]).fingerprint  # noqa: UP007
    assert Codec(User).fingerprint == Codec(Annotated[User, "any note"]).fingerprint
    others = {Codec(each).fingerprint for each in (User, list[User], User | None, Order, Any, dict)}
    assert len(others) == 6
    assert Codec(User, 1).fingerprint == Codec(User, 2).fingerprint
    assert Codec(User, 1).prefix != Codec(User, 2).prefix


def test_the_fingerprint_is_the_same_in_every_process() -> None:
    script = (
        "from millpond.core.codec import Codec; import uuid, typing;"
        "print(Codec(dict[str, list[uuid.UUID] | typing.Literal['b', 'a'] | None]).fingerprint)"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", script],
            check=True,
            timeout=60,
            capture_output=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        ).stdout
        for seed in ("1", "2")
    }
    here = Codec(dict[str, list[UUID] | Literal["b", "a"] | None]).fingerprint
    assert seen == {f"{here}\n".encode()}


# What must be refused.


@pytest.mark.parametrize(
    ("annotation", "value", "part"),
    [
        (User, Foreign(), "type Foreign cannot be kept in a cache of type=User: "),
        (User, {"id": "x"}, "Expected `int`, got `str`"),
        (User, User("1", "Ada"), "Expected `int`, got `str` - at `$.id`"),  # pyright: ignore[reportArgumentType]
        (Order, Order(1, "secret"), "at `$.placed`"),  # pyright: ignore[reportArgumentType]
        (int, "secret", "Expected `int`, got `str`"),
        (Colour, "secret", "Invalid enum value '...'"),
        (int, 2**64, "2**64"),
        (str, "secret\ud800", "UnicodeEncodeError"),
        (Shop, Owner(id=5), "Shop refuses it (uuid_type at id)"),
        (Owner, Owner.model_construct(id="secret"), "Owner refuses it (int_parsing at id)"),
        (list[Owner], [Owner(id=1), Foreign()], "objects of type Foreign cannot be stored"),
        (User, User, "objects of type StructMeta cannot be stored"),
        (Owner, Owner, "cannot be stored"),
        (Any, Foreign(), "objects of type Foreign cannot be stored"),
        (Any, User(1, "secret"), "a User inside would not come back as one"),
        (Any, [Owner(id=5)], "a Owner inside would not come back as one"),
        (Any, {"a": (1, 2)}, "a tuple inside"),
        (Any, {"a": {1, 2}}, "a set inside"),
        (Any, UUID(int=1), "a UUID inside"),
        (Any, datetime(2025, 1, 1), "a datetime inside"),  # noqa: DTZ001
        (Any, {(1, 2): UUID(int=1)}, "a UUID inside"),
        (Any, {UUID(int=1): 1}, "a UUID inside"),
        (pydantic.RootModel[dict[str, int]], {"secret": 1}, "RootModel[dict[str, int]]"),
    ],
)
def test_what_would_not_come_back_is_refused_when_it_is_stored(
    annotation: Any, value: Any, part: str
) -> None:
    with pytest.raises(CodecError) as refused:
        Codec(annotation).encode(value)
    text = str(refused.value)
    assert part in text
    assert f"type={describe(annotation)}" in text
    assert "secret" not in text
    assert "type=" in text.rpartition(";")[2]


class Admin(User):
    """A user with more to him, which a reader of users does not know."""

    rights: str = "all"


@pytest.mark.parametrize(
    ("annotation", "value", "part"),
    [
        (User, {"id": 1, "name": "secret"}, "a dict would come back as a User"),
        (User, Admin(1, "secret"), "a Admin would come back as a User"),
        (User, User(1, "Ada", {"city": "secret"}), "a dict would come back as a Address"),  # pyright: ignore[reportArgumentType]
        (list[User], [User(1, "Ada"), {"id": 1, "name": "secret"}], "a dict would come back as"),
        (dict[str, Order], {"a": {"id": 1, "placed": "2025-01-01T00:00:00"}}, "a dict would"),
        (Product, Product(1, 1.1), "a float would come back as a Decimal"),  # pyright: ignore[reportArgumentType]
        (Pair, (1, "secret"), "a tuple would come back as a Pair"),
        (UUID, str(UUID(int=1)), "a str would come back as a UUID"),
        (dict[UUID, int], {str(UUID(int=1)): 5}, "a str would come back as a UUID"),
        (set[UUID], {str(UUID(int=1))}, "a str would come back as a UUID"),
        (datetime, "2025-01-01T00:00:00Z", "a str would come back as a datetime"),
        (Decimal, 1.1, "a float would come back as a Decimal"),
        (float, 2**60 + 1, "a int would come back as a float"),
        (list[int], {1}, "a set would come back as a list"),
        (dict[str, Any], {"a": {1, 2}}, "a set would come back as a list"),
        (list[Any], [Address("secret")], "a Address would come back as a dict"),
        (list[Any], [UUID(int=1)], "a UUID would come back as a str"),
    ],
)
def test_what_would_come_back_as_something_else_is_refused_when_it_is_stored(
    annotation: Any, value: Any, part: str
) -> None:
    with pytest.raises(CodecError) as refused:
        Codec(annotation).encode(value)
    assert part in str(refused.value)
    assert "return exactly that type from the loader" in str(refused.value)
    assert "secret" not in str(refused.value)


class Unlike:
    def __eq__(self, other: object) -> bool:
        raise ValueError("secret")

    __hash__ = None  # pyright: ignore[reportAssignmentType]


class Odd(msgspec.Struct, eq=False):
    at: float = math.nan


@dataclass(eq=False)
class Odder(Unlike):
    odd: Odd
    odds: tuple[Odd, ...] = ()


@pytest.mark.parametrize(
    ("annotation", "value", "again"),
    [
        (float, 5, 5.0),
        (Sequence[int], (1, 2), [1, 2]),
        (frozenset[int], {1}, frozenset({1})),
        (bytes, bytearray(b"a"), b"a"),
        (Mapping[str, int], OrderedDict[str, int](a=1), {"a": 1}),
        (datetime, NOON.astimezone(timezone(timedelta(hours=5))), NOON),
        (str, Colour.RED.value, "red"),
    ],
)
def test_what_comes_back_as_good_as_it_was_is_let_pass(
    annotation: Any, value: Any, again: Any
) -> None:
    codec = Codec(annotation)
    assert codec.decode(codec.encode(value)) == again


def test_values_that_are_unlike_themselves_are_let_pass() -> None:
    codec = Codec(list[Odder])
    (again,) = codec.decode(codec.encode([Odder(Odd(), (Odd(1.5),))]))
    assert math.isnan(again.odd.at)
    assert again.odds[0].at == 1.5


def test_class_that_was_defined_again_is_let_pass() -> None:
    first = release_struct([("id", int)])
    second = release_struct([("id", int)])
    assert Codec(list[first]).encode([second(id=1)])


@pytest.mark.parametrize("annotation", [bytes, Any])
def test_value_too_large_for_a_shared_connection_is_refused(annotation: Any) -> None:
    codec = Codec(annotation)
    head = 5  # bytes that MessagePack puts before such a value
    assert len(codec.encode(bytes(LARGEST_PAYLOAD - head))) == LARGEST_PAYLOAD
    with pytest.raises(CodecError, match="67108865 bytes cannot be kept") as refused:
        codec.encode(bytes(LARGEST_PAYLOAD - head + 1))
    assert "at most 67108864" in str(refused.value)
    assert "its parts under keys of their own" in str(refused.value)


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(CodecError, match="recursion"):
        Codec(Any).encode(loop)


def test_nan_is_plain() -> None:
    (again,) = Codec(Any).decode(Codec(Any).encode([math.nan]))
    assert math.isnan(again)


def test_a_secret_that_pydantic_would_mask_is_refused() -> None:
    class Login(pydantic.BaseModel):
        name: str
        password: pydantic.SecretStr

    codec = Codec(list[Login])
    with pytest.raises(CodecError, match="Login holds a secret"):
        codec.encode([Login(name="ada", password=pydantic.SecretStr("tulips"))])
    stars = Login(name="**********", password=pydantic.SecretStr("**********"))
    assert codec.decode(codec.encode([stars])) == [stars]


def test_a_model_that_refuses_a_dict_names_the_field_and_not_the_keys() -> None:
    class Scores(pydantic.BaseModel):
        by_name: dict[str, int]

    with pytest.raises(Unreadable, match="int_parsing at by_name") as refused:
        Codec(Scores).decode(msgspec.msgpack.encode('{"by_name": {"secret": "secret"}}'))
    assert "secret" not in refused.value.reason


def test_an_exception_of_the_users_class_is_not_quoted() -> None:
    @dataclass
    class Checked:
        mood: str

        def __post_init__(self) -> None:
            if self.mood == "bad":
                raise ValueError("secret")
            if self.mood == "worse":
                raise KeyError("secret")

    codec = Codec(Checked)
    for mood, name in (("bad", "ValueError"), ("worse", "KeyError")):
        with pytest.raises(Unreadable, match=name) as refused:
            codec.decode(msgspec.msgpack.encode({"mood": mood}))
        assert "secret" not in refused.value.reason


@pytest.mark.parametrize(
    ("annotation", "part"),
    [
        (Foreign, "Foreign cannot be stored"),
        (list[Foreign | None], "Foreign cannot be stored"),
        (object, "object cannot be stored"),
        (complex, "complex cannot be stored"),
        (Owner | Shop, "RootModel"),
        (Owner | int, "RootModel"),
        ("User", "not supported"),
        (5, "not supported"),
        (User | Order, "each is a Struct with tag=True"),
        (Product | Order, "more than one dataclass or attrs type"),
        (str | UUID, "more than one str-like type"),
    ],
)
def test_an_annotation_that_cannot_be_decoded_is_refused_at_once(
    annotation: Any, part: str
) -> None:
    with pytest.raises(ConfigError, match="cannot be decoded") as refused:
        Codec(annotation)
    assert part in str(refused.value)


def test_a_class_that_is_not_defined_yet_is_refused_at_once() -> None:
    early = msgspec.defstruct("Early", [("later", "Later | None")])
    with pytest.raises(ConfigError, match=r"Later.*defined before this line"):
        Codec(early)


@pytest.mark.parametrize("version", [-1, 65_536, True, 1.0, None, "1"])
def test_a_version_out_of_range_is_refused(version: Any) -> None:
    with pytest.raises(ConfigError, match="version must be an int from 0 to 65535"):
        Codec(int, version)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(0, 99), inner),
    max_leaves=20,
)


@given(plain)
def test_plain_values_come_back_through_any(value: Any) -> None:
    codec = Codec()
    again = codec.decode(codec.encode(value))
    assert again == value or "nan" in repr(value)


def test_a_hit_is_the_prefix_and_the_payload() -> None:
    codec = Codec(User, 3)
    user = User(1, "Ada")
    raw = pack_value(b"8 bytes!", 3, codec.fingerprint, codec.encode(user), created_ms=1)
    assert raw.startswith(codec.prefix)
    assert codec.decode(raw[HEAD_SIZE:]) == user
    none = pack_value(b"8 bytes!", 3, codec.fingerprint, None, created_ms=1)
    assert none.startswith(codec.none_prefix)
    assert not none.startswith(codec.prefix)
