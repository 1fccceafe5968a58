"""The state of the random numbers, to go back to."""

import random
import sys
from collections.abc import Callable, Iterable
from typing import Any

import torch


def random_state(devices: Iterable[torch.device]) -> Callable[[], None]:
    """What puts the random states back as they are now.

    Those of Python, of NumPy if it is imported, of PyTorch on the CPU, and of `devices`,
    which are accelerators.
    """
    python, cpu = random.getstate(), torch.get_rng_state()
    # Any: NumPy is no requirement of the package, nor of its types.
    numpy: Any = sys.modules.get("numpy")
    legacy = numpy.random.get_state() if numpy else None
    of_devices = [
        (device, torch.get_device_module(device).get_rng_state(device))
        for device in devices
    ]

    def restore() -> None:
        random.setstate(python)
        if numpy:
            numpy.random.set_state(legacy)
        torch.set_rng_state(cpu)
        for device, state in of_devices:
            torch.get_device_module(device).set_rng_state(state, device)

    return restore
