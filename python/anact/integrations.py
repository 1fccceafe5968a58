"""The variance probe as a callback of other libraries' trainers.

None of these libraries is imported before a callback of it is made.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from anact._selection import Selection
from anact._sinks import LogFunction, checked_columns
from anact.probe import VarianceProbe


@dataclass(frozen=True)
class _Settings:
    every: int
    predict: bool
    compiled: bool
    include: Selection | None
    exclude: Selection | None
    log: LogFunction | None
    columns: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every is {self.every}; it must be at least 1")


class _Probing:
    """A probe that lasts as long as a training does."""

    probe: VarianceProbe | None = None

    def __init__(self, settings: _Settings) -> None:
        super().__init__()
        self._settings = settings
        self._open = False

    def _begin(self, model: nn.Module) -> None:
        self._end()  # of a training that an error ended
        settings = self._settings
        self.probe = VarianceProbe(
            model,
            every=settings.every,
            predict=settings.predict,
            compiled=settings.compiled,
            include=settings.include,
            exclude=settings.exclude,
        )
        self.probe.__enter__()
        self._open = True

    def _step(self, log: LogFunction | None) -> None:
        if not self._open or self.probe is None:
            return
        self.probe.step()
        if log is not None:
            self.probe.log(log, columns=self._settings.columns)

    def _end(self) -> None:
        if self._open and self.probe is not None:
            self._open = False
            self.probe.__exit__(None, None, None)


class _LightningHooks(_Probing):
    _steps_done = 0

    def on_train_start(self, trainer: Any, pl_module: nn.Module) -> None:
        if trainer.is_global_zero:
            self._steps_done = trainer.global_step
            self._begin(pl_module)

    def on_train_batch_end(
        self, trainer: Any, pl_module: nn.Module, *_args: Any, **_kwargs: Any
    ) -> None:
        # Of the batches whose gradients are accumulated, the last one ends the step.
        if trainer.global_step == self._steps_done:
            return
        self._steps_done = trainer.global_step

        def to_loggers(values: dict[str, float]) -> None:
            for logger in trainer.loggers:
                logger.log_metrics(values, step=trainer.global_step)

        self._step(self._settings.log or to_loggers)

    def on_train_end(self, trainer: Any, pl_module: nn.Module) -> None:
        self._end()

    def on_exception(
        self, trainer: Any, pl_module: nn.Module, exception: BaseException
    ) -> None:
        self._end()


class _TrainerHooks(_Probing):
    def on_train_begin(
        self, args: Any, state: Any, control: Any, *, model: nn.Module, **_kwargs: Any
    ) -> None:
        if state.is_world_process_zero:
            self._begin(model)

    def on_step_end(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        self._step(self._settings.log)

    def on_train_end(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        self._end()


def lightning_callback(
    *,
    every: int = 50,
    predict: bool = True,
    compiled: bool = False,
    include: Selection | None = None,
    exclude: Selection | None = None,
    log: LogFunction | None = None,
    columns: Iterable[str] | None = None,
) -> Any:
    """A callback of PyTorch Lightning that probes a training on rank 0.

    A step is one of the optimizer's. The callback's ``probe`` is there once the training has
    begun, and stays when it has ended.

    Args:
        every, predict, compiled, include, exclude: as :class:`anact.VarianceProbe` takes
            them.
        log: takes the numbers of each measured step; the trainer's loggers when left out.
        columns: what is logged, as :meth:`anact.VarianceProbe.log` takes it.

    Returns:
        a ``Callback`` of ``lightning.pytorch``, or of ``pytorch_lightning`` where only that is
        imported or installed.

    Raises:
        ImportError: if neither is installed.
        ValueError: for ``every`` below 1, or a column that is none of numbers.
    """
    settings = _Settings(
        every, predict, compiled, include, exclude, log, checked_columns(columns)
    )
    return _derive(_LightningHooks, _lightning().Callback)(settings)


def trainer_callback(
    *,
    every: int = 50,
    predict: bool = True,
    compiled: bool = False,
    include: Selection | None = None,
    exclude: Selection | None = None,
    log: LogFunction | None = None,
    columns: Iterable[str] | None = None,
) -> Any:
    """A callback of the ``Trainer`` of transformers that probes a training on rank 0.

    A step is one of the optimizer's. The callback's ``probe`` is there once the training has
    begun, and stays when it has ended.

    Args:
        every, predict, compiled, include, exclude: as :class:`anact.VarianceProbe` takes
            them.
        log: takes the numbers of each measured step, as ``wandb.log`` does; nothing is logged
            when left out.
        columns: what is logged, as :meth:`anact.VarianceProbe.log` takes it.

    Returns:
        a ``TrainerCallback``.

    Raises:
        ImportError: if transformers is not installed.
        ValueError: for ``every`` below 1, or a column that is none of numbers.
    """
    settings = _Settings(
        every, predict, compiled, include, exclude, log, checked_columns(columns)
    )
    try:
        base = importlib.import_module("transformers").TrainerCallback
    except ModuleNotFoundError as error:
        raise ImportError(
            "trainer_callback() needs transformers: pip install transformers"
        ) from error
    return _derive(_TrainerHooks, base)(settings)


def _derive(hooks: type[_Probing], base: Any) -> Any:
    return type("VarianceProbeCallback", (hooks, base), {"__module__": __name__})


def _lightning() -> Any:
    """The module of Lightning that the program uses: the two refuse each other's parts."""
    names = ["lightning.pytorch", "pytorch_lightning"]
    names.sort(key=lambda name: name not in sys.modules)
    for name in names:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    raise ImportError("lightning_callback() needs Lightning: pip install lightning")
