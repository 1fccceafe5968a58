"""Networks of torchvision, as files and back.

torchvision_exchange.py make FOLDER   writes NAME.safetensors, with the order of its state_dict in the metadata, and
                                      NAME-example.safetensors, an input and its logits
torchvision_exchange.py check FOLDER  loads NAME-back.safetensors into a new network and compares its logits
"""

import json
import sys
from pathlib import Path

try:
    import torch
    from safetensors.torch import load_file, save_file

    # torchvision registers how its operators behave on fake tensors, which fails where its C++ library does not load.
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(
            f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )
    import torchvision
except (ImportError, RuntimeError) as error:
    print(f"torchvision does not import: {error}")
    sys.exit(77)

NAMES = ["resnet18", "resnet50"]


def new_network(name: str) -> torch.nn.Module:
    return getattr(torchvision.models, name)(weights=None)


def randomize(network: torch.nn.Module) -> None:
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.5, 1)
                module.bias.normal_(0, 0.1)
                module.num_batches_tracked.fill_(7)


def make(folder: Path) -> None:
    for name in NAMES:
        network = new_network(name).eval()
        randomize(network)
        images = torch.randn(2, 3, 65, 64)
        save_file(
            network.state_dict(),
            folder / f"{name}.safetensors",
            {"names": json.dumps([*network.state_dict()])},
        )
        save_file(
            {"input": images, "logits": network(images)},
            folder / f"{name}-example.safetensors",
        )


def check(folder: Path) -> None:
    for name in NAMES:
        network = new_network(name).eval()
        network.load_state_dict(
            load_file(folder / f"{name}-back.safetensors"), strict=True
        )
        example = load_file(folder / f"{name}-example.safetensors")
        difference = (network(example["input"]) - example["logits"]).norm() / example[
            "logits"
        ].norm()
        assert difference < 1e-6, f"{name}: the logits differ by {difference}"


torch.manual_seed(0)
torch.set_num_threads(1)
with torch.no_grad():
    {"make": make, "check": check}[sys.argv[1]](Path(sys.argv[2]))
