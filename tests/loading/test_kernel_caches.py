"""Products of ever new widths do not fill the memory; what the environment says holds."""

import os
import subprocess
import sys

import pytest

from planned_diffusion.loading.embedded import EMBEDDED
from planned_diffusion.loading.kernel_caches import CAPACITIES, bound_kernel_caches

WIDTHS = """
import psutil, torch
from planned_diffusion.loading.load import load

def products(widths):
    for width in widths:
        for matrix in matrices:
            torch.nn.functional.linear(torch.ones(width, 256, dtype=torch.bfloat16), matrix)
    return psutil.Process().memory_info().rss / 1e6

model, _ = load({source!r}, "bfloat16")
torch.set_num_threads(1)
matrices = [torch.ones(size, 256, dtype=torch.bfloat16) for size in (128, 256, 512, 1024, 2048)]
before = products(range(1, 50))
print(products(range(50, 200)) - before)
"""


@pytest.mark.slow
def test_products_of_many_widths_are_not_kept():
    script = WIDTHS.format(source=str(EMBEDDED))
    told = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert float(told.stdout) < 40  # MB; 510 unbounded, where oneDNN multiplies bfloat16


def test_the_environment_holds(monkeypatch):
    first, second = CAPACITIES
    monkeypatch.setenv(first, "7")
    monkeypatch.setenv(second, "")  # so that it is taken back, too
    monkeypatch.delenv(second)
    bound_kernel_caches()
    assert os.environ[first] == "7" and int(os.environ[second]) > 0
