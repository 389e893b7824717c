"""Run the `modelward` command as `python -m modelward`."""

from modelward.cli import main

main()
