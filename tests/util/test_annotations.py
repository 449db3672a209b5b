from __future__ import annotations

import pytest

from shoal.util.annotations import AnnotationType, Deprecated, DeveloperAPI, PublicAPI, RayDeprecationWarning


def test_marks_say_what_they_mark() -> None:
    @PublicAPI
    def stable() -> int:
        """Doc."""
        return 1

    @PublicAPI(stability="alpha")
    def alpha() -> int:
        """Doc."""
        return 2

    @DeveloperAPI
    class Low:
        """Doc."""

    assert (stable(), stable.__doc__) == (1, "Doc.")
    assert alpha.__doc__ == "Doc.\n\n**PublicAPI (alpha):** may change before it becomes stable."
    assert Low.__doc__ is not None and "**DeveloperAPI:**" in Low.__doc__
    assert [each._annotated_type for each in (stable, Low)] == [AnnotationType.PUBLIC_API, AnnotationType.DEVELOPER_API]  # type: ignore[attr-defined]


def test_an_unknown_stability_is_refused() -> None:
    with pytest.raises(ValueError, match="stability must be one of .*, but got stability='beat'"):
        PublicAPI(stability="beat")


def test_deprecated_functions_and_classes_warn_when_asked_to() -> None:
    @Deprecated(message="Use new() instead.", warning=True)
    def old() -> int:
        return 1

    @Deprecated(warning=True)
    class Old:
        def __init__(self, value: int) -> None:
            self.value = value

    with pytest.warns(RayDeprecationWarning, match=r"old: .* Use new\(\) instead."):
        assert old() == 1
    with pytest.warns(RayDeprecationWarning, match="Old: "):
        assert Old(3).value == 3
    assert isinstance(Old, type)


def test_deprecated_is_silent_by_default(recwarn: pytest.WarningsRecorder) -> None:
    @Deprecated
    def old() -> int:
        return 1

    assert old() == 1
    assert old.__doc__ is not None and old.__doc__.startswith("**Deprecated:**")
    assert not recwarn.list
