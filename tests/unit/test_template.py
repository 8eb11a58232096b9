"""Key templates: what they say, and what is refused before anything is called."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum, IntEnum, StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal, NewType
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond import Cache, Client, ConfigError
from millpond.cache.template import key_maker, parse_key, parse_text, text_maker
from millpond.core.keys import Keyspace

if TYPE_CHECKING:
    from collections.abc import Callable

cache: Cache[Any] = Cache(Client.from_url("memory://", hooks=[]), "n", ttl=60)

UserId = NewType("UserId", int)


class Plan(StrEnum):
    FREE = "free"


class Level(IntEnum):
    ONE = 1


class Ratio(Enum):
    HALF = 0.5


@dataclass
class Person:
    id: int
    email: str | None = None
    weight: float = 0.0

    @property
    def initial(self) -> str:
        return "a"

    @property
    def half(self) -> float:
        return 0.5


class Order(msgspec.Struct):
    buyer: Person


class Loose:
    def __getattr__(self, name: str) -> int:
        return 7


def key_of(template: str, *values: Any) -> Any:
    """Make the key of values for parameters a, b, c."""
    return key_maker(parse_key(template), {"a": 0, "b": 1, "c": 2})(values)


# -- what templates mean ---------------------------------------------------------------------


def test_one_part_is_the_value_itself_and_several_are_a_tuple() -> None:
    assert key_of("{a}", 42) == 42
    assert key_of("{b}:{a}", 1, 2) == (2, 1)
    assert key_of("by-email:{a}", "ada@example.org") == ("by-email", "ada@example.org")
    assert key_of("all") == "all"
    assert key_of("x:y") == ("x", "y")
    assert key_of("{a.id}:{b}", Person(3), 4) == (3, 4)
    assert key_of("{a.buyer.id}", Order(Person(5))) == 5
    assert key_of("{{a}}:{a}", 1) == ("{a}", 1)


def test_text_is_pasted_where_text_is_meant() -> None:
    make = text_maker(parse_text("user-{a}/{b.id}"), {"a": 0, "b": 1})
    assert make((Plan.FREE, Person(3))) == "user-free/3"


@given(
    first=st.tuples(st.text(max_size=6), st.text(max_size=6)),
    second=st.tuples(st.text(max_size=6), st.text(max_size=6)),
)
def test_different_values_never_give_one_key(
    first: tuple[str, str], second: tuple[str, str]
) -> None:
    keyspace = Keyspace("p", "n")
    same = keyspace(key_of("x:{a}:{b}", *first)) == keyspace(key_of("x:{a}:{b}", *second))
    assert same == (first == second)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("", "has an empty part"),
        ("a::b", "has an empty part"),
        ("{a}:", "has an empty part"),
        ("{a}{b}", "'{a}:{b}'"),
        ("{a}-{b}", "'{a}:{b}'"),
        ("user-{a}", "'user:{a}'"),
        ("{}", "between braces"),
        ("{0}", "between braces"),
        ("{a[0]}", "between braces"),
        ("{a!r}", "no conversions"),
        ("{a:>5}", "no conversions"),
        ("{a.}", "between braces"),
        ("{a", "cannot be read"),
        ("a}", "cannot be read"),
    ],
)
def test_what_is_no_template_is_refused_with_the_fix(template: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_key(template)
    assert repr(template) in str(refused.value)
    assert said in str(refused.value)


@pytest.mark.parametrize("template", [None, b"{a}", 42, ("a",), print])
def test_template_of_another_type_is_refused(template: Any) -> None:
    with pytest.raises(ConfigError, match=r"a template is a str, not a .*'\{user_id\}'"):
        cache.cached(template)


def test_attribute_that_is_not_there_at_the_call_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match=r"\{a\.id\} in the template cannot be followed.*NoneTyp"):
        key_of("{a.id}", None)


# -- against a function's types ----------------------------------------------------------------


def taking(annotation: Any) -> Callable[..., Any]:
    """Make a function with one parameter of a type."""

    async def load(a: Any) -> int:
        return 1

    load.__annotations__["a"] = annotation
    return load


KEYABLE: list[Any] = [
    *(int, str, UUID, date, Plan, Level, UserId, int | str, "int", "UUID", "NotDefined"),
    *(Literal["a", 1], Annotated[int, "ge 0"], tuple[int, str], tuple[str, ...], tuple),
    *(Any, object, "int | str"),
]
UNKEYABLE: list[tuple[Any, str]] = [
    (float, "round it to an int"),
    (bool, r"write int\(flag\)"),
    (bytes, "decode it"),
    (datetime, r"use \.date\(\)"),
    (None, "it may be None"),
    (int | None, "it may be None"),
    ("str | None", "it may be None"),
    (int | float, "must not be a float"),
    (list[int], "write it as a tuple"),
    (dict[str, int], "pass its id"),
    (Annotated[float, "kg"], "must not be a float"),
    (NewType("Flag", bool), "must not be a bool"),
    (Literal["a", True], "must not be a bool"),
    (tuple[int, float], "must not be a float"),
    (tuple[tuple[int], int], "tuples do not nest"),
    (Ratio, "give the enum str or int values"),
    (Person, r"as in '\{a\.id\}'"),
    (Loose, "pass its id"),
]


@pytest.mark.parametrize("annotation", KEYABLE, ids=str)
def test_keyable_and_unknown_types_are_accepted(annotation: Any) -> None:
    cache.cached("{a}")(taking(annotation))


@pytest.mark.parametrize(("annotation", "fix"), UNKEYABLE, ids=str)
def test_types_that_cannot_be_keys_are_refused_with_the_fix(annotation: Any, fix: str) -> None:
    with pytest.raises(ConfigError, match=rf"\{{a\}} in the template '\{{a\}}'.*{fix}"):
        cache.cached("{a}")(taking(annotation))


def test_tuple_is_a_key_but_no_part_of_one() -> None:
    with pytest.raises(ConfigError, match="tuples do not nest"):
        cache.cached("x:{a}")(taking(tuple[int, str]))


@pytest.mark.parametrize("template", ["{a.id}", "{a.initial}", "x:{a.id}"])
def test_attributes_of_known_types_are_accepted(template: str) -> None:
    cache.cached(template)(taking(Person))
    cache.cached("{a.buyer.id}")(taking(Order))
    cache.cached("{a.whatever}")(taking(Loose))
    cache.cached("{a.whatever}")(taking(Any))


@pytest.mark.parametrize(
    ("annotation", "template", "fix"),
    [
        (Person, "{a.ide}", "Person is not known to have 'ide'; annotate it in the class"),
        (Person, "{a.email}", "it may be None"),
        (Person, "{a.weight}", "must not be a float"),
        (Person, "{a.half}", "must not be a float"),
        (Order, "{a.buyer}", "must not be a Person"),
        (Order, "{a.buyer.ide}", "Person is not known to have 'ide'"),
        (Person | None, "{a.id}", "it may be None"),
        (int, "{a.nothing}", "int is not known to have 'nothing'"),
    ],
)
def test_attributes_that_cannot_be_keys_are_refused(
    annotation: Any, template: str, fix: str
) -> None:
    with pytest.raises(ConfigError, match=fix):
        cache.cached(template)(taking(annotation))


def test_default_that_cannot_be_a_key_is_refused() -> None:
    async def load(a: Any = None) -> int:
        return 1

    with pytest.raises(ConfigError, match="it may be None"):
        cache.cached("{a}")(load)


# -- which parameters --------------------------------------------------------------------------


def test_name_that_is_no_parameter_is_refused_and_those_there_are_listed() -> None:
    async def load(user_id: int, locale: str) -> int:
        return 1

    with pytest.raises(ConfigError, match=r"names 'usr_id', but .*: it has user_id, locale"):
        cache.cached("{usr_id}:{locale}")(load)
    with pytest.raises(ConfigError, match=r"ignore=\('lcale',\) names 'lcale'"):
        cache.cached("{user_id}:{locale}", ignore=("lcale",))(load)


def test_parameter_left_out_is_refused_unless_it_is_ignored() -> None:
    async def load(user_id: int, locale: str) -> int:
        return 1

    with pytest.raises(ConfigError) as refused:
        cache.cached("{user_id}")(load)
    assert "leaves out 'locale'" in str(refused.value)
    assert "write '{user_id}:{locale}', or ignore=('locale',)" in str(refused.value)
    cache.cached("{user_id}", ignore=["locale"])(load)
    with pytest.raises(ConfigError, match="decide for one"):
        cache.cached("{user_id}:{locale}", ignore=("locale",))(load)
    with pytest.raises(ConfigError, match=r"as in ignore=\('locale',\)"):
        cache.cached("{user_id}", ignore="locale")(load)


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        (["org:{orgid}"], r"the template 'org:\{orgid\}' names 'orgid', .*: it has a, b"),
        (["org-{a}"], "'org:{a}'"),
        (["{b}"], "must not be a float"),
        (["{a.nothing}"], "int is not known to have 'nothing'"),
        ([""], "has an empty part"),
        ([7], "a template is a str, not a int"),
        ("org:{a}", r"a list or tuple of templates, not a str: tags=\['org:\{a\}'\]"),
        ([f"t{number}" for number in range(51)], "51 tags are more than the 50"),
    ],
)
def test_tag_that_cannot_be_one_is_refused_where_the_function_is_decorated(
    tags: Any, said: str
) -> None:
    async def load(a: int, b: float) -> int:
        return 1

    with pytest.raises(ConfigError, match=said):
        cache.cached("{a}", tags=tags, ignore=("b",))(load)


def test_tags_need_not_name_every_parameter_and_do_not_stand_in_for_the_key() -> None:
    async def load(a: int, b: int) -> int:
        return 1

    cache.cached("{a}:{b}", tags=["all", "a:{a}"])(load)
    with pytest.raises(ConfigError, match="leaves out 'b'"):
        cache.cached("{a}", tags=["b:{b}"])(load)


def test_any_number_of_arguments_is_refused_unless_it_is_ignored() -> None:
    async def load(a: int, *more: int, **named: int) -> int:
        return 1

    for template, said in [
        ("{a}", "any number of arguments in 'more', which no template can name"),
        ("{a}:{more}", "names 'more', which takes any number of arguments"),
    ]:
        with pytest.raises(ConfigError, match=said):
            cache.cached(template)(load)
    kept = cache.cached("{a}", ignore=("more", "named"))(load)
    assert kept.key(1, 2, 3, x=4) == "n:1"


def test_what_is_no_coroutine_function_is_refused() -> None:
    def plain(a: int) -> int:
        return a

    async def stream(a: int) -> Any:
        yield a

    async def load(a: int) -> int:
        return a

    decorate: Any = cache.cached("{a}")
    of_a_class: Any = classmethod
    mistakes: list[tuple[Any, str]] = [
        (plain, r"is no 'async def' function.*asyncio\.to_thread"),
        (stream, "is an async generator.*return a list"),
        (int, "is no 'async def' function"),
        (staticmethod(load), "write @staticmethod above @cached"),
        (of_a_class(load), "write @classmethod above @cached"),
        (decorate(load), "is cached already"),
    ]
    for function, fix in mistakes:
        with pytest.raises(ConfigError, match=fix):
            decorate(function)


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), "60", True])
def test_ttl_that_is_none_is_refused_at_decoration(ttl: Any) -> None:
    with pytest.raises(ConfigError, match="ttl must be"):
        cache.cached("{a}", ttl=ttl)(taking(int))
