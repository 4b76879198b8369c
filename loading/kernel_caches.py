"""Bound the products that torch and oneDNN keep prepared on a CPU, so that the memory of a long run stays flat.

A product in bfloat16 is prepared for its shape, and kept: up to 1,024 by torch and as many by oneDNN, of about 0.4 MB.
Forwards of mixed requests are of any width, so these caches would fill.
"""

import os

# Read at a process's first product; torch: LRU_CACHE_CAPACITY (pytorch issue 27971), oneDNN's guide: "Primitive Cache".
CAPACITIES = ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY")
KEPT = 64  # products, about ten widths of a forward


def bound_kernel_caches() -> None:
    """Bound the products kept by this process, if it has computed none yet; what its environment says holds."""
    for name in CAPACITIES:
        os.environ.setdefault(name, str(KEPT))
