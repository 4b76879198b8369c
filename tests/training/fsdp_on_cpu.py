"""The training script under FSDP2 on processes without a GPU, for test_distributed.py.

accelerate shards only where it sees accelerators; this file makes it take the processes for accelerators. The rest
(gloo, FSDP2's collectives, checkpoints) runs as on GPUs.
"""

import sys

from accelerate.state import PartialState
from accelerate.utils import DistributedType

from planned_diffusion.training import sft

as_found = PartialState.__init__


def claim_accelerators(self, *args, **kwargs):
    as_found(self, *args, **kwargs)
    if self.distributed_type == DistributedType.MULTI_CPU:
        self.distributed_type = DistributedType.MULTI_GPU


PartialState.__init__ = claim_accelerators
sys.exit(sft.main(sys.argv[1:]))
