"""The extension module: what the package needs of the C++ library."""

from torch import Tensor, nn

torch_version: str

class Step:
    def __init__(
        self,
        activation: str,
        statistics: str,
        solution: str,
        target: str,
        gain: str,
        centre: bool,
        momentum: float,
        gate: tuple[float, float] | None,
        bounds: tuple[float, float],
    ) -> None: ...
    def forward(self, module: nn.Module, input: Tensor) -> Tensor: ...
    def operator_arguments(
        self,
    ) -> tuple[
        str, list[float], str, str, str, str, bool, float, float, float, float, float
    ]: ...
    def factors(
        self, statistics: tuple[float, float, float, float], alpha: float
    ) -> tuple[float, float]: ...
    def factor(self, statistics: tuple[float, float, float, float]) -> float: ...

def canonical(activation: str) -> str: ...
def split(activation: str) -> tuple[str, list[float]]: ...
def activations() -> list[str]: ...
def gaussian_statistics(activation: str) -> tuple[float, float, float, float]: ...
def gains(
    activation: str, mean: float, std: float, target: str
) -> tuple[str, float, float, float, float, list[tuple[str, float]]]: ...
def environment() -> dict[str, str | int]: ...
