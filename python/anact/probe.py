"""The variance probe: how activations and gradients grow, layer by layer."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from typing_extensions import Self

from anact import _C, _sinks
from anact._compiled_probe import CompiledProbe, Operators
from anact._files import write_whole
from anact._layers import layer_choice
from anact._selection import Selection

if TYPE_CHECKING:
    import pandas

#: A layer in one training step, by the columns of ``probe.csv``.
LayerRow: TypeAlias = "dict[str, int | float | str | bool]"


class VarianceProbe:
    """Measures every layer of a model in chosen training steps, and predicts it.

    A context manager; the model needs no change, and has none when the context ends. Layers
    are what runs as an operator of PyTorch on this thread: linear layers, convolutions,
    batch norms, ANActs and plain activations, called as modules or as functions. What runs
    inside a compiled graph or without gradients is not seen.

    With ``compiled``, for a model that torch.compile is to compile, operators are put into
    the model as soon as the probe is made, which must be before the model is compiled.
    They measure it inside the graph, in the steps that are due and without waiting for the
    device; of these same layers, but only of those that are modules, and with no
    predictions. A layer that runs several times in a step has one row.

    Args:
        model: any module.
        every: steps 0, every, 2·every, … are measured; the others cost nothing but the
            hooks that name the modules, or the operators that do nothing.
        predict: whether the theory's predictions are computed.
        compiled: whether operators in the model measure it.
        include: which layers are measured, as :func:`anact.convert_activations` takes it:
            globs of module paths, classes of modules, names of activations, functions of
            path and module, one or several. Behind a layer that is not measured, the
            predictions begin anew. All when left out.
        exclude: which layers are not, of those.

    Raises:
        ValueError: for ``every`` below 1, and for a glob or a class that matches no module;
            with ``compiled``, for a model on several devices, and for lazy modules that have
            not run.
        RuntimeError: when another probe is measuring on this thread (with ``compiled`` it
            may), and for a probe that is used outside of its context.

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
        self,
        model: nn.Module,
        *,
        every: int = 1,
        predict: bool = True,
        compiled: bool = False,
        include: Selection | None = None,
        exclude: Selection | None = None,
    ) -> None:
        if every < 1:
            raise ValueError(f"VarianceProbe: every is {every}; it must be at least 1")
        # What torch.compile returns calls the model that it was given.
        model = getattr(model, "_orig_mod", model) if compiled else model
        self._model = model
        self._every = every
        self._predict = predict
        self._choose = layer_choice(model, include, exclude)
        self._logged = 0
        self._written = 0
        self._probe: _C.VarianceProbe | CompiledProbe | None = None
        self._operators = Operators(model, self._choose) if compiled else None
        self._handles: list[RemovableHandle] = []
        self._running = False

    def __enter__(self) -> Self:
        if self._running:
            raise RuntimeError("VarianceProbe: this probe is measuring already")
        if self._operators is not None:
            self._operators.attach()
            self._probe = CompiledProbe(self._operators, self._every, self._predict)
        else:
            self._probe = _C.VarianceProbe(
                list(self._model.named_parameters()),
                self._every,
                self._predict,
                self._choose,
            )
            for name, module in self._model.named_modules():
                if name:
                    self._watch(self._probe, name, module)
        self._logged = self._written = 0
        self._running = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leaves the model as it was before; the end of the context does so.

        With ``compiled``, its next call is compiled anew, without the operators.
        """
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._running = False
        # A step that was ended by step() has begun another one, in which nothing ran.
        if self._probe is not None:
            self._probe.finish()
        if self._operators is not None:
            self._operators.detach()

    def step(self) -> None:
        """Ends a training step, after the optimizer's, and begins the next one."""
        if not self._running:
            raise RuntimeError("VarianceProbe: step() is called outside of the context")
        self._entered().step()

    @property
    def records(self) -> list[LayerRow]:
        """The rows of all measured steps that ended, by step, then by layer.

        What does not apply to a layer, or was not to be had, is NaN; ``unpredicted`` says
        why a prediction is.
        """
        return self._entered().records()

    def table(self) -> str:
        """The layers of the last measured step, for the terminal."""
        return _C.probe_table(self.records)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Writes the rows as ``anact probe`` does; what is not measured is empty."""
        write_whole(Path(path), _C.probe_csv(self.records))

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
        page = _C.probe_html(self.records, name, list((settings or {}).items()))
        write_whole(Path(path), page)

    def to_dataframe(self) -> pandas.DataFrame:
        """The rows as a table of pandas, with the columns of ``probe.csv``.

        Raises:
            ImportError: if pandas is not installed.
        """
        return _sinks.to_dataframe(self.records)

    def log(
        self,
        log_function: _sinks.LogFunction,
        *,
        columns: Iterable[str] | None = None,
    ) -> None:
        """Hands over what was measured since the last call, one measured step at a time.

        Args:
            log_function: takes a dictionary of numbers, as ``wandb.log`` does. Their names
                are ``anact/<layer>/<column>``, and ``anact/step`` is the step. What was not
                measured is not in it.
            columns: those of numbers that are logged; second moments and gradients with
                their predictions, λ, the property, dead units and updates when left out.

        Raises:
            ValueError: for a column that is none of numbers.

        >>> import torch
        >>> model = nn.Sequential(nn.Linear(4, 4))
        >>> with VarianceProbe(model) as probe:
        ...     model(torch.randn(8, 4)).sum().backward()
        ...     probe.step()
        >>> probe.log(print, columns="fan_in")
        {'anact/step': 0, 'anact/0/fan_in': 4.0}
        """
        checked = _sinks.checked_columns(columns)
        rows = self._entered().records(self._logged)
        self._logged += len(rows)
        _sinks.log(rows, log_function, checked)

    def to_tensorboard(
        self, writer: _sinks.ScalarWriter, *, columns: Iterable[str] | None = None
    ) -> None:
        """Writes what was measured since the last call as scalars, each at its step.

        Args:
            writer: a ``torch.utils.tensorboard.SummaryWriter``.
            columns: as :meth:`log` takes them; the tags are its names.

        Raises:
            ValueError: for a column that is none of numbers.
        """
        checked = _sinks.checked_columns(columns)
        rows = self._entered().records(self._written)
        self._written += len(rows)
        _sinks.to_tensorboard(rows, writer, checked)

    def _entered(self) -> _C.VarianceProbe | CompiledProbe:
        if self._probe is None:
            raise RuntimeError(
                "VarianceProbe: nothing is measured before its context is entered"
            )
        return self._probe

    def _watch(self, probe: _C.VarianceProbe, name: str, module: nn.Module) -> None:
        def enter(_module: nn.Module, _inputs: Any) -> None:
            probe.enter(name)

        def leave(_module: nn.Module, _inputs: Any, _output: Tensor) -> None:
            probe.leave()

        self._handles.append(module.register_forward_pre_hook(enter))
        self._handles.append(module.register_forward_hook(leave, always_call=True))
