"""The benchmarks are scripts beside the package: their folder is put on the path, as running one does."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))


@pytest.fixture(scope="session")
def bench():
    """A run of the tiny shape on a machine that moves a gigabyte and multiplies ten billion a second."""
    from bench import Bench
    from machine import Machine
    from models import load

    model = load("tiny", "cpu", torch.float32)
    machine = Machine(bytes_per_s=1e9, flops_per_s=1e10, block_bytes=1)
    return Bench("tiny", "cpu", torch.float32, model, machine, repeats=2, point_s=30.0, largest=16)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield
