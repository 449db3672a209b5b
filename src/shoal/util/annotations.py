"""Marks on public names: how stable they are, and what is going away."""

from __future__ import annotations

import functools
import inspect
import sys
import warnings
from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar, cast, overload

T = TypeVar("T")

_STABILITIES = ("stable", "beta", "alpha")


class AnnotationType(Enum):
    PUBLIC_API = "PublicAPI"
    DEVELOPER_API = "DeveloperAPI"
    DEPRECATED = "Deprecated"
    UNKNOWN = "Unknown"


class RayDeprecationWarning(DeprecationWarning):
    """The category of every deprecation warning of this package, so that it can be filtered alone."""


if not sys.warnoptions:
    # Python hides DeprecationWarning outside __main__; a user should see ours once per module that triggers it.
    warnings.filterwarnings("module", category=RayDeprecationWarning)


@overload
def PublicAPI(target: T, /) -> T: ...
@overload
def PublicAPI(*, stability: str = "stable", api_group: str = "Others") -> Callable[[T], T]: ...
def PublicAPI(target: Any = None, /, *, stability: str = "stable", api_group: str = "Others") -> Any:  # noqa: N802
    """Marks a function or class that users may rely on.

    ``stability`` is "stable" (kept within a major version), "beta" or "alpha"; the last two are noted in the docstring.
    Usable bare (``@PublicAPI``) or called. Raises ValueError for an unknown stability.
    """
    if stability not in _STABILITIES:
        raise ValueError(f"stability must be one of {_STABILITIES}, but got stability={stability!r}")

    def mark(annotated: T) -> T:
        if stability != "stable":
            _append_to_docstring(annotated, f"**PublicAPI ({stability}):** may change before it becomes stable.")
        return _mark(annotated, AnnotationType.PUBLIC_API, api_group)

    return mark if target is None else mark(target)


@overload
def DeveloperAPI(target: T, /) -> T: ...
@overload
def DeveloperAPI() -> Callable[[T], T]: ...
def DeveloperAPI(target: Any = None, /) -> Any:  # noqa: N802
    """Marks a low-level name for authors of libraries: it may change in a minor version."""

    def mark(annotated: T) -> T:
        _append_to_docstring(annotated, "**DeveloperAPI:** may change in a minor version.")
        return _mark(annotated, AnnotationType.DEVELOPER_API, "Others")

    return mark if target is None else mark(target)


@overload
def Deprecated(target: T, /) -> T: ...
@overload
def Deprecated(*, message: str = "", warning: bool = False) -> Callable[[T], T]: ...
def Deprecated(target: Any = None, /, *, message: str = "", warning: bool = False) -> Any:  # noqa: N802
    """Marks a name that will be removed. ``message`` says what to use instead.

    With ``warning=True`` calling the function, or making the class, warns with RayDeprecationWarning.
    """

    def mark(annotated: T) -> T:
        notice = f"This API is deprecated and will be removed. {message}".rstrip()
        _append_to_docstring(annotated, f"**Deprecated:** {notice}")
        marked = _with_warning(annotated, notice) if warning else annotated
        return _mark(marked, AnnotationType.DEPRECATED, "Others")

    return mark if target is None else mark(target)


def _with_warning(annotated: T, notice: str) -> T:
    if inspect.isclass(annotated):
        cls: Any = annotated
        cls.__init__ = _warn_then_call(cls.__init__, f"{cls.__name__}: {notice}")
        return annotated
    function = cast(Callable[..., Any], annotated)
    return cast(T, _warn_then_call(function, f"{getattr(function, '__name__', function)}: {notice}"))


def _warn_then_call(function: Callable[..., Any], notice: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def warn_and_call(*args: Any, **kwargs: Any) -> Any:
        warnings.warn(notice, RayDeprecationWarning, stacklevel=2)
        return function(*args, **kwargs)

    return warn_and_call


def _mark(annotated: T, kind: AnnotationType, api_group: str) -> T:
    if hasattr(annotated, "__name__"):
        marked: Any = annotated
        marked._annotated = marked.__name__
        marked._annotated_type = kind
        marked._annotated_api_group = api_group
    return annotated


def _append_to_docstring(annotated: Any, text: str) -> None:
    # getdoc removes the indentation, so that the appended paragraph lines up with the rest.
    annotated.__doc__ = "\n\n".join(part for part in (inspect.cleandoc(annotated.__doc__ or ""), text) if part)
