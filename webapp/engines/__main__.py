"""The command line: `python -m webapp.engines run`."""

import argparse
import os
import sys

from webapp.engines import EngineError, folders, launcher


def main() -> int:
    """Run the command that was asked for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m webapp.engines", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="start everything, and stop it at Ctrl-C")
    run.add_argument("--engines-only", action="store_true", help="start only PostgreSQL, Valkey and Label Studio")
    run.add_argument("--without-demo", action="store_true", help="as DEMO=0: no people, no cases, no training")
    commands.add_parser("label-studio", help="what the supervisor runs: prepare Label Studio and become it")
    arguments = parser.parse_args()

    chosen = folders.from_environment()
    try:
        if arguments.command == "run":
            with_demo = launcher.wants_demo("0" if arguments.without_demo else os.environ.get("DEMO", ""))
            launcher.run(chosen, engines_only=arguments.engines_only, with_demo=with_demo)
        else:
            launcher.serve_label_studio(chosen)
    except EngineError as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
