from __future__ import annotations

from typing import Any

import pytest

import shoal
from shoal.core.labels import matches
from shoal.core.scheduling_strategies import (
    DoesNotExist,
    Exists,
    In,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    NotIn,
    PlacementGroupSchedulingStrategy,
)

NODE = shoal.NodeID(b"n" * 28)


def test_affinity_takes_an_id_or_its_hex() -> None:
    assert NodeAffinitySchedulingStrategy(NODE, soft=True).node_id == NODE.hex()
    assert NodeAffinitySchedulingStrategy(NODE.hex(), soft=False).soft is False


@pytest.mark.parametrize("node_id", ["invalid", "", "ab", shoal.NodeID.nil().hex()])
def test_affinity_refuses_what_is_no_node(node_id: str) -> None:
    with pytest.raises(ValueError, match=f"Invalid node_id '{node_id}'"):
        NodeAffinitySchedulingStrategy(node_id, soft=False)


def test_affinity_refuses_contradictions() -> None:
    with pytest.raises(ValueError, match="_spill_on_unavailable cannot be set when soft is False"):
        NodeAffinitySchedulingStrategy(NODE, soft=False, _spill_on_unavailable=True)
    with pytest.raises(ValueError, match="_fail_on_unavailable cannot be set when soft is True"):
        NodeAffinitySchedulingStrategy(NODE, soft=True, _fail_on_unavailable=True)


@pytest.mark.parametrize(
    ("hard", "accepted"),
    [
        ({"zone": In("a", "b")}, True),
        ({"zone": NotIn("a")}, False),
        ({"gpu": NotIn("h100")}, True),
        ({"zone": Exists()}, True),
        ({"zone": DoesNotExist()}, False),
        ({"gpu": DoesNotExist(), "zone": In("c")}, False),
    ],
)
def test_label_expressions(hard: dict[str, Any], accepted: bool) -> None:
    strategy = NodeLabelSchedulingStrategy(hard, soft={"zone": In("z")})
    assert strategy.accepts({"zone": "a"}) is accepted
    assert not strategy.prefers({"zone": "a"}) and strategy.prefers({"zone": "z"})


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: In(), "non-empty tuple"),
        (lambda: NotIn("a", 3), "position 1 for the NotIn operator must be str"),
        (lambda: NodeLabelSchedulingStrategy("x"), "The hard parameter must be a map"),  # type: ignore[arg-type]
        (lambda: NodeLabelSchedulingStrategy({}, soft="x"), "The soft parameter must be a map"),  # type: ignore[arg-type]
        (lambda: NodeLabelSchedulingStrategy({1: Exists()}), "map key of the hard parameter"),  # type: ignore[dict-item]
        (lambda: NodeLabelSchedulingStrategy({"a": "b"}), "map value for key a"),  # type: ignore[dict-item]
        (lambda: NodeLabelSchedulingStrategy({}), "cannot both be empty"),
    ],
)
def test_malformed_strategies(build: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        build()


def test_strategies_are_options_and_print_themselves() -> None:
    strategies = [
        NodeAffinitySchedulingStrategy(NODE, soft=True),
        NodeLabelSchedulingStrategy({"zone": Exists()}),
        PlacementGroupSchedulingStrategy(None),
    ]
    for strategy in strategies:
        assert type(strategy).__name__ in repr(strategy)
        function = shoal.remote(scheduling_strategy=strategy)(lambda: 1)
        assert function._options.scheduling_strategy is strategy


def test_a_nodes_id_is_a_string_or_an_id() -> None:
    with pytest.raises(TypeError, match="node_id must be a hex string or a NodeID, but got node_id=3"):
        NodeAffinitySchedulingStrategy(3, soft=False)  # type: ignore[arg-type]


@pytest.mark.parametrize("labels", [{}, {"zone": "a"}, {"zone": ""}, {"zone": "b", "gpu": "x"}])
@pytest.mark.parametrize(
    "match", [In("a"), In("a", "b"), In(""), In("a,b"), In("*"), NotIn("a"), NotIn("a,b"), Exists(), DoesNotExist()]
)
def test_a_strategys_selector_accepts_the_same_nodes(match: Any, labels: dict[str, str]) -> None:
    strategy = NodeLabelSchedulingStrategy({"zone": match})
    assert matches(strategy.hard_selector(), labels) is strategy.accepts(labels)
