"""What takes the rows of a probe: tables of pandas, loggers, TensorBoard."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Protocol, TypeAlias

from anact import _C
from anact._frames import frame

if TYPE_CHECKING:
    import pandas

Row: TypeAlias = "dict[str, int | float | str | bool]"
#: Takes a dictionary of numbers by their names, as ``wandb.log`` does.
LogFunction: TypeAlias = Callable[[dict[str, float]], object]

#: The columns that are logged unless others are asked for.
LOGGED_COLUMNS = (
    "output_second_moment",
    "input_gradient_second_moment",
    "predicted_second_moment",
    "predicted_gradient",
    "lambda",
    "forward_property",
    "backward_property",
    "dead_share",
    "update_ratio",
)


class ScalarWriter(Protocol):
    """What is needed of ``torch.utils.tensorboard.SummaryWriter``."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> object: ...


def to_dataframe(rows: list[Row]) -> pandas.DataFrame:
    """The rows as a table with the columns of ``probe.csv``."""
    return frame(rows, [name for name, _ in _C.probe_columns()])


def checked_columns(columns: Iterable[str] | None) -> tuple[str, ...]:
    """The columns to log.

    Raises:
        ValueError: for one that is no column of numbers.
    """
    if columns is None:
        return LOGGED_COLUMNS
    if isinstance(columns, str):
        columns = (columns,)
    asked = tuple(columns)
    numbers = [name for name, is_number in _C.probe_columns() if is_number]
    for name in asked:
        if name not in numbers:
            raise ValueError(
                f"{name!r} is no column of numbers of a probe; there are"
                f" {', '.join(numbers)}"
            )
    return asked


def values_by_step(
    rows: list[Row], columns: tuple[str, ...]
) -> Iterator[tuple[int, dict[str, float]]]:
    """For each step what was measured, as ``anact/<layer>/<column>``."""
    steps: dict[int, dict[str, float]] = {}
    for row in rows:
        values = steps.setdefault(int(row["step"]), {})
        for column in columns:
            value = float(row[column])
            if not math.isnan(value):
                values[f"anact/{row['name']}/{column}"] = value
    yield from steps.items()


def log(rows: list[Row], log_function: LogFunction, columns: tuple[str, ...]) -> None:
    """Calls the function for each step; ``anact/step`` is among the numbers."""
    for step, values in values_by_step(rows, columns):
        log_function({"anact/step": step, **values})


def to_tensorboard(
    rows: list[Row], writer: ScalarWriter, columns: tuple[str, ...]
) -> None:
    """Writes a scalar for each number, at its step."""
    for step, values in values_by_step(rows, columns):
        for tag, value in values.items():
            writer.add_scalar(tag, value, step)
