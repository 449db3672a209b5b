"""Signatures as small plain data: checked at the call site, carried by handles, quoted in errors."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any

from shoal.core.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

UNLIMITED = -1

_KINDS = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
    inspect.Parameter.KEYWORD_ONLY,
    inspect.Parameter.VAR_KEYWORD,
)
_POSITIONAL = (0, 1)


class Parameter(Record):
    """One parameter. ``kind`` is the integer of ``inspect.Parameter.kind``."""

    name: str
    kind: int
    has_default: bool

    def __reduce__(self) -> tuple[type[Parameter], tuple[str, int, bool]]:
        return type(self), (self.name, self.kind, self.has_default)

    def __str__(self) -> str:
        stars = {2: "*", 4: "**"}.get(self.kind, "")
        return f"{stars}{self.name}{'=...' if self.has_default else ''}"


class Signature(Record):
    """What a call may pass.

    The summary lets a caller skip the check: a call without keywords whose number of arguments is within
    ``min_positional`` .. ``max_positional`` (-1 = any number) is right, unless ``needs_keywords``.
    """

    parameters: tuple[Parameter, ...]
    min_positional: int
    max_positional: int
    needs_keywords: bool

    @classmethod
    def of(cls, function: Callable[..., Any], *, skip_first: bool = False) -> Signature:
        """The signature of ``function``; without its first parameter (``self``) when ``skip_first``.

        A callable that has none to show (some built-ins) accepts everything. A function of a class that takes no ``self`` is
        for calls by the class: as a method it takes nothing, and fails where it is called."""
        try:
            found = list(signature_of(function).parameters.values())
        except (ValueError, TypeError):
            return ANYTHING
        if skip_first and found and found[0].kind in _POSITIONAL:
            found = found[1:]
        return cls.from_parameters(
            tuple(Parameter(each.name, int(each.kind), each.default is not inspect.Parameter.empty) for each in found)
        )

    @classmethod
    def from_parameters(cls, parameters: tuple[Parameter, ...]) -> Signature:
        positional = [parameter for parameter in parameters if parameter.kind in _POSITIONAL]
        is_open = any(parameter.kind == inspect.Parameter.VAR_POSITIONAL for parameter in parameters)
        return cls(
            parameters,
            min_positional=sum(not parameter.has_default for parameter in positional),
            max_positional=UNLIMITED if is_open else len(positional),
            needs_keywords=any(
                parameter.kind == inspect.Parameter.KEYWORD_ONLY and not parameter.has_default for parameter in parameters
            ),
        )

    def accepts_positional(self, count: int) -> bool:
        """Whether a call with ``count`` arguments and no keywords is right. Cheap."""
        if self.needs_keywords or count < self.min_positional:
            return False
        return self.max_positional == UNLIMITED or count <= self.max_positional

    def check(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Raises TypeError, quoting the signature, when ``name(*args, **kwargs)`` could not be called."""
        if not kwargs and self.accepts_positional(len(args)):
            return
        try:
            self._rebuilt().bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{name}{self}: {error}") from None

    def __str__(self) -> str:
        parts: list[str] = []
        kinds = [parameter.kind for parameter in self.parameters]
        for index, parameter in enumerate(self.parameters):
            if parameter.kind == 3 and 2 not in kinds and kinds.index(3) == index:
                parts.append("*")
            parts.append(str(parameter))
            if parameter.kind == 0 and 0 not in kinds[index + 1 :]:
                parts.append("/")
        return f"({', '.join(parts)})"

    def __reduce__(self) -> tuple[Callable[..., Signature], tuple[tuple[tuple[str, int, bool], ...]]]:
        return _restore, (tuple((each.name, each.kind, each.has_default) for each in self.parameters),)

    def _rebuilt(self) -> inspect.Signature:
        return inspect.Signature(
            [
                inspect.Parameter(each.name, _KINDS[each.kind], default=None if each.has_default else inspect.Parameter.empty)
                for each in self.parameters
            ]
        )


def _restore(parameters: tuple[tuple[str, int, bool], ...]) -> Signature:
    return Signature.from_parameters(tuple(Parameter(*each) for each in parameters))


ANYTHING = Signature.from_parameters((Parameter("args", 2, False), Parameter("kwargs", 4, False)))


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """As ``inspect.signature``, whatever the annotations name: from Python 3.14 on they are evaluated when somebody looks, and
    may name what is imported for type checkers alone."""
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return inspect.signature(function, annotation_format=Format.FORWARDREF)
    return inspect.signature(function)
