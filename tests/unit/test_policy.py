"""`CachePolicy` and `Cache(...)`: what cannot be is refused at once, with the fix."""

from __future__ import annotations

import inspect
from datetime import timedelta
from typing import Any

import pytest

from millpond import Cache, CachePolicy, Client, ConfigError
from millpond.cache.statistics import Counters
from millpond.cache.store import Store
from millpond.core.codec import Codec
from millpond.core.durations import seconds

client = Client.from_url("memory://")  # never opened: none of this needs Redis
NAN, INFINITE = float("nan"), float("inf")
NO_DURATION: list[Any] = [-1, NAN, INFINITE, "30", True, [1], timedelta(seconds=-1), 1e12]
DURATIONS = ["none_ttl", "load_timeout", "lease_ttl", "wait_timeout"]
DURATIONS_OR_ZERO = ["jitter", "error_ttl", "stale_while_revalidate", "stale_if_error"]


def make(**options: Any) -> Cache[Any]:
    given: dict[str, Any] = {"namespace": "n", "ttl": 60} | options
    return Cache[Any](client, **given)


def policy_of(name: str, value: Any) -> CachePolicy:
    given: dict[str, Any] = {name: value}
    return CachePolicy(**given)


def make_store(*, ttl: int = 60_000, **policy: Any) -> Store[int]:
    return Store(client, Codec(int), "n:", ttl=ttl, version=0, policy=CachePolicy(**policy))


# -- the policy --------------------------------------------------------------------------------


def test_policy_has_a_default_for_everything_and_cannot_be_changed() -> None:
    policy = CachePolicy()
    assert policy.on_unavailable == "load"
    assert seconds(policy.lease_ttl, "") < seconds(policy.load_timeout, "")
    with pytest.raises(AttributeError):
        policy.jitter = 1.0  # pyright: ignore[reportAttributeAccessIssue]


def test_policy_takes_its_options_by_name_alone() -> None:
    positional: Any = CachePolicy
    with pytest.raises(TypeError):
        positional(1.0)


@pytest.mark.parametrize("name", [*DURATIONS, *DURATIONS_OR_ZERO])
@pytest.mark.parametrize("value", NO_DURATION, ids=repr)
def test_option_that_is_no_duration_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        policy_of(name, value)


@pytest.mark.parametrize("name", DURATIONS)
@pytest.mark.parametrize("zero", [0, 0.0, timedelta(0)])
def test_option_that_cannot_be_switched_off_refuses_zero(name: str, zero: Any) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be above 0"):
        policy_of(name, zero)


@pytest.mark.parametrize("name", DURATIONS_OR_ZERO)
@pytest.mark.parametrize("zero", [0, 0.0, timedelta(0)])
def test_option_that_is_off_at_zero_takes_zero(name: str, zero: Any) -> None:
    assert make(policy=policy_of(name, zero))


@pytest.mark.parametrize("name", [*DURATIONS, *DURATIONS_OR_ZERO])
def test_option_may_be_a_timedelta(name: str) -> None:
    assert make(policy=policy_of(name, timedelta(seconds=3)))


@pytest.mark.parametrize("name", ["load_timeout", "lease_ttl", "wait_timeout"])
def test_load_and_wait_can_never_be_without_an_end(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        policy_of(name, None)


def test_lease_shorter_than_a_stalling_loop_is_refused() -> None:
    assert CachePolicy(lease_ttl=0.1)
    with pytest.raises(ConfigError, match=r"lease_ttl=0\.05 is shorter than 0\.1 s"):
        CachePolicy(lease_ttl=0.05)


# -- what is served stale ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["stale_retry", "stale_after"])
@pytest.mark.parametrize("value", [*NO_DURATION, 0], ids=repr)
def test_stale_option_that_is_no_duration_is_refused_by_name(name: str, value: Any) -> None:
    given: dict[str, Any] = {"stale_if_error": 60.0, name: value}
    with pytest.raises(ConfigError, match=f"{name} must be"):
        CachePolicy(**given)


@pytest.mark.parametrize(
    ("policy", "fix"),
    [
        ({"stale_retry": 5}, r"stale_retry=5 has nothing to serve .* say with stale_if_error"),
        ({"stale_after": 1}, r"stale_after=1 has nothing to serve; say with stale_if_error"),
        ({"stale_after": 1, "stale_while_revalidate": 9}, "stale_after=1 has nothing to serve"),
        (
            {"stale_after": 30, "stale_if_error": 60},
            r"stale_after=30 is not below load_timeout=30\.0, .*; lower it",
        ),
        ({"stale_after": 6, "stale_if_error": 60, "load_timeout": 5}, "is not below load_timeout"),
        ({"early_refresh": 0}, "early_refresh must be above 0 .* 1.0 is a good choice"),
        ({"early_refresh": -1.0}, "early_refresh must be above 0"),
        ({"early_refresh": NAN}, "early_refresh must be above 0"),
        ({"early_refresh": INFINITE}, "early_refresh must be above 0 and at most 100"),
        ({"early_refresh": True}, "early_refresh must be above 0"),
        ({"early_refresh": "1"}, "early_refresh must be above 0"),
    ],
)
def test_contradiction_about_stale_values_is_refused_with_the_fix(
    policy: dict[str, Any], fix: str
) -> None:
    with pytest.raises(ConfigError, match=fix):
        CachePolicy(**policy)


def test_stale_options_that_go_together_are_taken() -> None:
    assert make(policy=CachePolicy(stale_if_error=60, stale_after=29, stale_retry=5))
    assert make(policy=CachePolicy(stale_while_revalidate=60, stale_retry=5))
    assert make(policy=CachePolicy(early_refresh=1))


@pytest.mark.parametrize("policy", [{"stale_if_error": 86_400}, {"early_refresh": 1.0}])
def test_values_that_can_be_stale_live_for_49_days_at_most(policy: dict[str, Any]) -> None:
    assert make(ttl=48 * 86_400, policy=CachePolicy(**policy))
    with pytest.raises(ConfigError, match=r"more than 49 days, .*; lower one"):
        make(ttl=50 * 86_400, policy=CachePolicy(**policy))
    assert make(ttl=50 * 86_400)


@pytest.mark.parametrize("value", ["loads", "", None, True])
def test_unknown_choice_for_an_outage_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="on_unavailable must be 'load' or 'raise'"):
        CachePolicy(on_unavailable=value)


# -- the cache ---------------------------------------------------------------------------------


@pytest.mark.parametrize("ttl", [*NO_DURATION, 0, None], ids=repr)
def test_ttl_that_is_no_duration_is_refused(ttl: Any) -> None:
    with pytest.raises(ConfigError, match="ttl must be"):
        make(ttl=ttl)


def test_ttl_is_mandatory() -> None:
    incomplete: Any = Cache
    with pytest.raises(TypeError, match="ttl"):
        incomplete(client, "n")


@pytest.mark.parametrize("version", [-1, 65_536, 1.0, True, "1", None])
def test_version_that_is_no_small_number_is_refused(version: Any) -> None:
    with pytest.raises(ConfigError, match="version must be"):
        make(version=version)


@pytest.mark.parametrize("namespace", ["", "a:b", "ä", "a b", 5, None])
def test_namespace_that_would_blur_keys_is_refused(namespace: Any) -> None:
    with pytest.raises(ConfigError, match="namespace"):
        make(namespace=namespace)


def test_type_that_cannot_be_decoded_is_refused_at_construction() -> None:
    with pytest.raises(ConfigError, match="type=object cannot be decoded"):
        make(type=object)


@pytest.mark.parametrize(
    ("options", "policy"),
    [
        ({"ttl": 10}, {"jitter": 10}),
        ({"ttl": 10}, {"jitter": 11}),
        ({"ttl": 60}, {"jitter": 10, "none_ttl": 5}),
    ],
)
def test_jitter_that_would_use_up_a_ttl_is_refused_where_the_two_meet(
    options: dict[str, Any], policy: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=r"jitter=.* s is not below the TTL of .* s: .*lower"):
        make(policy=CachePolicy(**policy), **options)


def test_cache_is_made_without_redis_and_without_an_event_loop() -> None:
    cache = make()
    assert cache.key(42) == "n:42"
    assert cache.client is client
    assert cache.statistics().flights == 0


# -- how long entries live ---------------------------------------------------------------------


def test_jitter_only_ever_shortens_and_by_no_more_than_itself() -> None:
    store = make_store(ttl=60_000, jitter=5)
    drawn = {store.lifetimes.choose(b"", None) for _ in range(2000)}
    assert 55_000 <= min(drawn) < 55_500
    assert 59_500 < max(drawn) <= 60_000


def test_without_jitter_every_entry_lives_exactly_its_ttl() -> None:
    store = make_store(ttl=60_000)
    assert {store.lifetimes.choose(b"", None) for _ in range(100)} == {60_000}


def test_ttl_is_the_calls_before_the_policys_before_the_caches() -> None:
    store = make_store(ttl=60_000, none_ttl=2)
    assert store.lifetimes.choose(b"", None) == 60_000
    assert store.lifetimes.choose(None, None) == 2_000
    assert store.lifetimes.choose(None, 7_000) == 7_000
    assert store.lifetimes.choose(b"", 7_000) == 7_000
    assert make_store(ttl=60_000).lifetimes.choose(None, None) == 60_000


def test_shortest_ttl_is_a_millisecond_and_never_none() -> None:
    store = make_store(ttl=1)
    assert store.lifetimes.choose(b"", None) == 1


# -- statistics --------------------------------------------------------------------------------


def test_statistics_name_every_counter_and_give_a_ratio_without_reads() -> None:
    counters = Counters()
    snapshot = counters.frozen(3, None)
    assert snapshot.flights == 3
    assert snapshot.hit_ratio == 0
    counters.hits, counters.misses = 3, 1
    assert counters.frozen(0, None).hit_ratio == 0.75
    assert snapshot.hits == 0
    documented = {name for name, _ in inspect.getmembers(snapshot) if not name.startswith("_")}
    assert set(Counters.__slots__) < documented
