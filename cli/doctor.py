"""`planned-diffusion doctor`: what is installed here, how fast it is, and known traps with their remedies."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from .options import Output, quiet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..loading.examination import Examination
    from ..loading.machine import ProductSpeed


def doctor(output: Output) -> int:
    """Examine this installation: versions, device, kernels, speeds, and known traps with what to do.

    The exit status is 1 where something that should work cannot. Nothing is fetched or kept.
    """
    quiet(output.debug)
    from ..loading.examination import examine

    found = examine()
    if output.as_json:
        print(json.dumps({**asdict(found), "is_well": found.is_well}))
    else:
        print("\n".join(lines_of(found)))
    return 0 if found.is_well else 1


def lines_of(found: "Examination") -> list[str]:
    """Return an examination as lines of text, the traps last."""
    from ..loading.memory import readable

    machine = found.machine
    versions = [f"{one.name} {one.version or 'missing'}" for one in found.libraries]
    missing = [f"  {one.name}: {', '.join(one.missing)}; {one.command}" for one in found.extras if one.missing]
    complete = ", ".join(one.name for one in found.extras if not one.missing) or "none"
    instructions = ", ".join(machine.instructions) or "not told"
    return [
        f"versions   Python {found.python}, {', '.join(versions)}",
        f"extras     complete: {complete}{'' if missing else '; none is missing'}",
        *missing,
        f"device     {machine.accelerator or 'no GPU'}; {machine.system}, {readable(machine.memory)}",
        f"CPU        {machine.threads} threads on {machine.cores:g} cores; instructions: {instructions}",
        *(f"kernels    {line}" for line in found.kernels),
        f"products   {products_line(found.products)}",
        *(f"{finding.kind + ':':10} {finding.text}" for finding in found.findings),
        "All is well." if found.is_well else "Something is wrong; see the faults above.",
    ]


def products_line(products: "Sequence[ProductSpeed]") -> str:
    """Return measured speeds as one line, a data type after the other."""
    dtypes = dict.fromkeys(one.dtype for one in products)
    speeds = {
        dtype: ", ".join(f"{one.rows} {one.gigaflops:.3g}" for one in products if one.dtype == dtype)
        for dtype in dtypes
    }
    return "; ".join(f"{dtype}: {speed}" for dtype, speed in speeds.items()) + " (10^9 operations per second)"
