from __future__ import annotations

import pytest

from shoal.core import labels


@pytest.mark.parametrize("key", ["a", "a-b_c.d", "ray.io/zone", "x" * 63, "a.b-c/d"])
def test_well_formed_keys_pass(key: str) -> None:
    labels.check_label_key(key)


@pytest.mark.parametrize("key", ["", "-a", "a-", "x" * 64, "a b", "/a", "a/", "UPPER.io/a", f"{'p' * 254}/a", "a//b"])
def test_malformed_keys_name_the_key(key: str) -> None:
    with pytest.raises(ValueError, match="Invalid label key"):
        labels.check_label_key(key)


@pytest.mark.parametrize("value", ["bad value", "-", "x" * 64, 3])
def test_malformed_values_name_the_label(value: object) -> None:
    with pytest.raises(ValueError, match="'zone'"):
        labels.check_labels({"zone": value})  # type: ignore[dict-item]


def test_reserved_keys_are_for_the_system() -> None:
    with pytest.raises(ValueError, match=r"ray\.io/"):
        labels.check_labels({"ray.io/zone": "a"})
    assert labels.check_labels({"ray.io/zone": "a"}, allow_reserved=True) == {"ray.io/zone": "a"}


@pytest.mark.parametrize(
    ("selector", "parsed"),
    [
        ("v", (False, ("v",))),
        ("!v", (True, ("v",))),
        ("in(a,b)", (False, ("a", "b"))),
        ("!in(a, b)", (True, ("a", "b"))),
        ("", (False, ("",))),
    ],
)
def test_selector_values_are_parsed(selector: str, parsed: tuple[bool, tuple[str, ...]]) -> None:
    assert labels.parse_selector_value(selector, "k") == parsed


@pytest.mark.parametrize("selector", ["in()", "in(a", "!!v", "a b", "in(a,)", 7])
def test_malformed_selectors_are_refused(selector: object) -> None:
    with pytest.raises(ValueError, match="Invalid label selector value"):
        labels.check_label_selector({"k": selector})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("selector", "accepted"),
    [
        ({"zone": "a"}, True),
        ({"zone": "!a"}, False),
        ({"zone": "in(a,b)"}, True),
        ({"zone": "!in(b,c)"}, True),
        ({"missing": "a"}, False),
        ({"missing": "!a"}, True),
        ({"zone": "a", "disk": "ssd"}, False),
        ({}, True),
    ],
)
def test_a_selector_accepts_the_nodes_it_describes(selector: dict[str, str], accepted: bool) -> None:
    assert labels.matches(selector, {"zone": "a", "disk": "hdd"}) is accepted


@pytest.mark.parametrize(
    ("strategy", "reason"),
    [
        (["a"], "must be a dictionary"),
        ([{}], "Empty dictionary"),
        ([{"num_cpus": 1}], "Unsupported option found: 'num_cpus'"),
        ([{"label_selector": "a"}], "must be a dictionary"),
        ([{"label_selector": {"a": "in("}}], "Invalid label selector value"),
    ],
)
def test_malformed_fallbacks_are_refused(strategy: list[object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        labels.check_fallback_strategy(strategy)


def test_fallbacks_keep_their_order() -> None:
    assert labels.check_fallback_strategy([{"label_selector": {"a": "1"}}, {"label_selector": {"b": "!2"}}]) == (
        {"a": "1"},
        {"b": "!2"},
    )
