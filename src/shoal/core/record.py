"""Frozen records: what ``dataclasses`` would make of the same declarations, without the code that it generates and compiles.
That costs a millisecond for each class of many fields, in the driver and in the zygote before the first result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self, dataclass_transform
else:

    def dataclass_transform(**how: Any) -> Callable[[type], type]:
        """What it says is for type checkers."""
        return lambda cls: cls


@dataclass_transform(frozen_default=True)
class Record:
    """A subclass declares its fields as annotations, those with a default last. Compared and hashed by type and values,
    unless it is declared ``by_identity``.

    An instance keeps what it was given; a default is the class's attribute. Raises TypeError for a missing or unknown field,
    AttributeError when a field is set afterwards."""

    fields: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, by_identity: bool = False) -> None:
        cls.fields = (*cls.fields, *cls.__annotations__)
        if by_identity:
            cls.__eq__, cls.__hash__ = object.__eq__, object.__hash__  # type: ignore[method-assign]

    def __init__(self, *args: Any, **values: Any) -> None:
        names = self.fields
        if args:
            if len(args) > len(names) or any(name in values for name in names[: len(args)]):
                raise TypeError(
                    f"{type(self).__name__} takes each of {list(names)} once, but got {len(args)} values and {values}"
                )
            values = {**dict(zip(names, args, strict=False)), **values}
        self.__dict__.update(values)
        if not values.keys() <= set(names):
            raise TypeError(f"{type(self).__name__} has the fields {list(names)}, but got {sorted(values.keys() - set(names))}")
        missing = [name for name in names if name not in values and not hasattr(type(self), name)]
        if missing:
            raise TypeError(f"{type(self).__name__} needs {missing}")

    def replaced(self, **changes: Any) -> Self:
        """The same with other values of some fields."""
        return type(self)(**{**self.__dict__, **changes})

    def values(self) -> tuple[Any, ...]:
        """Of all fields, in their order."""
        return tuple(getattr(self, name) for name in self.fields)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a {type(self).__name__} does not change, but {name} was set to {value!r}: use replaced()")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a {type(self).__name__} does not change, but {name} was deleted")

    def __eq__(self, other: object) -> bool:
        return self.values() == other.values() if type(self) is type(other) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), self.values()))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in zip(self.fields, self.values(), strict=True))
        return f"{type(self).__qualname__}({shown})"
