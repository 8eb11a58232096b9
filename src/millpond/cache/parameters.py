"""A decorated function's parameters: what a call passes for each, and which must be in the key.

The classic defect of caching decorators is a parameter that the key does not have: two different
calls, one value. So every parameter is in the template, or is named in `ignore`, or is of the few
that never tell values apart by themselves: `self` and `cls`, and what FastAPI passes in to be
written to. What it takes from the request (`Depends`, `Request`) is where a handler has its user
from, so that it is not left out in silence.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from millpond.cache.keyable import UNKNOWN, attribute_of, plain, resolve, why_not, why_not_many
from millpond.cache.template import Field
from millpond.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

__all__ = ["Parameters"]

_REQUIRED = inspect.Parameter.empty
_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

# Recognised by name: this package does not import web frameworks.
_PASSED_IN = frozenset(
    (
        ("starlette.responses", "Response"),
        ("starlette.background", "BackgroundTasks"),
        ("fastapi.security.oauth2", "SecurityScopes"),
    )
)
_DEPENDS = ("fastapi.params", "Depends")  # Security derives from it
_CONNECTION = ("starlette.requests", "HTTPConnection")  # Request and WebSocket derive from it


class Parameters:
    """The parameters of one function.

    Attributes:
        places: Where `values` has which parameter.
        complete: How many positional arguments are the values as they are; -1: none ever.
    """

    __slots__ = (
        "_defaults",
        "_fewest",
        "_hints",
        "_keywords",
        "_most",
        "_name",
        "_names",
        "_parameters",
        "_signature",
        "complete",
        "places",
    )

    def __init__(self, function: Callable[..., Any]) -> None:
        """Look at a function's signature, once.

        Args:
            function: A coroutine function.

        Raises:
            ConfigError: It has no signature to look at.
        """
        whole: str = getattr(function, "__qualname__", None) or repr(function)
        self._name = whole.rpartition("<locals>.")[2]
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{self._name} has no signature; wrap it in a def") from error
        everything = list(signature.parameters.values())
        self._signature = signature
        self._parameters = {p.name: p for p in everything}
        self._names = tuple(self._parameters)
        self.places: Mapping[str, int] = {name: at for at, name in enumerate(self._names)}
        inner: Any = inspect.unwrap(function)
        namespace = getattr(getattr(inner, "__func__", inner), "__globals__", {})
        annotations = {p.name: p.annotation for p in everything if p.annotation is not p.empty}
        self._hints = resolve(annotations, namespace)
        positional = [
            p for p in everything if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        self._defaults = tuple(p.default for p in everything)
        # How many positional arguments alone make a complete call. Others take the slow way.
        needed = [at for at, p in enumerate(everything) if p.default is _REQUIRED]
        self._fewest = needed[-1] + 1 if needed else 0
        simple = not any(p.kind in _VARIABLE for p in everything)
        self._most = len(positional) if simple else -1
        self.complete = self._most if self._most == len(everything) else -1
        only = any(p.kind is p.POSITIONAL_ONLY for p in everything)
        self._keywords = len(everything) if simple and not only else -1

    def values(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return what a call passes, defaults included, in the order of the signature.

        However the arguments were written, positionally or by name, the same call gives the same
        values.

        Raises:
            TypeError: The function would not take these arguments.
        """
        if not kwargs:
            given = len(args)
            if self._fewest <= given <= self._most:
                return args + self._defaults[given:]
        elif not args and len(kwargs) == self._keywords:
            try:
                return tuple([kwargs[name] for name in self._names])
            except KeyError:
                pass  # one too many and one too few: the next line says which
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return tuple(bound.arguments.values())

    def replaced(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], name: str, value: Any
    ) -> inspect.BoundArguments:
        """Return a call's arguments with another value for one of them."""
        bound = self._signature.bind(*args, **kwargs)
        bound.arguments[name] = value
        return bound

    def check(
        self, template: str, pieces: Collection[str | Field], ignore: Collection[str] = ()
    ) -> None:
        """Check a key template against the parameters.

        Args:
            template: As it is written.
            pieces: Its parts.
            ignore: Parameters that values do not depend on.

        Raises:
            ConfigError: A name that is no parameter, a value that cannot be in a key, a parameter
                that is left out.
        """
        ignore = _names(ignore)
        fields = [piece for piece in pieces if isinstance(piece, Field)]
        named = {field.name for field in fields}
        for name in ignore:
            self._exists(name, f"ignore={tuple(ignore)!r}")
            if name in named:
                raise ConfigError(
                    f"{name!r} is in the template {template!r} and in ignore: decide for one"
                )
        for field in fields:
            self.check_field(template, field, alone=len(pieces) == 1)
        for name in self._names:
            if name not in named and name not in ignore and not self._passed_in(name):
                raise ConfigError(self._left_out(template, name))

    def check_many(
        self,
        template: str,
        pieces: Collection[str | Field],
        over: str,
        ignore: Collection[str] = (),
    ) -> str:
        """Check a key template against the parameters of a function that loads many.

        Args:
            template: As it is written.
            pieces: Its parts.
            over: The parameter that has the ids.
            ignore: Parameters that values do not depend on.

        Returns:
            The template's name for one of the ids.

        Raises:
            ConfigError: As `check`; or there is no such parameter, or no such name.
        """
        ignore = _names(ignore)
        self._exists(over, f"over={over!r}")
        if over in ignore:
            raise ConfigError(f"{over!r} is in over and in ignore: decide for one")
        if self._parameters[over].kind in _VARIABLE:
            raise ConfigError(
                f"over={over!r} takes any number of arguments; give {self._name} one parameter "
                f"with a list of them, as in {over}: list[int]"
            )
        fields = [piece for piece in pieces if isinstance(piece, Field)]
        one = over.removesuffix("s") if over.endswith("s") else f"one_{over}"
        if any(field.name == over for field in fields):
            raise ConfigError(
                f"the template {template!r} names {over!r}, which is all of the ids; write a name "
                f"for one of them, as in '{{{one}}}'"
            )
        names = [field for field in fields if field.name not in self._parameters]
        if len(names) != 1 or names[0].attributes:
            written = ", ".join(field.path for field in names) or "none"
            raise ConfigError(
                f"the template {template!r} must have just one name that is no parameter of "
                f"{self._name}, without attributes, for one of {over!r}, as in '{{{one}}}': it has "
                f"{written}"
            )
        reason = why_not_many(self._hints.get(over, UNKNOWN), alone=len(pieces) == 1)
        if reason:
            raise ConfigError(f"over={over!r} of {self._name} {reason}")
        self.check(template, [p for p in pieces if p is not names[0]], (*ignore, over))
        return names[0].name

    def check_field(self, template: str, field: Field, *, alone: bool = False) -> None:
        """Check one field of a template.

        Args:
            template: As it is written.
            field: To check.
            alone: Whether it is all of the template.

        Raises:
            ConfigError: It names no parameter, or a value that cannot be in a key.
        """
        self._exists(field.name, f"the template {template!r}")
        if self._parameters[field.name].kind in _VARIABLE:
            raise ConfigError(
                f"the template {template!r} names {field.name!r}, which takes any number of "
                f"arguments; give {self._name} a parameter for each that belongs into the key"
            )
        annotation = self._hints.get(field.name, UNKNOWN)
        reason = ""
        for attribute in field.attributes:
            annotation, reason = attribute_of(annotation, attribute)
            if reason:
                break
        reason = reason or why_not(annotation, alone=alone)
        default: object = self._parameters[field.name].default
        if not (reason or field.attributes or default is _REQUIRED):
            reason = why_not(type(default), alone=alone)
        if reason:
            here = f"{{{field.path}}} in the template {template!r} of {self._name}"
            raise ConfigError(f"{here} cannot be in a key: {reason}{self._hint(field)}")

    def _exists(self, name: str, where: str) -> None:
        if name not in self._parameters:
            known = ", ".join(self._names) or "none"
            raise ConfigError(
                f"{where} names {name!r}, but {self._name} has no such parameter: it has {known}"
            )

    def _hint(self, field: Field) -> str:
        """Name an attribute that most likely is meant, where an object was named."""
        cls = plain(self._hints.get(field.name))
        likely = isinstance(cls, type) and not field.attributes and "id" in _annotated(cls)
        return f", as in '{{{field.name}.id}}'" if likely else ""

    def _left_out(self, template: str, name: str) -> str:
        if self._parameters[name].kind in _VARIABLE:
            return (
                f"{self._name} takes any number of arguments in {name!r}, which no template can "
                f"name; give it a parameter for each, or ignore=({name!r},) where the value does "
                "not depend on them"
            )
        if self._of_request(name):
            return (
                f"the template {template!r} leaves out {name!r}, which FastAPI takes from the "
                f"request: {self._name} would give what it made for one visitor to all; name what "
                f"tells them apart, as in '{template}:{{{name}.id}}', or ignore=({name!r},) if the "
                "value does not depend on it"
            )
        return (
            f"the template {template!r} leaves out {name!r}: calls of {self._name} that differ in "
            f"it would share one value; write '{template}:{{{name}}}', or ignore=({name!r},) if "
            "the value does not depend on it"
        )

    def _passed_in(self, name: str) -> bool:
        """Tell whether a parameter is the object of a method, or FastAPI's to be written to."""
        if name in ("self", "cls") and self._names[0] == name:
            return True
        annotation = plain(self._hints.get(name, UNKNOWN))
        return isinstance(annotation, type) and _is(annotation, _PASSED_IN)

    def _of_request(self, name: str) -> bool:
        """Tell whether FastAPI makes a parameter of the request, or passes the request itself."""
        default: object = self._parameters[name].default
        if _is(type(default), (_DEPENDS,)):
            return True
        annotation = self._hints.get(name, UNKNOWN)
        if get_origin(annotation) is Annotated:
            extras: list[object]
            annotation, *extras = get_args(annotation)
            if any(_is(type(extra), (_DEPENDS,)) for extra in extras):
                return True
        return isinstance(annotation, type) and _is(annotation, (_CONNECTION,))


def _names(ignore: Collection[str]) -> Collection[str]:
    if isinstance(ignore, str):
        raise ConfigError(f"ignore must be a tuple of names, as in ignore=({ignore!r},)")
    return ignore


def _is(cls: type, known: Collection[tuple[str, str]]) -> bool:
    return any((base.__module__, base.__name__) in known for base in cls.__mro__)


def _annotated(cls: type) -> set[str]:
    return {name for base in cls.__mro__ for name in inspect.get_annotations(base)}
