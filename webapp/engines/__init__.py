"""What `make run` starts: the engines that Caseloop needs and its own programs, on one machine, without root.

Nothing here imports Django. The order to read in: `launcher` (the story), `programs` (what runs), then one
module for each engine.
"""


class EngineError(Exception):
    """An engine cannot start; the message is fit to print."""
