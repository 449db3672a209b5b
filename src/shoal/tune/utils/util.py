"""The same helpers under their longer name."""

from shoal.tune.utils import (
    diagnose_serialization,
    flatten_dict,
    merge_dicts,
    unflatten_dict,
    unflatten_list_dict,
    validate_save_restore,
    wait_for_gpu,
)

__all__ = [
    "diagnose_serialization",
    "flatten_dict",
    "merge_dicts",
    "unflatten_dict",
    "unflatten_list_dict",
    "validate_save_restore",
    "wait_for_gpu",
]
