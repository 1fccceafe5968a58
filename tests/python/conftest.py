"""What several tests of the Python package need."""

import sys
from types import ModuleType

import pytest
import torch


@pytest.fixture(scope="session")
def torchvision() -> ModuleType:
    """The package torchvision, also where its C++ library does not load."""
    if "torchvision" not in sys.modules:
        # It registers how these behave on fake tensors, which fails where they are not.
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(
                f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
        torchvision.library = library
    return pytest.importorskip("torchvision", exc_type=(ImportError, RuntimeError))
