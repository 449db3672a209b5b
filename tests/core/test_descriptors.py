from __future__ import annotations

import functools
import pickle
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import shoal
from shoal.core.descriptors import BUILT_IN_METHODS, ClassSpec, FunctionSpec
from shoal.core.options import ActorOptions, TaskOptions


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


class Base:
    def inherited(self, a: int) -> int:
        return a


class Sample(Base):
    def __init__(self, size: int, *, name: str = "") -> None: ...

    def plain(self, x: int, y: int = 1) -> int:
        return x + y

    @shoal.method(num_returns=2, concurrency_group="io")
    def two(self) -> tuple[int, int]:
        return 1, 2

    def stream(self) -> Iterator[int]:
        yield 1

    async def later(self) -> int:
        return 1

    async def later_stream(self) -> AsyncIterator[int]:
        yield 1

    @staticmethod
    def static(a: int) -> int:
        return a

    @classmethod
    def of_class(cls, b: int) -> int:
        return b

    @logged
    def wrapped(self, z: int) -> int:
        return z

    def _private(self) -> None: ...

    def __call__(self, request: int) -> int:
        return request

    @property
    def no_method(self) -> int:
        return 1


def spec_of(actor_class: type, **options: Any) -> ClassSpec:
    return ClassSpec.of(actor_class, ActorOptions.from_keywords(**options))


@pytest.fixture
def sample() -> ClassSpec:
    return spec_of(Sample, concurrency_groups={"io": 2})


def test_a_class_has_all_its_methods(sample: ClassSpec) -> None:
    assert {name: str(method.signature) for name, method in sample.methods.items()} == {
        "__call__": "(request)",
        "_private": "()",
        "inherited": "(a)",
        "later": "()",
        "later_stream": "()",
        "of_class": "(b)",
        "plain": "(x, y=...)",
        "static": "(a)",
        "stream": "()",
        "two": "()",
        "wrapped": "(z)",
    }
    assert str(sample.init_signature) == "(size, *, name=...)"


def test_generators_and_coroutines_are_told_apart(sample: ClassSpec) -> None:
    kinds = {name: (method.is_generator, method.is_async) for name, method in sample.methods.items()}
    assert kinds["plain"] == (False, False) and kinds["stream"] == (True, False)
    assert kinds["later"] == (False, True) and kinds["later_stream"] == (True, True)


def test_one_async_method_makes_the_class_async(sample: ClassSpec) -> None:
    assert sample.is_async and not spec_of(Base).is_async


def test_methods_have_the_options_of_their_decorator(sample: ClassSpec) -> None:
    assert sample.methods["two"].options.num_returns == 2
    assert sample.methods["two"].options.concurrency_group == "io"
    assert sample.methods["plain"].options.num_returns is None


def test_an_unknown_concurrency_group_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Sample has no concurrency group 'io'; its groups are \[\]"):
        spec_of(Sample)


def test_every_class_has_the_built_in_methods(sample: ClassSpec) -> None:
    for name in ("__ray_ready__", "__ray_call__", "__ray_terminate__"):
        assert sample.method(name) is BUILT_IN_METHODS[name]
    assert sample.method("missing") is None


def test_a_class_without_constructor_takes_no_arguments() -> None:
    with pytest.raises(TypeError, match="too many positional"):
        spec_of(Base).init_signature.check("Base", (1,), {})


def test_a_pickled_spec_is_small_and_leaves_the_class_out(sample: ClassSpec) -> None:
    data = pickle.dumps(sample)
    copy = pickle.loads(data)
    assert copy.cls is None and copy.name == "Sample" and copy.is_async
    assert copy.methods["plain"].signature == sample.methods["plain"].signature
    assert copy.options == sample.options and len(data) < 1500
    assert sample.without_class().cls is None


def test_a_function_spec_knows_its_function() -> None:
    def numbers(n: int) -> Iterator[int]:
        yield from range(n)

    spec = FunctionSpec.of(numbers, TaskOptions())
    assert spec.is_generator and spec.name.endswith("numbers") and spec.module == __name__
    assert str(spec.signature) == "(n)"


def test_async_functions_cannot_be_tasks() -> None:
    async def later() -> None: ...

    async def stream() -> AsyncIterator[int]:
        yield 1

    for function in (later, stream):
        with pytest.raises(ValueError, match="'async def' should not be used for remote tasks"):
            FunctionSpec.of(function, TaskOptions())


def test_a_plain_function_cannot_stream() -> None:
    with pytest.raises(ValueError, match="can only be used with generator"):
        FunctionSpec.of(spec_of, TaskOptions.from_keywords(num_returns="streaming"))
