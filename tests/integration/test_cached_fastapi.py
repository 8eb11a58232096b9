"""Cached functions in FastAPI, over HTTP: as dependencies, below routes, and beside `Depends`."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, Header, Request, Response, Security
from pydantic import BaseModel

from millpond import Cache, Client, ConfigError
from millpond.ext.fastapi import install
from millpond.testing import override
from tests.support.web import serving


class User(BaseModel):
    id: int
    name: str


# At module level, as an application has them: FastAPI resolves annotations among globals.
client = Client.from_url("memory://", prefix="t", hooks=[])
users = Cache(client, "user", type=User, ttl=60)
pages = Cache(client, "page", type=str, ttl=60)
calls: list[str] = []


async def visitor(x_user: Annotated[int, Header()]) -> User:
    return User(id=x_user, name=f"visitor {x_user}")


Visitor = Annotated[User, Depends(visitor)]


@users.cached("{user_id}")
async def find_user(user_id: int) -> User:
    calls.append(f"find {user_id}")
    return User(id=user_id, name=f"user {user_id}")


class Titles:
    @pages.cached("title:{user_id}")
    async def of(self, user_id: int) -> str:
        calls.append(f"title {user_id}")
        return f"title of {user_id}"


titles = Titles()
app = FastAPI()
install(app, client)


@app.get("/users/{user_id}")
async def read_user(user: Annotated[User, Depends(find_user)]) -> User:
    return user


@app.delete("/users/{user_id}")
async def delete_user(user_id: int) -> bool:
    return await find_user.delete(user_id)


@app.get("/titles/{user_id}")
async def read_title(title: Annotated[str, Depends(titles.of)]) -> str:
    return title


@app.get("/pages/{page}")
@pages.cached("route:{page}:{locale}", ignore=["request"])
async def read_page(
    page: str, request: Request, response: Response, tasks: BackgroundTasks, locale: str = "en"
) -> str:
    calls.append(f"page {page} {locale}")
    return f"{page} in {locale}"


@app.get("/mine")
@pages.cached("mine:{visitor.id}")
async def read_mine(visitor: Visitor) -> str:
    calls.append(f"mine {visitor.id}")
    return f"of {visitor.name}"


@pytest.fixture(autouse=True)
def _on_the_server(url: str) -> Any:
    calls.clear()
    with override(client, url):
        yield


async def test_cached_function_is_a_dependency_with_its_own_parameters() -> None:
    async with serving(app) as http:
        for _ in range(2):
            assert (await http.get("/users/7")).json() == {"id": 7, "name": "user 7"}
        assert calls == ["find 7"]
        assert (await http.delete("/users/7")).json() is True
        assert (await http.get("/users/7")).json() == {"id": 7, "name": "user 7"}
        assert calls == ["find 7"] * 2
        assert (await http.get("/users/x")).status_code == 422


async def test_bound_method_is_a_dependency_without_its_object() -> None:
    async with serving(app) as http:
        for _ in range(2):
            assert (await http.get("/titles/3")).json() == "title of 3"
        app.dependency_overrides[titles.of] = lambda: "overridden"
        assert (await http.get("/titles/3")).json() == "overridden"
        app.dependency_overrides.clear()
    assert calls == ["title 3"]


async def test_below_a_route_the_parameters_are_the_handlers() -> None:
    async with serving(app) as http:
        for _ in range(2):
            assert (await http.get("/pages/home")).json() == "home in en"
            assert (await http.get("/pages/home?locale=de")).json() == "home in de"
        schema = (await http.get("/openapi.json")).json()
    assert calls == ["page home en", "page home de"]
    parameters = schema["paths"]["/pages/{page}"]["get"]["parameters"]
    assert [parameter["name"] for parameter in parameters] == ["page", "locale"]


async def test_what_a_dependency_provides_tells_keys_apart_when_it_is_named() -> None:
    async with serving(app) as http:
        for _ in range(2):
            for user in ("1", "2"):
                answer = await http.get("/mine", headers={"x-user": user})
                assert answer.json() == f"of visitor {user}"
    assert calls == ["mine 1", "mine 2"]


def test_what_fastapi_takes_from_the_request_is_left_out_only_when_that_is_said() -> None:
    async def load(
        page: int,
        request: Request,
        response: Response,
        tasks: BackgroundTasks,
        annotated: Annotated[str, Depends(visitor)],
        default: str = Depends(visitor),
        security: str = Security(visitor),
    ) -> str:
        return ""

    for name in (taken := ("request", "annotated", "default", "security")):
        others = [other for other in taken if other != name]
        with pytest.raises(ConfigError, match=f"leaves out '{name}'.*one visitor to all"):
            pages.cached("{page}", ignore=others)(load)
    assert pages.cached("{page}", ignore=taken)(load).key(1, *[None] * 4) == "t:page:1"  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue, reportArgumentType]
    with pytest.raises(ConfigError, match="must not be a Request"):
        pages.cached("{page}:{request}", ignore=taken[1:])(load)
    assert pages.cached("{page}:{annotated}", ignore=["request", "default", "security"])(load)

    async def header(page: int, agent: Annotated[str, Header()]) -> str:
        return agent

    with pytest.raises(ConfigError, match="leaves out 'agent'"):
        pages.cached("{page}")(header)
