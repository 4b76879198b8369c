"""What processes on Ray ask of its machines; and addresses without Ray."""

import os

import pytest

from planned_diffusion.inference.ray_cluster import Wanted, share_of, start_ray


@pytest.mark.parametrize(
    ("machines", "fields", "expected"),
    [
        ([{"CPU": 8.0}], {"count": 2}, (2, {"num_cpus": 4})),
        ([{"CPU": 2.0}], {"count": 2}, (2, {"num_cpus": 1})),
        ([{"CPU": 4.0}], {"count": 6}, (6, {"num_cpus": 1})),
        ([{"CPU": 8.0}, {"CPU": 4.0}], {"cluster": "auto"}, (2, {"num_cpus": 4})),
        ([{"CPU": 8.0, "GPU": 2.0}, {"CPU": 8.0, "GPU": 1.0}], {"cluster": "a"}, (3, {"num_cpus": 1, "num_gpus": 1})),
        ([{"CPU": 8.0, "GPU": 2.0}], {"count": 4, "device": "cpu"}, (4, {"num_cpus": 2})),
        ([{"CPU": 8.0, "GPU": 2.0}], {"count": 4, "cluster": "auto"}, (4, {"num_cpus": 1, "num_gpus": 1})),
    ],
)
def test_what_a_process_asks_for(machines, fields, expected):
    assert share_of(Wanted("workers", **fields), machines) == expected


def test_more_processes_than_gpus_are_refused():
    with pytest.raises(ValueError, match="replicas is 3, and there are 2 GPUs; give at most 2, or --device cpu"):
        share_of(Wanted("replicas", 3), [{"CPU": 8.0, "GPU": 2.0}])
    with pytest.raises(ValueError, match="replicas is 0; give 1 or more"):
        Wanted("replicas", 0)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:here"])
def test_an_address_without_ray_is_refused_at_once(address):
    with pytest.raises(RuntimeError, match=f"There is no Ray at {address} .*; start one, or mend --ray"):
        start_ray(os, Wanted("workers", cluster=address))  # no Ray at all, so that nothing can be asked of it
