"""Functions of many ids on a real server: kept id by id, called for those that are missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence  # noqa: TC003  (resolved at decoration)
from typing import TYPE_CHECKING, Any

import pytest

from millpond import Cache, CachedMany, Client, ConfigError, LoadManyFailed, cache_mode
from millpond.testing import override

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

client = Client.from_url("memory://", prefix="t", hooks=[])
names = Cache(client, "name", type=str, ttl=60)
calls: list[Any] = []


@names.cached_many("{user_id}", over="user_ids", ttl=20)
async def get_names(user_ids: list[int]) -> dict[int, str]:
    """Say names."""
    calls.append(user_ids)
    return {n: f"user {n}" for n in user_ids if n < 90}


@names.cached("{user_id}")
async def get_name(user_id: int) -> str:
    """Say a name."""
    return f"alone {user_id}"


@names.cached_many("by:{locale}:{one}", over="ids", ignore=("trace",))
async def get_local(
    trace: str, ids: Iterable[int], *, locale: str = "en"
) -> dict[int, str | Exception]:
    """Say names in a language."""
    wanted = list(ids)
    calls.append((trace, wanted, locale))
    found: dict[int, str | Exception] = {n: f"{n} {locale}" for n in wanted if n != 7}
    return found | ({7: LookupError("seven")} if 7 in wanted else {})


class Shop:
    """A class with a cached method."""

    def __init__(self, region: str) -> None:
        self.region = region

    @names.cached_many("{self.region}:{item}", over="items")
    async def titles(self, items: Sequence[int]) -> dict[int, str]:
        """Say titles."""
        return {n: f"{self.region} {n}" for n in items}


@pytest.fixture(autouse=True)
async def _open(url: str) -> AsyncIterator[None]:
    calls.clear()
    with override(client, url):
        async with client:
            yield


async def test_function_is_called_for_the_ids_that_are_missing() -> None:
    assert await get_names([1, 2, 95]) == {1: "user 1", 2: "user 2"}
    assert list((await get_names(user_ids=[3, 2, 1])).items()) == [
        (3, "user 3"),
        (2, "user 2"),
        (1, "user 1"),
    ]
    assert calls == [[1, 2, 95], [3]]
    assert await get_names(range(3, 5)) == {3: "user 3", 4: "user 4"}  # pyright: ignore[reportArgumentType]
    left = await names.ttl(1)
    assert left is not None
    assert left <= 20


async def test_one_and_many_share_keys() -> None:
    assert await get_name(1) == "alone 1"
    assert await get_names([1, 2]) == {1: "alone 1", 2: "user 2"}
    assert await get_name(2) == "user 2"
    assert get_names.keys([1, 2]) == {1: names.key(1), 2: names.key(2)}


async def test_other_arguments_are_in_the_key_and_reach_the_function() -> None:
    assert await get_local("a", [1, 2]) == {1: "1 en", 2: "2 en"}
    assert await get_local("b", [2, 3], locale="en") == {2: "2 en", 3: "3 en"}
    assert await get_local("c", iter([1]), locale="de") == {1: "1 de"}
    assert calls == [("a", [1, 2], "en"), ("b", [3], "en"), ("c", [1], "de")]
    assert get_local.keys("x", [1]) == {1: "t:name:by:en:1"}


async def test_what_else_it_can_do_takes_the_functions_arguments() -> None:
    assert await get_names.get([1]) == {}
    await get_names([1, 2])
    assert await get_names.get([1, 2, 3]) == {1: "user 1", 2: "user 2"}
    assert await get_names.delete([1]) is True
    assert await get_names.get(user_ids=[1, 2]) == {2: "user 2"}
    assert await get_names.bypass([1, 2]) == {1: "user 1", 2: "user 2"}
    assert await get_names.get([1]) == {}
    assert await get_names.refresh([1, 2]) == {1: "user 1", 2: "user 2"}
    assert calls == [[1, 2], [1, 2], [1, 2]]
    assert get_names.cache is names
    with cache_mode("bypass"):
        assert await get_names([1]) == {1: "user 1"}
    assert len(calls) == 4


async def test_failures_are_told_by_id() -> None:
    with pytest.raises(LoadManyFailed) as told:
        await get_local("a", [6, 7])
    assert told.value.values == {6: "6 en"}
    assert list(told.value.errors) == [7]
    assert isinstance(told.value.__cause__, LookupError)

    @names.cached_many("strange:{n}", over="ns")
    async def strange(ns: list[int]) -> dict[int, str]:
        return {**dict.fromkeys(ns, "x"), 99: "y"}

    with pytest.raises(LoadManyFailed) as told:
        await strange([1])
    assert told.value.values == {1: "x"}
    assert list(told.value.errors) == [99]


async def test_function_that_returns_no_mapping_is_told_what_to_return() -> None:
    @names.cached_many("list:{n}", over="ns")
    async def wrong(ns: list[int]) -> Any:
        return ["x"]

    with pytest.raises(ConfigError, match="return a mapping"):
        await wrong([1])


async def test_methods_are_bound() -> None:
    eu, us = Shop("eu"), Shop("us")
    assert await eu.titles([1, 2]) == {1: "eu 1", 2: "eu 2"}
    assert await us.titles([1]) == {1: "us 1"}
    assert await Shop.titles(eu, [1]) == {1: "eu 1"}
    assert eu.titles == eu.titles != us.titles
    assert eu.titles.keys([1]) == {1: "t:name:eu:1"}
    assert repr(get_names) == "<cached get_names>"
    assert isinstance(get_names, CachedMany)
    assert get_names.__doc__ == "Say names."


@pytest.mark.parametrize("bad", ["42", b"42", 42, None], ids=repr)
async def test_one_id_instead_of_a_list_is_refused_with_the_fix(bad: Any) -> None:
    for call in (get_names, get_names.get, get_names.delete):
        with pytest.raises(ConfigError, match=r"user_ids of get_names\(\) takes"):
            await call(bad)
    assert calls == []


async def test_id_that_cannot_be_in_a_key_is_refused() -> None:
    untyped: Any = get_names
    for bad in (1.5, None, [1], True):
        with pytest.raises(ConfigError, match="a key part must not be"):
            await untyped([1, bad])
    with pytest.raises(TypeError):
        await untyped()


# -- at decoration -----------------------------------------------------------------------------


async def of_ids(ids: list[int], locale: str = "en") -> dict[int, str]:
    """Be decorated."""
    return dict.fromkeys(ids, locale)


async def of_set(ids: set[int]) -> dict[int, str]:
    """Be refused."""
    return dict.fromkeys(ids, "")


async def of_floats(ids: list[float]) -> dict[float, str]:
    """Be refused."""
    return dict.fromkeys(ids, "")


async def of_text(ids: str) -> dict[str, str]:
    """Be refused."""
    return {ids: ""}


async def of_any(*ids: int) -> dict[int, str]:
    """Be refused."""
    return dict.fromkeys(ids, "")


@pytest.mark.parametrize(
    ("function", "template", "options", "says"),
    [
        (of_ids, "{n}:{locale}", {"over": "nonsense"}, "names 'nonsense', but of_ids has no such"),
        (of_ids, "{n}", {"over": "ids"}, "leaves out 'locale'"),
        (of_ids, "{ids}:{locale}", {"over": "ids"}, r"names 'ids', which is all.*\{id\}"),
        (of_ids, "all:{locale}", {"over": "ids"}, "must have just one name.*it has none"),
        (of_ids, "{n}:{m}:{locale}", {"over": "ids"}, "must have just one name.*it has n, m"),
        (of_ids, "{n.id}:{locale}", {"over": "ids"}, "without attributes"),
        (of_ids, "{n}:{locale}", {"over": "ids", "ignore": ("ids",)}, "in over and in ignore"),
        (of_ids, "{n}", {"over": "ids", "ignore": "locale"}, "ignore must be a tuple"),
        (of_ids, "{n}-{locale}", {"over": "ids"}, "pastes values together"),
        (of_ids, "{n}:{locale}", {"over": "ids", "ttl": 0}, "ttl must be"),
        (of_set, "{n}", {"over": "ids"}, "annotated as set.*list"),
        (of_text, "{n}", {"over": "ids"}, "annotated as str.*list"),
        (of_floats, "{n}", {"over": "ids"}, "items that cannot be in a key.*float"),
        (of_any, "{n}", {"over": "ids"}, "takes any number of arguments.*a list"),
    ],
)
def test_mistake_in_the_template_is_an_error_at_import(
    function: Any, template: str, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=f"(?s){says}"):
        names.cached_many(template, **options)(function)


def test_what_is_no_template_or_async_function_is_refused() -> None:
    untyped: Any = names.cached_many
    with pytest.raises(ConfigError, match="a template is a str"):
        untyped(of_ids, over="ids")
    with pytest.raises(ConfigError, match="async def"):
        untyped("{n}", over="ids")(lambda ids: {})  # pyright: ignore[reportUnknownLambdaType]
    with pytest.raises(ConfigError, match="cached already"):
        untyped("{n}", over="user_ids")(get_names)


def test_tuples_may_be_ids_where_they_are_the_whole_key() -> None:
    async def of_pairs(pairs: list[tuple[str, int]]) -> dict[tuple[str, int], str]:
        return dict.fromkeys(pairs, "")

    pairs = names.cached_many("{pair}", over="pairs")(of_pairs)
    assert pairs.keys([("a", 1)]) == {("a", 1): "t:name:a:1"}
    with pytest.raises(ConfigError, match="items that cannot be in a key"):
        names.cached_many("x:{pair}", over="pairs")(of_pairs)
