"""The figures that the limits of ``anact.diagnose`` are set by, on networks that train and not.

A row for each network and seed: cosine between the samples at the last layer with
weights, the gradient at the first layer with weights (behind its normalization, if it has one)
over that at the last, and what is found.
"""

import argparse
from collections.abc import Callable

import torch
from torch import nn

import anact


def perceptron(
    depth: int, act: type[nn.Module], draw: Callable[[nn.Linear], object] | None = None
) -> nn.Sequential:
    """Layers of 64 units, with PyTorch's own weights or others and no bias."""
    sizes = [64] * (depth + 1)
    model = nn.Sequential()
    for inputs, outputs in zip(sizes, [*sizes[1:], 10], strict=True):
        linear = nn.Linear(inputs, outputs)
        if draw is not None:
            draw(linear)
            nn.init.zeros_(linear.bias)
        model.extend([linear, act()])
    return model[:-1]


def he(linear: nn.Linear) -> None:
    nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")


def gain(linear: nn.Linear) -> None:
    nn.init.normal_(linear.weight, std=1.6765 / linear.in_features**0.5)


def networks() -> dict[str, Callable[[], nn.Module]]:
    # It registers how these behave on fake tensors, which fails where they are not.
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(
            f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )
    networks.library = library  # type: ignore[attr-defined]
    from torchvision import models

    return {
        "4 ReLU layers": lambda: perceptron(3, nn.ReLU),
        "20 SiLU layers": lambda: perceptron(20, nn.SiLU),
        "20 SiLU layers, gain 1.68": lambda: perceptron(20, nn.SiLU, gain),
        "10 ReLU layers, He": lambda: perceptron(10, nn.ReLU, he),
        "20 ReLU layers, He": lambda: perceptron(20, nn.ReLU, he),
        "50 ReLU layers, He": lambda: perceptron(50, nn.ReLU, he),
        "ResNet-18": models.resnet18,
        "ResNet-18 without BatchNorm": lambda: models.resnet18(
            norm_layer=lambda _: nn.Identity()
        ),
        "ResNet-50": models.resnet50,
        "EfficientNet-B0": models.efficientnet_b0,
        "MobileNetV3": models.mobilenet_v3_small,
        "ConvNeXt": models.convnext_tiny,
        "DenseNet-121": models.densenet121,
        "VGG-11": models.vgg11,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--images", type=int, default=64, help="their size")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name, make in networks().items():
        for seed in range(arguments.seeds):
            torch.manual_seed(seed)
            model = make()
            images = (16, 3, arguments.images, arguments.images)
            size = (32, 64) if "layers" in name else images
            report = anact.diagnose(model, torch.randn(size))
            leaves = [x for x in report.layers if x.kind != "block"]
            weights = [x for x in leaves if x.kind in ("linear", "convolution")]
            after = leaves[leaves.index(weights[0]) + 1]
            first = after if after.kind == "normalization" else weights[0]
            gradient = (first.gradient or 0) / (weights[-1].gradient or 1)
            gains = sorted(x.forward_gain or 0 for x in weights)
            print(
                f"{name:28} {seed} cosine {weights[-1].input_similarity:.3f} "
                f"gradient {gradient:.3g} gains {gains[0]:.3g} {gains[-1]:.3g} "
                f"{[problem.kind for problem in report.problems]}",
                flush=True,
            )


if __name__ == "__main__":
    main()
