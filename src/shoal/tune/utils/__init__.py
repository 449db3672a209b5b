"""Helpers, where Ray's programs look for them."""

from shoal.tune.flatten import flatten_dict, merge_dicts, unflatten_dict, unflatten_list_dict
from shoal.tune.utils.gpu import wait_for_gpu
from shoal.tune.utils.serialization import diagnose_serialization, validate_save_restore

__all__ = [
    "diagnose_serialization",
    "flatten_dict",
    "merge_dicts",
    "unflatten_dict",
    "unflatten_list_dict",
    "validate_save_restore",
    "wait_for_gpu",
]
