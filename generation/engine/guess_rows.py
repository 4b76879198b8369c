"""Say how many rows of a forward guesses may take, and what a row costs (benchmarks/narrow_forwards.py measures it).

A cost is a share of a forward of one row, head and drawing included. With 135 M parameters (vocabulary 49,152) on two
cores: 3 % in bfloat16, 8 % with weights of 8 bits, whose forward of one row takes half the time; in float32, where the
product of one row is of another kind, 70 % for a second row and 50 % for three more, 30 % as guesses come. Where
requests share a forward a row takes 8 to 11 %, since each attends to its own states, and the first guess of any of them
takes the attention of single rows (single_rows.py) from all: charged half a forward, drafts in batches of 8 write 0.92
to 1.02 times as fast; charged a tenth, 0.85 to 1.01 (benchmarks/results/rivals_batches.json, rivals.json). With 5 M
parameters a row takes 1 to 2 % in every type, alone or shared: there the operators take longer than their arithmetic.
"""

import torch
from torch import nn

FREE_ROWS = {"cpu": 32, "cuda": 128}  # that all requests share
ROW_COST = {"cpu": 0.03, "cuda": 0.002}
ROW_COST_SHARED = {"cpu": 0.5}  # at least, where several requests run
ROW_COST_FLOAT32, ROW_COST_INT8 = 0.3, 0.08  # on a CPU
ROW_COST_SMALL = 0.015  # on a CPU, of a small backbone in any type
SMALL = 32_000_000  # weights of a backbone's linear layers below which it is one


def row_costs(backbone: nn.Module, dtype: torch.dtype, device: str) -> tuple[float, float]:
    """Return what a row costs where one request runs, and where several do.

    Args:
        backbone: computes in `dtype`.
    """
    cost = ROW_COST.get(device, ROW_COST["cpu"])
    if device == "cpu" and weights_of_layers(backbone) < SMALL:
        return ROW_COST_SMALL, ROW_COST_SMALL
    if device == "cpu" and dtype == torch.float32:
        cost = ROW_COST_FLOAT32
    elif device == "cpu" and any(one.dtype == torch.int8 for one in backbone.buffers()):
        cost = ROW_COST_INT8
    return cost, max(cost, ROW_COST_SHARED.get(device, 0.0))


def weights_of_layers(backbone: nn.Module) -> int:
    """Return how many weights the linear layers have, whatever form holds them."""
    sizes = ((getattr(one, "in_features", 0), getattr(one, "out_features", 0)) for one in backbone.modules())
    return sum(inner * outer for inner, outer in sizes if isinstance(inner, int) and isinstance(outer, int))


def room_for_guesses(device: str, costs: tuple[float, float], live: int) -> tuple[int, float]:
    """Return a request's part of the free rows, and how many tokens a row must save to be worth its time.

    A token that is saved spares a forward's fixed cost, which all live requests share, and a row.

    Args:
        costs: of a row, where one request runs, and where several do.
        live: requests.
    """
    live = max(1, live)
    cost = costs[live > 1]
    return FREE_ROWS.get(device, FREE_ROWS["cpu"]) // live, live * cost / (1 + live * cost)
