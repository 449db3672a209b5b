from __future__ import annotations

import inspect
import pickle
import sys
import types
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.signatures import ANYTHING, UNLIMITED, Signature, signature_of


def positional_only(a, b=1, /, c=2, *, d, e=3): ...  # type: ignore[no-untyped-def]
def open_ended(a, *rest, d=1, **more): ...  # type: ignore[no-untyped-def]
def plain(a, b, c=0): ...  # type: ignore[no-untyped-def]
def nothing(): ...  # type: ignore[no-untyped-def]


FUNCTIONS = [positional_only, open_ended, plain, nothing]


@pytest.mark.parametrize(
    ("function", "summary", "text"),
    [
        (positional_only, (1, 3, True), "(a, b=..., /, c=..., *, d, e=...)"),
        (open_ended, (1, UNLIMITED, False), "(a, *rest, d=..., **more)"),
        (plain, (2, 3, False), "(a, b, c=...)"),
        (nothing, (0, 0, False), "()"),
    ],
)
def test_summary_and_text(function: object, summary: tuple[int, int, bool], text: str) -> None:
    signature = Signature.of(function)  # type: ignore[arg-type]
    assert (signature.min_positional, signature.max_positional, signature.needs_keywords) == summary
    assert str(signature) == text


def test_annotations_that_only_type_checkers_can_evaluate_are_not_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Python 3.14 does it, which evaluates them when they are asked for."""
    real = inspect.signature

    def lazy(function: Any, *, annotation_format: str = "VALUE") -> inspect.Signature:
        if annotation_format == "VALUE":
            raise NameError("name 'OnlyForCheckers' is not defined")
        return real(function)

    library: Any = types.ModuleType("annotationlib")
    library.Format = types.SimpleNamespace(FORWARDREF="FORWARDREF")
    monkeypatch.setitem(sys.modules, "annotationlib", library)
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    monkeypatch.setattr(inspect, "signature", lazy)
    assert signature_of(plain) == real(plain)
    assert str(Signature.of(plain)) == "(a, b, c=...)"


@given(st.sampled_from(FUNCTIONS), st.integers(0, 5), st.sets(st.sampled_from("abcdez")))
def test_the_check_agrees_with_python(function, count, names) -> None:  # type: ignore[no-untyped-def]
    args, kwargs = (0,) * count, dict.fromkeys(names, 0)
    signature = Signature.of(function)
    try:
        function(*args, **kwargs)
    except TypeError:
        with pytest.raises(TypeError) as caught:
            signature.check("name", args, kwargs)
        assert str(caught.value).startswith(f"name{signature}: ")
        assert kwargs or not signature.accepts_positional(count)
    else:
        signature.check("name", args, kwargs)


def test_self_is_left_out() -> None:
    class A:
        def method(self, x: int) -> None: ...

        def without_self() -> None: ...  # type: ignore[misc]

        def any_self(*args: object) -> None: ...

    assert str(Signature.of(A.method, skip_first=True)) == "(x)"
    assert str(Signature.of(A.any_self, skip_first=True)) == "(*args)"
    assert str(Signature.of(A.without_self, skip_first=True)) == "()"


def test_a_callable_without_signature_accepts_everything() -> None:
    signature = Signature.of(dict)  # its signature depends on its arguments
    signature.check("f", (1, 2), {"a": 3})
    assert ANYTHING.accepts_positional(100)


def test_signatures_pickle_small_and_equal() -> None:
    signature = Signature.of(positional_only)
    data = pickle.dumps(signature)
    assert pickle.loads(data) == signature and len(data) < 150
