"""Caches as dependencies, and how a test puts another one in their place."""

from typing import Annotated

from fastapi import Depends, FastAPI
from pydantic import BaseModel

from millpond import Cache, Client
from millpond.ext.fastapi import inject, install


class User(BaseModel):
    name: str


async def load_user(user_id: int) -> User:
    return User(name=f"user {user_id}")


# -- inject
client = Client.from_url("redis://localhost:6379/0", prefix="shop")
users = Cache(client, "user", type=User, ttl=300)
Users = Annotated[Cache[User], Depends(inject(users))]

app = FastAPI()
install(app, client)


@app.get("/users/{user_id}")
async def read_user(user_id: int, users: Users) -> User:
    return await users.get_or_set(user_id, lambda: load_user(user_id))


# -- end


# -- override
class Scripted:
    """Stands in for the cache in one test."""

    async def get_or_set(self, key: int, _loader: object) -> User:
        return User(name=f"scripted {key}")


def use_the_stand_in() -> None:
    app.dependency_overrides[inject(users)] = Scripted


# -- end
