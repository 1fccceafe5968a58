"""``python -m anact``: what a bug report needs, or a diagnosis of a model."""

import argparse
import sys

from anact import _C, _build, _diagnose_command


def main() -> int:
    """Prints one line a fact, as ``anact info`` does, or runs a subcommand."""
    parser = argparse.ArgumentParser(
        prog="python -m anact",
        description="Without a subcommand: what a bug report needs, one line a fact.",
    )
    _diagnose_command.add_parser(parser.add_subparsers(title="subcommands"))
    arguments = parser.parse_args()
    if "run" in arguments:
        return int(arguments.run(arguments))
    rows = _C.environment() | {"anact": _build.version} | _C.gpu_environment()
    for name, value in rows.items():
        print(f"{name:<17} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
