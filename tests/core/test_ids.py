from __future__ import annotations

import pickle

import pytest

import shoal
from shoal.core.ids import BaseID

ID_TYPES: list[type[BaseID]] = [
    shoal.ActorClassID,
    shoal.ActorID,
    shoal.ClusterID,
    shoal.FunctionID,
    shoal.JobID,
    shoal.NodeID,
    shoal.PlacementGroupID,
    shoal.TaskID,
    shoal.UniqueID,
    shoal.WorkerID,
]


@pytest.mark.parametrize("id_type", ID_TYPES)
def test_an_id_survives_hex_bytes_and_pickle(id_type: type[BaseID]) -> None:
    made = id_type.from_random()
    assert id_type.from_hex(made.hex()) == id_type.from_binary(made.binary()) == pickle.loads(pickle.dumps(made)) == made
    assert hash(id_type(made.binary())) == hash(made) and len(made.binary()) == id_type.size()
    assert repr(made) == f"{id_type.__name__}({made.hex()})" and not made.is_nil()
    assert id_type.nil().is_nil() and id_type.nil() != made


@pytest.mark.parametrize("id_type", ID_TYPES)
def test_a_wrong_length_is_refused(id_type: type[BaseID]) -> None:
    with pytest.raises(ValueError, match=rf"{id_type.__name__} needs to have length {id_type.SIZE}, but got 3"):
        id_type(b"abc")
    with pytest.raises(ValueError, match="needs to have length|non-hexadecimal"):
        id_type.from_hex("zz")
    with pytest.raises(TypeError, match="must be made of bytes"):
        id_type("text")  # type: ignore[arg-type]


def test_ids_of_different_types_differ() -> None:
    assert shoal.NodeID(b"x" * 28) != shoal.WorkerID(b"x" * 28)


def test_an_id_holds_those_it_belongs_to() -> None:
    job = shoal.JobID.from_int(7)
    actor = shoal.ActorID(b"a" * 12 + job.binary())
    task = shoal.TaskID(b"t" * 8 + actor.binary())
    assert job.int() == 7 and actor.job_id == job and task.actor_id() == actor and task.job_id() == job
