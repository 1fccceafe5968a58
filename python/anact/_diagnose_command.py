"""``python -m anact diagnose``: a diagnosis from the command line."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from anact.diagnosis import diagnose

_HEALTHY, _PROBLEM, _BAD_INPUT = 0, 1, 2


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the subcommand to those of ``python -m anact``."""
    parser = commands.add_parser(
        "diagnose",
        help="run a model once forward and backward, and say what is wrong with it",
        description="Runs a model once forward and backward over a batch, and says what "
        "is wrong with it. Exit code 0: healthy; 1: a problem was found; 2: bad input.",
    )
    parser.add_argument(
        "factory",
        metavar="MODULE:FACTORY",
        help="a function without arguments that returns the model, or model and batch",
    )
    parser.add_argument(
        "--batch",
        metavar="WHAT",
        help="sizes such as 32x3x64x64, for values from N(0, 1); a file of torch.save; or "
        "MODULE:FUNCTION, which returns the batch",
    )
    parser.add_argument(
        "--loss",
        metavar="MODULE:FUNCTION",
        help="takes the model's output; a random linear functional when left out",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of PyTorch's random numbers (default: 0)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--html", metavar="FILE", type=Path, help="write a page")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Diagnoses, prints, and returns the exit code."""
    try:
        torch.manual_seed(arguments.seed)
        made = _named(arguments.factory)()
        model, batch = made if isinstance(made, tuple) else (made, None)
        if not isinstance(model, nn.Module):
            raise TypeError(
                f"{arguments.factory} returns {type(model).__name__}, not a model or the "
                "pair (model, batch)"
            )
        if arguments.batch is not None:
            batch = _batch(arguments.batch)
        if batch is None:
            raise ValueError(
                f"{arguments.factory} returns no batch: give one with --batch"
            )
        loss = None if arguments.loss is None else _named(arguments.loss)
        report = diagnose(model, batch, loss)
        if arguments.html is not None:
            report.to_html(arguments.html)
    except Exception as error:  # noqa: BLE001 - whatever the model's own code raises
        message = str(error).strip().split("\n")[0]
        print(
            f"anact diagnose: {message or type(error).__name__}",
            file=sys.stderr,
        )
        return _BAD_INPUT
    print(report.to_json() if arguments.json else report)
    return _HEALTHY if report.healthy else _PROBLEM


def _named(name: str) -> Callable[..., Any]:
    module, colon, path = name.partition(":")
    if not module or not colon or not path:
        raise ValueError(f"{name!r} is not of the form module:function")
    # As `python -m` has it; a console script would not.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        if not hasattr(found, part):
            raise ValueError(f"module {module!r} has no {path!r}")
        found = getattr(found, part)
    if not callable(found):
        raise TypeError(f"{name} is a {type(found).__name__}, not a function")
    return found  # type: ignore[no-any-return]


def _batch(text: str) -> Any:
    if re.fullmatch(r"\d+(x\d+)*", text):
        return torch.randn([int(size) for size in text.split("x")])
    if os.path.exists(text):
        return torch.load(text, map_location="cpu", weights_only=True)
    if ":" in text:
        return _named(text)()
    raise ValueError(
        f"--batch {text!r} is neither sizes such as 32x64, nor a file, nor "
        "module:function"
    )
