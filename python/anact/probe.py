"""The variance probe: how activations and gradients grow, layer by layer."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from typing_extensions import Self

from anact import _C
from anact._files import write_whole

#: A layer in one training step, by the columns of ``probe.csv``.
LayerRow: TypeAlias = "dict[str, int | float | str | bool]"


class VarianceProbe:
    """Measures every layer of a model in chosen training steps, and predicts it.

    A context manager; the model needs no change, and has none when the context ends. Layers
    are what runs as an operator of PyTorch on this thread: linear layers, convolutions,
    batch norms, ANActs and plain activations, called as modules or as functions. What runs
    inside a compiled graph or without gradients is not seen.

    Args:
        model: any module.
        every: steps 0, every, 2·every, … are measured; the others cost nothing but the
            hooks that name the modules.
        predict: whether the theory's predictions are computed.

    Raises:
        ValueError: for ``every`` below 1.
        RuntimeError: when another probe is measuring on this thread, and for a probe that
            is used outside of its context.

    >>> import anact, torch
    >>> model = nn.Sequential(nn.Linear(64, 128), anact.NSwish(), nn.Linear(128, 10))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with VarianceProbe(model, every=2) as probe:
    ...     for _ in range(3):
    ...         optimizer.zero_grad()
    ...         model(torch.randn(32, 64)).square().mean().backward()
    ...         optimizer.step()
    ...         probe.step()
    >>> [(row["step"], row["name"], row["kind"]) for row in probe.records][3:]
    [(2, '0', 'linear'), (2, '1', 'activation'), (2, '2', 'linear')]
    """

    def __init__(
        self, model: nn.Module, *, every: int = 1, predict: bool = True
    ) -> None:
        if every < 1:
            raise ValueError(f"VarianceProbe: every is {every}; it must be at least 1")
        self._model = model
        self._every = every
        self._predict = predict
        self._probe: _C.VarianceProbe | None = None
        self._handles: list[RemovableHandle] = []
        self._running = False

    def __enter__(self) -> Self:
        if self._running:
            raise RuntimeError("VarianceProbe: this probe is measuring already")
        self._probe = _C.VarianceProbe(
            list(self._model.named_parameters()), self._every, self._predict
        )
        self._running = True
        for name, module in self._model.named_modules():
            if name:
                self._watch(name, module)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._running = False
        # A step that was ended by step() has begun another one, in which nothing ran.
        self._entered().finish()

    def step(self) -> None:
        """Ends a training step, after the optimizer's, and begins the next one."""
        if not self._running:
            raise RuntimeError("VarianceProbe: step() is called outside of the context")
        self._entered().step()

    @property
    def records(self) -> list[LayerRow]:
        """The rows of all measured steps that ended, by step, then by layer.

        What does not apply to a layer, or was not to be had, is NaN.
        """
        return self._entered().records()

    def table(self) -> str:
        """The layers of the last measured step, for the terminal."""
        return self._entered().table()

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Writes the rows as ``anact probe`` does; what is not measured is empty."""
        write_whole(Path(path), self._entered().csv())

    def to_html(
        self,
        path: str | os.PathLike[str],
        *,
        title: str | None = None,
        settings: dict[str, str] | None = None,
    ) -> None:
        """Writes the report of ``anact probe``: one page, complete in itself.

        Args:
            path: of the file, which is replaced as a whole.
            title: the model's class when left out.
            settings: what the page lists of the training.
        """
        name = type(self._model).__name__ if title is None else title
        write_whole(
            Path(path), self._entered().html(name, list((settings or {}).items()))
        )

    def _entered(self) -> _C.VarianceProbe:
        if self._probe is None:
            raise RuntimeError(
                "VarianceProbe: nothing is measured before its context is entered"
            )
        return self._probe

    def _watch(self, name: str, module: nn.Module) -> None:
        probe = self._entered()

        def enter(_module: nn.Module, _inputs: Any) -> None:
            probe.enter(name)

        def leave(_module: nn.Module, _inputs: Any, _output: Tensor) -> None:
            probe.leave()

        self._handles.append(module.register_forward_pre_hook(enter))
        self._handles.append(module.register_forward_hook(leave, always_call=True))
