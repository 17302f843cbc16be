"""Makes torchvision importable beside a CPU build of torch, for which no wheel of it may exist.

timm imports torchvision, though no network here uses its operators. The wheel
for GPUs does not load its library beside torch's CPU build, and then fails to
import, because the operators that it describes are not there: they are declared here.
"""

from __future__ import annotations

import functools
import importlib.util
import re
from pathlib import Path

_kept = []  # a library that is collected takes its operators with it


@functools.cache
def declare_operators() -> None:
    """Declare the operators that torchvision's import needs, where its library does not load."""
    import torch

    folder = Path(importlib.util.find_spec("torchvision").submodule_search_locations[0])
    try:
        torch.ops.load_library(str(folder / "_C.so"))
        return
    except OSError:
        pass
    text = (folder / "_meta_registrations.py").read_text()
    names = set(
        re.findall(
            r'(?:register_meta\(|register_fake\("torchvision::|ops\.torchvision\.)"?(\w+)', text
        )
    )
    library = torch.library.Library("torchvision", "DEF")
    for name in sorted(names):
        library.define(f"{name}(Tensor x) -> Tensor")
    _kept.append(library)
