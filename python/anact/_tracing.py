"""What a tracer that records an ANAct gets to see of it, and to hear of its mode."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import fx, nn
from torch.jit._trace import TracerWarning


def record_call(module: nn.Module, input: fx.Proxy, mask: Any) -> fx.Proxy:
    """Records a call of the module itself, as torch.fx does for those of torch.nn.

    Raises:
        TypeError: if what is traced has no path for the module.
    """
    tracer = input.tracer
    keywords = {} if mask is None else {"mask": mask}
    try:
        path = tracer.path_of_module(module)  # type: ignore[attr-defined]
    except (AttributeError, NameError):
        path = ""
    if not path:
        raise TypeError(
            "torch.fx records an ANAct by its path in what is traced, and there is none"
            " here; trace a module that holds it"
        )
    if module._forward_hooks or module._forward_pre_hooks:
        # They are in the graph already: tracing ran them.
        return tracer.create_proxy("call_method", "forward", (module, input), keywords)
    return tracer.create_proxy("call_module", path, (input,), keywords)


# A constant to Dynamo, which calls it while it traces.
@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def warn_of_training() -> None:
    """Warns where a trace of training is made that evaluation cannot follow."""
    category: type[Warning]
    if torch.compiler.is_exporting():
        by, category = "torch.export", UserWarning
    elif torch._C._is_tracing():
        by, category = "torch.jit.trace", TracerWarning
    else:
        return
    warnings.warn(
        f"{by} records an ANAct in training: what it makes goes on updating the"
        " statistics after eval(), and needs anact to run. For evaluation call eval()"
        " first.",
        category,
        stacklevel=4,
    )
