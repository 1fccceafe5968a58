"""Exchanges tensors of every dtype: safetensors_exchange.py FOLDER reads from-here and writes from-python."""

import sys
from pathlib import Path

try:
    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file
except ImportError as error:
    print(f"safetensors does not import: {error}")
    sys.exit(77)

DTYPES = [
    "float64",
    "float32",
    "float16",
    "bfloat16",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint8",
    "bool",
]
METADATA = {"format": "pt", "text": 'one\n"two" λ'}


def every_dtype() -> dict[str, torch.Tensor]:
    tensors = {}
    for name in DTYPES:
        values = torch.arange(15, dtype=torch.float64).reshape(3, 5)
        dtype = getattr(torch, name)
        if dtype == torch.bool:
            tensors[name] = values % 3 == 0
        else:
            tensors[name] = (values / 3 - 1 if dtype.is_floating_point else values).to(
                dtype
            )
    tensors["scalar"] = torch.tensor(2.5, dtype=torch.float64)
    tensors["empty"] = torch.zeros(0, 4)
    tensors["special"] = torch.tensor(
        [float("nan"), float("inf"), -float("inf"), -0.0, 1e-310], dtype=torch.float64
    )
    return tensors


def main(folder: Path) -> None:
    expected = every_dtype()
    found = load_file(folder / "from-here")
    assert found.keys() == expected.keys(), found.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert found[name].shape == tensor.shape, name
        assert found[name].equal(tensor) or name == "special", name
    special = found["special"].view(torch.int64)
    assert special.equal(expected["special"].view(torch.int64)), special
    with safe_open(folder / "from-here", "pt") as file:
        metadata = file.metadata()
        assert len(metadata.pop("crc32")) == 8
        assert metadata == METADATA, metadata
    save_file(expected, folder / "from-python", METADATA)


main(Path(sys.argv[1]))
