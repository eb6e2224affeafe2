"""Where trainings leave what a later one can go on from."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings

from ml import registry
from webapp.models import Profile, Run, RunState


def folder(run: Run) -> Path:
    """Return where a run writes its savepoints: with the one that it goes on from, and that with the one before."""
    first = run
    while first.resumes is not None:
        first = first.resumes
    return root() / f"run-{first.pk}"


def root() -> Path:
    """Return the folder that holds those of all runs."""
    return Path(settings.MODELS_DIR) / "savepoints"


def can_resume(run: Run) -> bool:
    """Whether a run died, and another can go on from where it was: only the full profile writes savepoints."""
    has_died = run.state == RunState.FAILED and run.profile == Profile.FULL and run.snapshot_id is not None
    return has_died and not Run.objects.filter(resumes=run).exists() and registry.has_savepoint(folder(run))
