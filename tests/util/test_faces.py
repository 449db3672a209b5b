"""The modules of util that pass names of the core on."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import shoal


@pytest.mark.parametrize("module", ["placement_group", "scheduling_strategies", "serialization", "_control_plane"])
def test_every_name_that_is_passed_on_is_there(module: str) -> None:
    face = importlib.import_module(f"shoal.util.{module}")
    assert all(hasattr(face, name) for name in face.__all__)


def test_every_public_name_of_util_resolves() -> None:
    assert all(getattr(shoal.util, name) is not None for name in shoal.util.__all__)
    with pytest.raises(AttributeError, match="'shoal.util' has no attribute 'missing'"):
        shoal.util.missing


def test_modules_that_programs_of_ray_do_not_import_are_there_by_name() -> None:
    program = "import shoal; print(shoal.util.scheduling_strategies.__name__, shoal.util.rpdb is shoal.util.pdb)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "shoal.util.scheduling_strategies True\n"


def test_placement_group_stays_the_function() -> None:
    program = "import shoal.util.placement_group, shoal; assert callable(shoal.util.placement_group)"
    subprocess.run([sys.executable, "-c", program], timeout=30, check=True)


def test_util_loads_no_heavy_module() -> None:
    program = "import sys, shoal.util; print(sorted({'numpy', 'joblib', 'torch', 'multiprocessing'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "[]\n"


def test_annotations_is_the_module() -> None:
    program = "from shoal.util import annotations; print(annotations.PublicAPI.__name__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "PublicAPI\n"
