"""However a call is written, it is taken as Python itself would take it: every small case."""

from __future__ import annotations

import inspect
from itertools import combinations, combinations_with_replacement, product
from typing import TYPE_CHECKING, Any

from millpond.cache.parameters import Parameters

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = "abc"
KINDS = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
    inspect.Parameter.KEYWORD_ONLY,
    inspect.Parameter.VAR_KEYWORD,
)


def signatures() -> Iterator[inspect.Signature]:
    """Give every signature of at most three parameters."""
    for count in range(len(NAMES) + 1):
        for kinds in combinations_with_replacement(KINDS, count):
            for optional in product((False, True), repeat=count):
                try:
                    yield inspect.Signature(
                        [
                            inspect.Parameter(
                                name,
                                kind,
                                default=f"default {name}" if has else inspect.Parameter.empty,
                            )
                            for name, kind, has in zip(NAMES, kinds, optional, strict=False)
                        ]
                    )
                except ValueError:
                    continue  # Python does not allow it


def calls() -> Iterator[tuple[tuple[int, ...], dict[str, int]]]:
    """Give every call with at most four positional arguments and these names."""
    for given in range(5):
        for count in range(len(NAMES) + 2):
            for named in combinations("dcba", count):
                yield tuple(range(given)), {name: ord(name) for name in named}


def expected(signature: inspect.Signature, args: Any, kwargs: Any) -> Any:
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError:
        return TypeError
    bound.apply_defaults()
    return tuple(bound.arguments.values())


def found(parameters: Parameters, args: Any, kwargs: Any) -> Any:
    try:
        return parameters.values(args, kwargs)
    except TypeError:
        return TypeError


def test_values_of_a_call_are_those_that_binding_gives() -> None:
    every, checked, whole = list(calls()), 0, 0

    async def function() -> None: ...

    for signature in signatures():
        function.__signature__ = signature  # type: ignore[attr-defined]  # pyright: ignore[reportFunctionMemberAccess]
        parameters = Parameters(function)
        assert list(parameters.places) == list(signature.parameters)
        for args, kwargs in every:
            values = expected(signature, args, kwargs)
            assert found(parameters, args, kwargs) == values, (signature, args, kwargs)
            checked += 1
            if not kwargs and len(args) == parameters.complete:
                assert values == args
                whole += 1
    assert checked > 10_000
    assert whole > 10
