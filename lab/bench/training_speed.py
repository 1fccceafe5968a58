#!/usr/bin/env python3
"""Images a second in training: `anact train` against a PyTorch loop in Python, side by side.

usage: .venv/bin/python lab/bench/training_speed.py [--networks cnn resnet18 resnet50] [--rounds 5] [--csv FILE]

Both train the same network (plain SiLU, no ANAct) in float32 and channels_last with SGD, momentum and weight decay on
images of 32x32 and 100 classes. In each round both run in a process of their own, one after the other, taking turns at
being first; the first epoch is not timed. The loop in Python has the data standardized in memory as one channels_last
tensor, draws its batches by index_select, uses the fused optimizer, and does nothing else. `anact train` does what it
always does: it standardizes each batch from uint8 on a background thread, adds up loss and accuracy, looks for
divergence, and measures the time it waits for data.
"""

import argparse
import csv
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CLASSES = 100
# Batch size and steps to an epoch.
NETWORKS = {"cnn": (64, 40), "resnet18": (64, 6), "resnet50": (32, 5)}
EPOCHS = 3  # the first of which is not timed


def write_images(folder, images):
    """Random images in the format of CIFAR-100: coarse label, fine label, 3072 pixels."""
    generator = random.Random(0)
    folder.mkdir()
    for name, count in (("train", images), ("test", CLASSES)):
        with open(folder / f"{name}.bin", "wb") as file:
            file.writelines(
                bytes([0, i % CLASSES]) + generator.randbytes(3072)
                for i in range(count)
            )
    (folder / "fine_label_names.txt").write_text(
        "".join(f"class{i}\n" for i in range(CLASSES))
    )


def train_in_program(network, batch, images, data, threads, program):
    with tempfile.TemporaryDirectory() as output:
        flags = {
            "--model": network,
            "--data": "cifar100",
            "--data-path": str(data),
            "--train-samples": str(images),
            "--batch-size": str(batch),
            "--epochs": str(EPOCHS),
            "--arms": "silu",
            "--lr": "0.01",
            "--weight-decay": "0.0005",
            "--channels-last": "on",
            "--threads": str(threads),
            "--layer-samples": "0",
            "--save-weights": "off",
            "--tensorboard": "off",
            "--output": output,
        }
        command = [
            str(program),
            "train",
            *(word for flag in flags.items() for word in flag),
        ]
        environment = {**os.environ, "ANACT_CACHE": str(data.parent / "cache")}
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, check=False
        )
        if done.returncode != 0:
            sys.exit(f"error: {' '.join(command)}: {done.stderr}")
        events = [
            json.loads(line)
            for line in (pathlib.Path(output) / "metrics.jsonl")
            .read_text()
            .splitlines()
        ]
    seconds = [
        event["seconds"]
        for event in events
        if event["event"] == "epoch" and event["epoch"] > 1
    ]
    return len(seconds) * images / sum(seconds)


def make_network(name):
    from torch import nn

    if name == "cnn":  # as `anact models cnn`
        layers, channels = [], 3
        for stage, width in enumerate((32, 64, 128)):
            if stage > 0:
                layers.append(nn.MaxPool2d(2))
            for _ in range(2):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.SiLU()]
                channels = width
        return nn.Sequential(
            *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES)
        )

    class Block(nn.Module):
        def __init__(self, inputs, width, stride, bottleneck):
            super().__init__()
            outputs = 4 * width if bottleneck else width
            if bottleneck:
                shapes = [
                    (inputs, width, 1, 1),
                    (width, width, 3, stride),
                    (width, outputs, 1, 1),
                ]
            else:
                shapes = [(inputs, width, 3, stride), (width, outputs, 3, 1)]
            self.convs = nn.ModuleList(
                nn.Conv2d(n, m, kernel, stride, kernel // 2, bias=False)
                for n, m, kernel, stride in shapes
            )
            self.norms = nn.ModuleList(nn.BatchNorm2d(shape[1]) for shape in shapes)
            self.activation = nn.SiLU()
            self.shortcut = None
            if stride != 1 or inputs != outputs:
                self.shortcut = nn.Sequential(
                    nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                    nn.BatchNorm2d(outputs),
                )

        def forward(self, x):
            shortcut = x if self.shortcut is None else self.shortcut(x)
            for conv, norm in zip(self.convs[:-1], self.norms[:-1]):
                x = self.activation(norm(conv(x)))
            x = self.norms[-1](self.convs[-1](x))
            x += shortcut
            return self.activation(x)

    bottleneck = name == "resnet50"
    layers = [nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.SiLU()]
    channels = 64
    for stage, blocks in enumerate((3, 4, 6, 3) if bottleneck else (2, 2, 2, 2)):
        width = 64 << stage
        for block in range(blocks):
            layers.append(
                Block(channels, width, 2 if stage > 0 and block == 0 else 1, bottleneck)
            )
            channels = 4 * width if bottleneck else width
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES)
    )


def train_in_python(network, batch, images, data, threads):
    """Runs in a process of its own, and prints the images a second."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    raw = torch.frombuffer(
        bytearray((data / "train.bin").read_bytes()), dtype=torch.uint8
    ).view(-1, 3074)[:images]
    labels = raw[:, 1].long()
    pixels = raw[:, 2:].reshape(-1, 3, 32, 32).float()
    mean = pixels.mean((0, 2, 3), keepdim=True)
    deviation = pixels.std((0, 2, 3), keepdim=True)
    inputs = ((pixels - mean) / deviation).contiguous(memory_format=torch.channels_last)
    model = make_network(network).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True
    )
    loss_function = torch.nn.CrossEntropyLoss()
    for epoch in range(EPOCHS):
        if epoch == 1:
            start = time.perf_counter()
        order = torch.randperm(images)
        for begin in range(0, images, batch):
            rows = order[begin : begin + batch]
            loss = loss_function(
                model(inputs.index_select(0, rows)), labels.index_select(0, rows)
            )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    print((EPOCHS - 1) * images / (time.perf_counter() - start))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS)
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--program", type=pathlib.Path, default=ROOT / "build" / "anact"
    )
    parser.add_argument(
        "--csv",
        type=pathlib.Path,
        help="also write the figure of each round to this file",
    )
    parser.add_argument(
        "--python-child", nargs=2, metavar=("NETWORK", "DATA"), help=argparse.SUPPRESS
    )
    options = parser.parse_args()
    if options.python_child:
        network, data = options.python_child
        batch, steps = NETWORKS[network]
        train_in_python(
            network, batch, batch * steps, pathlib.Path(data), options.threads
        )
        return
    if not options.program.is_file():
        sys.exit(
            f"error: there is no program '{options.program}'; `make program` builds it"
        )

    rows = []
    print(
        "| network | batch | anact, images/s | Python, images/s | ratio | lowest | highest |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        data = pathlib.Path(scratch) / "cifar-100-binary"
        write_images(data, max(batch * steps for batch, steps in NETWORKS.values()))
        for network in options.networks:
            batch, steps = NETWORKS[network]
            images = batch * steps

            def program(network=network, batch=batch, images=images):
                return train_in_program(
                    network, batch, images, data, options.threads, options.program
                )

            def python(network=network):
                command = [
                    sys.executable,
                    __file__,
                    "--threads",
                    str(options.threads),
                    "--python-child",
                    network,
                    data,
                ]
                done = subprocess.run(
                    command, capture_output=True, text=True, check=False
                )
                if done.returncode != 0:
                    sys.exit(f"error: {done.stderr}")
                return float(done.stdout)

            pairs = []
            for number in range(options.rounds):
                if number % 2 == 0:
                    first = program()
                    pairs.append((first, python()))
                else:
                    first = python()
                    pairs.append((program(), first))
                rows.append((network, batch, options.threads, number, *pairs[-1]))
            ratios = [mine / other for mine, other in pairs]
            medians = [statistics.median(side) for side in zip(*pairs)]
            print(
                f"| {network} | {batch} | {medians[0]:.1f} | {medians[1]:.1f} | {statistics.median(ratios):.2f} "
                f"| {min(ratios):.2f} | {max(ratios):.2f} |",
                flush=True,
            )
    if options.csv:
        aside = options.csv.with_suffix(".part")
        with open(aside, "w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(
                [
                    "network",
                    "batch",
                    "threads",
                    "round",
                    "anact_images_per_second",
                    "python_images_per_second",
                ]
            )
            writer.writerows(rows)
        aside.replace(options.csv)


if __name__ == "__main__":
    main()
