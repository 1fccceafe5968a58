"""``python -m anact`` prints what a bug report needs, as ``anact info`` does."""

from anact import _C


def main() -> None:
    """Prints one line a fact."""
    for name, value in _C.environment().items():
        print(f"{name:<17} {value}")


if __name__ == "__main__":
    main()
