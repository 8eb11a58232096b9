"""What type checkers make of cached functions: checked where this file is, by basedpyright.

Every `ignore` here must be needed: what it hides is what a checker must object to.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=error

from __future__ import annotations

from typing import assert_type

from millpond import Cache, Cached, Client, Missing

client = Client.from_url("memory://", hooks=[])
names = Cache(client, "name", type=str, ttl=60)
maybe: Cache[int | None] = Cache(client, "maybe", type=int | None, ttl=60)


@names.cached("{user_id}:{locale}", ttl=5)
async def get_name(user_id: int, *, locale: str = "en") -> str:
    """Say a name."""
    return f"{user_id} {locale}"


@maybe.cached("{key}")
async def get_number(key: str) -> int | None:
    """Find a number, or none."""
    return len(key) or None


class Shop:
    """A class with a cached method."""

    region = "eu"

    @names.cached("{self.region}:{item}")
    async def title(self, item: int) -> str:
        """Say a title."""
        return f"{self.region} {item}"


async def results_and_arguments_are_the_functions() -> None:
    """Be checked, never called."""
    assert_type(await get_name(1, locale="de"), str)
    assert_type(await get_number("x"), int | None)
    assert_type(await get_name.get(1), str | Missing)
    assert_type(await get_number.get("x"), int | Missing | None)
    assert_type(await get_name.bypass(1), str)
    assert_type(await get_name.refresh(1, locale="de"), str)
    assert_type(await get_name.set("Ada", 1, locale="de"), bool)
    assert_type(await get_name.delete(user_id=1), bool)
    assert_type(get_name.key(1), str)
    assert_type(get_name.cache, Cache[str])
    assert_type(await Shop().title(1), str)
    assert_type(await Shop().title.get(item=1), str | Missing)
    assert_type(await Shop.title(Shop(), 1), str)
    assert_type(await Shop.title.delete(Shop(), 1), bool)


async def mistakes_are_seen() -> None:
    """Be checked, never called."""
    await get_name("1")  # pyright: ignore[reportArgumentType]
    await get_name(1, "de")  # pyright: ignore[reportCallIssue]
    await get_name.delete()  # pyright: ignore[reportCallIssue]
    await get_name.set(1, 1)  # pyright: ignore[reportArgumentType]
    await get_name.get(1, local="de")  # pyright: ignore[reportCallIssue]
    await Shop().title("x")  # pyright: ignore[reportArgumentType]
    await Shop().title.delete(Shop(), 1)  # pyright: ignore[reportCallIssue]

    async def wrong(key: int) -> int:
        return key

    names.cached("{key}")(wrong)  # pyright: ignore[reportArgumentType]

    def plain(key: int) -> str:
        return str(key)

    names.cached("{key}")(plain)  # pyright: ignore[reportArgumentType]


def test_the_functions_here_are_what_the_checker_sees() -> None:
    assert isinstance(get_name, Cached)
    assert isinstance(Shop().title, Cached)
    assert results_and_arguments_are_the_functions is not mistakes_are_seen


@names.cached_many("{user_id}:{locale}", over="user_ids")
async def get_many_names(user_ids: list[int], *, locale: str = "en") -> dict[int, str]:
    """Say names."""
    return dict.fromkeys(user_ids, locale)


async def results_of_many_are_by_id() -> None:
    """Be checked, never called."""
    assert_type(await get_many_names([1], locale="de"), dict[int, str])
    assert_type(await get_many_names.get([1]), dict[int, str])
    assert_type(await get_many_names.delete([1]), bool)
    assert_type(get_many_names.keys([1]), dict[int, str])
    await get_many_names(["1"])  # pyright: ignore[reportArgumentType]
    await get_many_names.get([1], language="de")  # pyright: ignore[reportCallIssue]
