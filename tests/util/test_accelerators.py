from __future__ import annotations

from shoal.util import accelerators


def test_names_are_what_nodes_detect() -> None:
    assert accelerators.NVIDIA_TESLA_V100 == "V100"
    assert accelerators.NVIDIA_H100 == "H100"
    assert accelerators.AMD_INSTINCT_MI300x == "AMD-Instinct-MI300X-OAM"
    assert (accelerators.APPLE_M3_MAX, accelerators.MOBILINT_ARIES) == ("M3-Max", "MOBILINT_ARIES")


def test_every_constant_is_text_without_blanks() -> None:
    names = [
        name
        for name in vars(accelerators)
        if name.isidentifier() and name.split("_")[0] in ("NVIDIA", "AMD", "INTEL", "GOOGLE")
    ]
    assert len(names) > 30
    for name in names:
        value = getattr(accelerators, name)
        assert isinstance(value, str) and " " not in value
