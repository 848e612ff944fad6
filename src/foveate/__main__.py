"""`foveate` and `python -m foveate`: the command line, whose imports may be interrupted as well."""

import sys


def main() -> None:
    """Import the command line and run it."""
    try:
        from foveate import cli  # noqa: PLC0415
    except KeyboardInterrupt:
        print("foveate: interrupted", file=sys.stderr)
        sys.exit(130)
    cli.main()


if __name__ == "__main__":
    main()
