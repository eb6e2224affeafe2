"""Who may be in Label Studio.

The embedded one reads a file that names our annotators, with every request: `label_studio_ext/people.py` is the other
end. It works while either of us is down, and needs no message that could be lost. Of another Label Studio we cannot say
who may be in it.
"""

from __future__ import annotations

import json
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import User

from webapp.locks import in_turn
from webapp.roles import Role


def tell() -> None:
    """Have the embedded Label Studio let in the annotators who are active, and nobody else."""
    if not settings.LABEL_STUDIO_IS_EMBEDDED:
        return
    path = Path(settings.LABEL_STUDIO_PEOPLE)
    with in_turn("people of label studio"):  # Or an older list could take the place of a newer one
        annotators = User.objects.filter(is_active=True, groups__name=Role.ANNOTATOR.value)
        named = json.dumps(sorted({email.lower() for email in annotators.values_list("email", flat=True)}))
        if path.exists() and path.read_text() == named:
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_suffix(".new")
        draft.touch(mode=0o600)
        draft.write_text(named)
        draft.replace(path)
