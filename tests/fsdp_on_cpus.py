"""`scripts/train.py` with FSDP on CPUs, for `accelerate launch`.

accelerate shards on accelerators only: `AcceleratorState` turns FSDP on if the processes are those of several GPUs,
NPUs and so on, and leaves DDP on where they are those of CPUs, although PyTorch shards on both. This opens that one
gate; all else is what runs on GPUs.
"""

import runpy
import sys
from pathlib import Path
from typing import Any

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

_initialise = AcceleratorState.__init__


def _with_fsdp(self: AcceleratorState, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
    _initialise(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
    if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
        # what `AcceleratorState.__init__` does for GPUs
        self.distributed_type = DistributedType.FSDP
        if self._mixed_precision != "no":
            fsdp_plugin.set_mixed_precision(self._mixed_precision)
        self.fsdp_plugin = fsdp_plugin
        PartialState._shared_state["distributed_type"] = DistributedType.FSDP


if __name__ == "__main__":
    AcceleratorState.__init__ = _with_fsdp  # type: ignore[method-assign]
    script = Path(__file__).resolve().parents[1] / "scripts" / "train.py"
    sys.argv[0] = str(script)
    runpy.run_path(str(script), run_name="__main__")
