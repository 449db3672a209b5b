from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from shoal.core.native import node_traits

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("NVIDIA A100-SXM4-40GB", "A100"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA L4", "L4"),
        ("Tesla V100-SXM2-16GB", "V100"),
        ("NVIDIA GeForce RTX 3090", None),
    ],
)
def test_the_type_of_a_gpu_is_taken_from_its_model(model: str, expected: str | None, tmp_path: Path) -> None:
    for address in ("0000:17:00.0", "0000:65:00.0"):
        (tmp_path / address).mkdir()
    (tmp_path / "0000:17:00.0" / "information").write_text(f"Model: \t\t {model}\nIRQ:   \t\t 44\n")
    assert node_traits.gpu_type(str(tmp_path)) == expected


def test_a_node_without_gpus_has_no_type_of_them(tmp_path: Path) -> None:
    assert node_traits.gpu_type(str(tmp_path)) is None
    assert node_traits.gpu_type(str(tmp_path / "missing")) is None


def test_labels_come_from_the_surroundings_and_then_from_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in node_traits.LABEL_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("RAY_NODE_MARKET_TYPE", "spot")
    monkeypatch.setenv("RAY_NODE_ZONE", "z1")
    with pytest.warns(UserWarning, match=r"ray\.io/availability-zone='z2' that was given replaces 'z1'"):
        labels = node_traits.node_labels("n", "A100", {"ray.io/availability-zone": "z2", "rack": "7"})
    assert labels == {
        "ray.io/market-type": "spot",
        "ray.io/availability-zone": "z2",
        "ray.io/accelerator-type": "A100",
        "rack": "7",
        "ray.io/node-id": "n",
    }
