"""`python -m tests.proof.turns deliver|poll`: one side of the traffic until nothing is left; prints the seconds.

It runs in the environment of a Caseloop whose own worker for errands is stopped.
"""

from __future__ import annotations

import sys
import time

import django
import label_studio_sdk  # noqa: F401 - a worker that has run for a while has it in memory
from django.utils import timezone

django.setup()

from webapp.actions import label_studio  # noqa: E402 - Django comes first
from webapp.models import Outbox  # noqa: E402


def main() -> None:
    """Take the turns that the argument names."""
    begun = time.monotonic()
    if sys.argv[1] == "poll":
        label_studio.poll_all()
    else:
        waiting = Outbox.objects.filter(sent_at=None)
        while waiting.exists():
            waiting.update(due_at=timezone.now())
            label_studio.deliver()
    sys.stdout.write(f"{time.monotonic() - begun}\n")


if __name__ == "__main__":
    main()
