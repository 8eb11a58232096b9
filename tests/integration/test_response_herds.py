"""Crowds before one page: one run where it can be shared, and nobody's response to anybody else."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from millpond import CachePolicy
from millpond.errors import LoadTimeout, MillpondError
from tests.support.fleet import until
from tests.support.proxy import Proxy
from tests.support.site import Branch, Site

if TYPE_CHECKING:
    from tests.support.servers import Server

pytestmark = pytest.mark.both_loops

PRIVATE = (b"cache-control", b"private")


async def test_crowd_in_two_processes_is_served_by_one_run(url: str) -> None:
    site = Site(held=True)
    async with Branch(url, site) as here, Branch(url, site) as there:
        first = here.ask()
        await site.run()
        rest = [*[here.ask() for _ in range(20)], *[there.ask() for _ in range(20)]]
        await here.joined(21)
        await there.joined(20)
        await there.waiting()
        site.release()
        for visit in [first, *rest]:
            assert (await visit).body == b"run 1"
    assert len(site.runs) == 1


async def test_private_response_reaches_nobody_else_and_the_others_run_side_by_side(
    url: str,
) -> None:
    site = Site(PRIVATE, held=True)
    async with Branch(url, site) as here, Branch(url, site) as there:
        visits = [here.ask()]
        await site.run()
        visits += [here.ask() for _ in range(5)]
        visits += [there.ask() for _ in range(5)]
        await here.joined(6)
        await there.joined(5)
        await there.waiting()
        site.let(1)
        await site.run(11)  # all at once, though none of them has ended
        assert sum(visit.complete for visit in visits) == 1
        site.release()
        bodies = {(await visit).body for visit in visits}
    assert len(bodies) == len(site.runs) == 11


async def test_who_comes_after_a_private_response_waits_for_nobody(url: str) -> None:
    site = Site(PRIVATE)
    async with Branch(url, site) as here, Branch(url, site) as there:
        await here.ask()
        site.hold()
        for branch in (here, there):
            before = len(site.runs)
            late = [branch.ask() for _ in range(3)]
            await site.run(before + 3)
            site.release()
            assert len({(await visit).body for visit in late}) == 3
            site.hold()
        assert (await here.client.call("PTTL", here.cache.pages.key(KEY))) <= 5000


KEY = ("/", "https/shop.example", "")


async def test_page_is_kept_again_once_the_pass_is_over(url: str) -> None:
    site = Site(PRIVATE)
    async with Branch(url, site, pass_ttl=0.05) as branch:
        await branch.ask()
        site.headers = []
        await until(lambda: not branch.cache.passes(KEY, asyncio.get_running_loop().time()))
        key = branch.cache.pages.key(KEY)
        while await branch.client.call("EXISTS", key):
            await asyncio.sleep(0)
        assert {(await branch.ask()).body for _ in range(3)} == {b"run 2"}


async def test_delete_ends_the_pass(url: str) -> None:
    site = Site(PRIVATE)
    async with Branch(url, site) as here, Branch(url, site) as there:
        await here.ask()
        await there.ask()
        site.headers = []
        assert await there.cache.delete("https://shop.example/")
        assert {(await there.ask()).body for _ in range(3)} == {b"run 3"}


@pytest.mark.parametrize("kind", ["cancelled", "gone"])
async def test_client_who_leaves_while_others_wait_for_his_run_leaves_them_the_page(
    url: str, kind: str
) -> None:
    site = Site(held=True)
    async with Branch(url, site) as branch:
        first = branch.ask()
        await site.run()
        others = [branch.ask() for _ in range(3)]
        await branch.joined(4)
        if kind == "gone":
            first.disconnect()
        else:
            first.task.cancel()
        await asyncio.sleep(0)
        site.release()
        assert {(await visit).body for visit in others} == {b"run 1"}
        with contextlib.suppress(asyncio.CancelledError):
            await first
    assert len(site.runs) == 1
    assert site.cancelled == 0


async def test_waiter_who_leaves_concerns_nobody(url: str) -> None:
    site = Site(held=True)
    async with Branch(url, site) as branch:
        visits = [branch.ask() for _ in range(4)]
        await branch.joined(4)
        await site.run()
        visits.pop(2).task.cancel()
        site.release()
        assert {(await visit).body for visit in visits} == {b"run 1"}
    assert len(site.runs) == 1


async def test_private_run_of_a_client_who_was_cancelled_is_cancelled(url: str) -> None:
    site = Site(PRIVATE, held=True)
    async with Branch(url, site) as branch:
        first = branch.ask()
        await site.run()
        other = branch.ask()
        await branch.joined(2)
        first.task.cancel()
        await asyncio.sleep(0)
        site.release()
        assert (await other).body == b"run 2"
        await until(lambda: site.cancelled == 1)
    assert first.status == 0


async def test_private_run_whose_client_is_cancelled_before_he_is_given_it_is_cancelled(
    server: Server,
) -> None:
    site = Site(PRIVATE, held=True)
    async with Proxy(server.port) as proxy, Branch(proxy.url, site) as branch:
        visit = branch.ask()
        await site.run()
        proxy.to_client.hold()  # what the fill is answered
        site.release()
        await until(branch.reasons)
        visit.task.cancel()
        await until(lambda: site.cancelled == 1)
        proxy.to_client.behave()


async def test_response_that_is_let_pass_reaches_its_client_as_it_comes(url: str) -> None:
    site = Site((b"content-type", b"text/event-stream"))
    more, heard = asyncio.Event(), asyncio.Event()

    async def events(receive: Any, send: Any) -> None:
        await send({"type": "http.response.body", "body": b"one,", "more_body": True})
        await more.wait()
        await send({"type": "http.response.body", "body": b"two", "more_body": True})
        assert (await receive())["type"] == "http.disconnect"
        heard.set()
        await send({"type": "http.response.body", "body": b""})

    site.after = events
    async with Branch(url, site) as branch:
        visit = branch.ask()
        await until(lambda: visit.body == b"one,")
        more.set()
        await until(lambda: visit.body == b"one,two")
        visit.disconnect()
        await visit
        assert heard.is_set()
        assert "it is a stream of events" in branch.reasons()
        streaming = branch.ask()
        await until(lambda: streaming.body)
        streaming.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await streaming
    assert (site.ended, site.cancelled) == (2, 1)


async def test_stream_whose_client_is_cancelled_ends_though_it_led_the_load(url: str) -> None:
    site = Site((b"content-type", b"text/event-stream"))

    async def forever(receive: Any, send: Any) -> None:
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await asyncio.Event().wait()

    site.after = forever
    async with Branch(url, site) as branch:
        visit = branch.ask()
        await until(lambda: visit.body == b"one")
        visit.task.cancel()
        await until(lambda: site.cancelled)


@pytest.mark.parametrize("announced", [True, False])
async def test_body_past_the_bound_passes_and_no_more_than_the_bound_is_held(
    url: str, announced: bool
) -> None:
    site = Site(*([(b"content-length", b"4000")] if announced else []))
    sent: list[int] = []
    ahead: list[int] = []

    async def large(receive: Any, send: Any) -> None:
        for number in range(4):
            ahead.append(number * 1000 - len(visit.body))
            await send({"type": "http.response.body", "body": bytes(1000), "more_body": number < 3})
            sent.append(number)

    site.after = large
    async with Branch(url, site, max_body=1500) as branch:
        visit = branch.ask()
        assert len((await visit).body) == 4000
        assert max(ahead) <= 1500
        assert any("max_body=1500" in reason for reason in branch.reasons())
        assert len((await branch.ask()).body) == 4000
    assert len(site.runs) == 2


async def test_body_that_trickles_is_let_pass(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millpond.ext.asgi_run._PATIENCE", -1.0)
    site = Site()
    more = asyncio.Event()

    async def trickle(receive: Any, send: Any) -> None:
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await more.wait()
        await send({"type": "http.response.body", "body": b"b"})

    site.after = trickle
    async with Branch(url, site) as branch:
        visit = branch.ask()
        await until(lambda: visit.body == b"a")
        more.set()
        assert (await visit).body == b"ab"


@pytest.mark.parametrize("parts", [0, 1])
async def test_body_of_which_no_more_comes_for_long_does_not_wait_for_more(
    url: str, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    monkeypatch.setattr("millpond.ext.asgi_run._PATIENCE", 0.05)
    site = Site()
    more = asyncio.Event()

    async def quiet(receive: Any, send: Any) -> None:
        for _ in range(parts):
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await more.wait()
        await send({"type": "http.response.body", "body": b"b"})

    site.after = quiet
    policy = CachePolicy(load_timeout=2)  # nor does that end what is let pass
    async with Branch(url, site, policy=policy) as branch:
        visit = branch.ask()
        await until(lambda: visit.status and len(visit.body) == parts)
        assert not visit.complete
        more.set()
        assert (await visit).body == b"a" * parts + b"b"


async def test_background_work_goes_on_behind_a_complete_page(url: str) -> None:
    site = Site()
    done, go = asyncio.Event(), asyncio.Event()

    async def work(receive: Any, send: Any) -> None:
        await send({"type": "http.response.body", "body": b"page"})
        assert (await receive())["type"] == "http.disconnect"
        await go.wait()
        done.set()

    site.after = work
    async with Branch(url, site) as branch:
        visit = branch.ask()
        await until(lambda: visit.complete)
        assert (await branch.ask()).body == b"page"
        visit.task.cancel()
        go.set()
        await done.wait()
    assert (len(site.runs), site.cancelled) == (1, 0)


async def test_what_the_application_raises_reaches_all_who_waited_for_it_here(url: str) -> None:
    site = Site(held=True)
    site.fails = LookupError("no such row")
    async with Branch(url, site) as here, Branch(url, site) as there:
        visits = [here.ask() for _ in range(3)]
        await here.joined(3)
        await site.run()
        elsewhere = there.ask()
        await there.joined(1)
        await there.waiting()
        site.release()
        for visit in visits:
            with pytest.raises(LookupError, match="no such row"):
                await visit
        with pytest.raises(LookupError):  # it ran the application for itself
            await elsewhere
    assert len(site.runs) == 2


class Odd(BaseException):
    """Such as pytest.fail raises: no Exception."""


async def test_application_that_raises_no_exception_but_a_base_exception_lets_nobody_wait(
    url: str,
) -> None:
    site = Site(held=True)
    site.fails = Odd()
    async with Branch(url, site) as branch:
        visits = [branch.ask() for _ in range(3)]
        await branch.joined(3)
        site.release()
        async with asyncio.timeout(5):
            answers = await asyncio.gather(*[v.task for v in visits], return_exceptions=True)
        assert [type(answer) for answer in answers] == [MillpondError] * 3
        site.fails = None
        assert (await branch.ask()).body == b"run 2"


async def test_what_is_raised_behind_a_page_reaches_who_ran_it_alone(url: str) -> None:
    site = Site()

    async def work(receive: Any, send: Any) -> None:
        await send({"type": "http.response.body", "body": b"page"})
        await branch.joined(1)
        raise LookupError("in the background")

    site.after = work
    async with Branch(url, site) as branch:
        visit = branch.ask()
        with pytest.raises(LookupError, match="in the background"):
            await visit
        assert visit.body == b"page"
        assert (await branch.ask()).body == b"page"


async def test_error_of_the_server_is_shared_by_those_who_waited_here_and_not_kept(
    url: str,
) -> None:
    site = Site(held=True)
    site.status = 503
    async with Branch(url, site) as here, Branch(url, site) as there:
        visits = [here.ask() for _ in range(5)]
        await here.joined(5)
        await site.run()
        elsewhere = there.ask()
        await there.joined(1)
        await there.waiting()
        site.release()
        answers = [await visit for visit in visits]
        assert {(answer.status, answer.body) for answer in answers} == {(503, b"run 1")}
        assert (await elsewhere).body == b"run 2"
        site.status = 200
        assert (await here.ask()).body == b"run 3"
        assert (await there.ask()).body == b"run 3"


async def test_private_error_of_the_server_is_shared_with_nobody(url: str) -> None:
    site = Site((b"set-cookie", b"a=b"), held=True)
    site.status = 500
    async with Branch(url, site) as branch:
        visits = [branch.ask() for _ in range(5)]
        await branch.joined(5)
        site.release()
        assert len({(await visit).body for visit in visits}) == 5


async def test_application_that_answers_nothing_is_told_so_by_its_server(url: str) -> None:
    async def silent(scope: Any, receive: Any, send: Any) -> None: ...

    async with Branch(url, silent) as branch:
        visit = branch.ask()
        await visit.task
    assert visit.status == 0


async def test_run_that_takes_too_long_is_cancelled(url: str) -> None:
    site = Site(held=True)
    async with Branch(url, site, policy=CachePolicy(load_timeout=0.05)) as branch:
        with pytest.raises(LoadTimeout):
            await branch.ask()
        await until(lambda: site.cancelled == 1)


async def test_stale_page_is_served_while_one_run_refreshes_it_and_a_private_one_ends(
    url: str,
) -> None:
    site = Site()
    policy = CachePolicy(stale_while_revalidate=60)
    async with Branch(url, site, policy=policy) as branch:
        await branch.ask()
        assert await branch.cache.expire("https://shop.example/")
        site.hold()
        assert {(await branch.ask()).body for _ in range(3)} == {b"run 1"}
        await site.run(2)
        site.release()
        await until(lambda: site.ended == 2)
        await until(lambda: not branch.cache.statistics().flights)
        assert (await branch.ask()).body == b"run 2"
        assert await branch.cache.expire("https://shop.example/")
        site.headers = [PRIVATE]
        assert (await branch.ask()).body == b"run 2"
        await until(lambda: site.cancelled == 1)
        await until(lambda: not branch.cache.statistics().flights)
        assert {(await branch.ask()).body for _ in range(2)} == {b"run 4", b"run 5"}


async def test_error_of_the_server_leaves_the_stale_page_in_place(url: str) -> None:
    site = Site()
    async with Branch(url, site, policy=CachePolicy(stale_if_error=60)) as branch:
        await branch.ask()
        assert await branch.cache.expire("https://shop.example/")
        site.status = 500
        assert (await branch.ask()).body == b"run 1"
    assert len(site.runs) == 2


async def pass_over(branch: Branch) -> None:
    """Wait until what could not be kept is tried again: here, and by what is stored."""
    await until(lambda: not branch.cache.passes(KEY, asyncio.get_running_loop().time()))
    async with asyncio.timeout(5):
        while (entry := await branch.cache.pages.get_entry(KEY)) and not entry.stale:
            await asyncio.sleep(0)


async def test_run_that_refreshes_for_nobody_ends_where_there_was_no_page_before_either(
    url: str,
) -> None:
    site = Site(PRIVATE)
    policy = CachePolicy(stale_while_revalidate=60)
    async with Branch(url, site, policy=policy, pass_ttl=0.05) as branch:
        assert (await branch.ask()).body == b"run 1"
        await pass_over(branch)
        visit = await branch.ask()
        await until(lambda: not branch.cache.statistics().flights)
        await until(lambda: site.ended == len(site.runs) == 3)
        assert site.cancelled == 1  # the refresh, whose response is for nobody
        assert visit.body in {b"run 2", b"run 3"}


async def test_error_where_nothing_could_be_kept_before_is_answered_by_one_run(url: str) -> None:
    site = Site(PRIVATE)
    policy = CachePolicy(stale_if_error=60)
    async with Branch(url, site, policy=policy, pass_ttl=0.05) as branch:
        await branch.ask()
        await pass_over(branch)
        site.headers, site.status = [], 500
        visit = await branch.ask()
        assert (visit.status, visit.body) == (500, b"run 2")
    assert len(site.runs) == site.ended == 2


async def test_delete_during_a_run_keeps_its_page_from_later_requests(url: str) -> None:
    site = Site(held=True)
    async with Branch(url, site) as here, Branch(url, site) as there:
        early = here.ask()
        await site.run()
        assert await there.cache.delete("https://shop.example/")
        late = here.ask()
        await here.joined(2)
        site.release()
        assert (await early).body == b"run 1"
        assert (await late).body == b"run 2"
        assert (await there.ask()).body == b"run 2"


# -- without Redis ---------------------------------------------------------------------------------


async def test_application_answers_when_redis_is_gone(server: Server) -> None:
    site = Site()
    async with Proxy(server.port) as proxy, Branch(proxy.url, site) as branch:
        assert (await branch.ask()).body == b"run 1"
        await proxy.refuse()
        proxy.cut_all()
        await until(lambda: branch.client.statistics().state != "up")
        assert (await branch.ask()).body == b"run 2"
        assert (await branch.ask(method="HEAD")).status == 200


async def test_without_redis_nobody_waits_for_a_private_response_more_than_once(
    server: Server,
) -> None:
    site = Site(PRIVATE, held=True)
    async with Proxy(server.port) as proxy, Branch(proxy.url, site) as branch:
        await proxy.refuse()
        proxy.cut_all()
        await until(lambda: branch.client.statistics().state != "up")
        first = branch.ask()
        await site.run()
        late = [branch.ask() for _ in range(5)]  # after it began: they start over when it ends
        await branch.joined(6)
        site.let(1)
        await first
        await site.run(6)  # all at once
        site.release()
        assert len({(await visit).body for visit in late}) == 5
