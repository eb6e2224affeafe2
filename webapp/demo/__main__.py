"""Write the demo's files: `python -m webapp.demo --out DIR [--seed N]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from webapp.demo import generate


def main() -> None:
    """Read the arguments and write the files."""
    parser = argparse.ArgumentParser(prog="python -m webapp.demo", description="Write synthetic demo cases as JSONL.")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="another number makes other cases")
    arguments = parser.parse_args()
    for path in generate.write(arguments.out, seed=arguments.seed):
        sys.stdout.write(f"{path}\n")


main()
