"""`python -m foveate`: the same as `foveate`."""

from foveate.cli import main

main()
