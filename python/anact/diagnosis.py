"""Diagnosis of a network by one forward and backward pass over a batch."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from anact._diagnosis_page import page
from anact._diagnosis_text import text
from anact._files import write_whole
from anact._frames import frame
from anact._layer_diagnosis import LayerDiagnosis, layers_of
from anact._observation import Observer, signals_of
from anact._preservation import preserved
from anact._verdict import Problem, judge

if TYPE_CHECKING:
    import pandas

_SEED = 0x5EED


@dataclass(frozen=True)
class Diagnosis:
    """What one pass showed of a network. ``print`` shows its modules and the verdict.

    Attributes:
        model: the model's class.
        training: whether the model was in training mode.
        batch_size: samples of the batch; None where it has no tensor.
        loss: what the gradient is of, in words.
        layers: in the order in which their calls began, the model's own call first.
        problems: what is wrong, the worst first; empty for a healthy network.
        notes: what is no problem by itself.
    """

    model: str
    training: bool
    batch_size: int | None
    loss: str
    layers: list[LayerDiagnosis]
    problems: list[Problem]
    notes: list[str]

    @property
    def healthy(self) -> bool:
        """Whether no problem was found."""
        return not self.problems

    @property
    def verdict(self) -> str:
        """The problems in words, a line each."""
        if self.healthy:
            return "No problem was found."
        return "\n".join(_sentence(str(problem)) for problem in self.problems)

    def __str__(self) -> str:
        return text(self.heading, self.layers, [*self.verdict.split("\n"), *self.notes])

    @property
    def heading(self) -> str:
        """What was measured, in one line."""
        mode = "training" if self.training else "evaluation"
        samples = "samples" if self.batch_size is None else f"{self.batch_size} samples"
        return f"{self.model} in {mode} mode, {samples}, the gradient of {self.loss}"

    def to_dict(self) -> dict[str, Any]:
        """Everything as numbers, strings, lists and dictionaries, ready for JSON.

        What was not to be had, or is not finite, is None.
        """
        found = dataclasses.asdict(self)
        found["healthy"] = self.healthy
        found["verdict"] = self.verdict
        plain = _plain(found)
        assert isinstance(plain, dict)
        return plain

    def to_json(self, *, indent: int | None = 2) -> str:
        """:meth:`to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)

    def to_dataframe(self) -> pandas.DataFrame:
        """The layers as rows of a pandas.DataFrame, with the columns of `layers`.

        Raises:
            ImportError: without pandas.
        """
        columns = [field.name for field in dataclasses.fields(LayerDiagnosis)]
        rows = [dataclasses.asdict(layer) for layer in self.layers]
        return frame(rows, columns)

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """The report as a page that is complete in itself.

        Args:
            path: of a file to write it to as well, which is replaced as a whole.
        """
        html = page(
            self.model,
            self.heading,
            self.layers,
            [(problem.layers, _sentence(str(problem))) for problem in self.problems],
            self.notes,
        )
        if path is not None:
            write_whole(Path(path), html)
        return html


def diagnose(
    model: nn.Module,
    batch: Any,
    loss: Callable[[Any], Tensor] | None = None,
) -> Diagnosis:
    """Runs a model once forward and backward, and says what is wrong with it.

    At every module and every activation that is called as a function it measures how
    signal and gradient grow, dead units, and how well the batch's samples can still be
    told apart; docs/diagnose.md defines each figure, and the verdict's limits. The model
    is measured in the mode that it is in. Its state is as before afterwards, also on an
    error: gradients, buffers and running statistics, training flags, random states.
    Compiled parts run eagerly.

    Args:
        model: any module; every parameter may be frozen.
        batch: what the model is called with: a tensor, a tuple or list of positional
            arguments, or a dictionary of keyword arguments, as ``model(*batch)`` and
            ``model(**batch)``. The first dimension of its first tensor is the batch's.
        loss: takes what the model returns, and returns a scalar. By default Σ rᵢ·yᵢ over
            all elements y of the floating tensors that it returns, with r from N(0, 1),
            the same in every call: it needs no labels, its gradient has the same size at
            any scale of the output, and it is not blind to outputs that a normalization
            holds to one size, as their mean square would be.

    Raises:
        TypeError: for what is no module.
        ValueError: for a batch that is empty or holds NaN, an output that no gradient can start from,
            a loss that is no scalar, and a model whose lazy parameters are not there yet.

    >>> torch.manual_seed(0) and None
    >>> layers = [nn.Linear(64, 64), nn.SiLU()] * 12
    >>> print(diagnose(nn.Sequential(*layers), torch.randn(32, 64)).problems[0].kind)
    gradient
    """
    if not isinstance(model, nn.Module) or isinstance(model, torch.jit.ScriptModule):
        raise TypeError(f"expected a torch.nn.Module, not {type(model).__name__}")
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if nn.parameter.is_lazy(tensor):
            raise ValueError(f"{name!r} is lazy: call the model once before")
    _check(batch)
    size = _batch_size(batch)
    # Compiled code has no modules that could be watched.
    eager = torch.compiler.set_stance("force_eager")
    with preserved(model), torch.inference_mode(False), torch.enable_grad(), eager:
        with Observer(model, size) as observer:
            arguments, keywords = _arguments(_started(batch, observer))
            output = model(*arguments, **keywords)
            observer.stop()
            value = _random_functional(output) if loss is None else loss(output)
        _backward(value, model, observer.leaves, given=loss is not None)
    layers = layers_of(observer.calls)
    problems, notes = judge(layers)
    return Diagnosis(
        model=type(model).__name__,
        training=model.training,
        batch_size=size,
        loss="a random linear functional of the output" if loss is None else "the loss",
        layers=layers,
        problems=problems,
        notes=notes,
    )


def _check(batch: Any) -> None:
    for path, x in _tensors(batch, "batch"):
        if x.numel() == 0:
            raise ValueError(f"{path} of shape {list(x.shape)} is empty")
        if not (x.is_floating_point() or x.is_complex()):
            continue
        wrong = torch.isnan(x.detach())
        if wrong.any():
            first = wrong.nonzero()[0].tolist()
            raise ValueError(
                f"{path} of shape {list(x.shape)} holds {int(wrong.sum())} values that "
                f"are NaN, the first at {first}"
            )


def _tensors(value: Any, path: str) -> list[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        return [(path, value)]
    items: list[tuple[Any, Any]] = []
    if isinstance(value, Mapping):
        items = list(value.items())
    elif isinstance(value, tuple | list):
        items = list(enumerate(value))
    return [found for k, x in items for found in _tensors(x, f"{path}[{k!r}]")]


def _batch_size(batch: Any) -> int | None:
    sizes = [x.shape[0] for _, x in _tensors(batch, "") if x.dim()]
    return sizes[0] or None if sizes else None


def _started(value: Any, observer: Observer) -> Any:
    """The batch with gradients, and safe from changes in place."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            return observer.begin_gradient(value)
        return value.clone()
    if isinstance(value, Mapping):
        return {key: _started(x, observer) for key, x in value.items()}
    if isinstance(value, tuple | list):
        parts = [_started(x, observer) for x in value]
        if hasattr(value, "_fields"):
            return type(value)(*parts)
        return type(value)(parts)
    return value


def _arguments(batch: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(batch, Mapping):
        return (), dict(batch)
    return (tuple(batch) if isinstance(batch, tuple | list) else (batch,)), {}


def _random_functional(output: Any) -> Tensor:
    generator = torch.Generator().manual_seed(_SEED)
    parts = []
    for y in signals_of(output):
        if y.requires_grad:
            r = torch.randn(y.shape, generator=generator, dtype=torch.float64)
            parts.append((r.to(y) * y).to(_wide(y.dtype)).sum())
    if not parts:
        raise ValueError(
            "the model returns no floating tensor that has a gradient: it is detached, or "
            "made of integers"
        )
    return torch.stack([part.to(parts[0]) for part in parts]).sum()


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _backward(
    value: Any, model: nn.Module, leaves: list[Tensor], *, given: bool
) -> None:
    if not isinstance(value, Tensor) or value.numel() != 1:
        what = (
            f"a tensor of shape {list(value.shape)}"
            if isinstance(value, Tensor)
            else type(value).__name__
        )
        raise ValueError(f"the loss must be one number, not {what}")
    if not value.requires_grad:
        raise ValueError("the loss has no gradient" if given else "no gradient")
    parameters = [p for p in model.parameters() if p.requires_grad]
    # Not backward(), which would add to the parameters' gradients and call their hooks.
    torch.autograd.grad(value.reshape(()), [*parameters, *leaves], allow_unused=True)


def _sentence(message: str) -> str:
    return f"{message[:1].upper()}{message[1:]}."


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(x) for x in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
