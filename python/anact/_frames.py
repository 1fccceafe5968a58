"""Tables of pandas, which is no requirement of the package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas


def frame(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str]
) -> pandas.DataFrame:
    """The rows as a table with these columns.

    Raises:
        ImportError: if pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError("to_dataframe() needs pandas: pip install pandas") from error
    return pandas.DataFrame(rows, columns=columns)
