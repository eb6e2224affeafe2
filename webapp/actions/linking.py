"""Making our annotators known in Label Studio, on first use."""

from __future__ import annotations

import logging

from django.contrib.auth.models import User

from annotate.errors import LabelStudioError
from webapp.actions import label_studio, people

logger = logging.getLogger(__name__)


def link(user_id: int) -> None:
    """Find or make the Label Studio user of a person, by address. If that fails, the next time that they go there."""
    user = User.objects.get(pk=user_id)
    try:
        with label_studio.connected() as there:
            found = there.ensure_user(user.email, user.first_name or user.get_username(), user.last_name)
    except LabelStudioError as exc:
        logger.warning("annotator is not linked yet", extra={"person": user.pk, "error": str(exc)})
        return
    people.number_in_label_studio(people.annotator_of(user), found.id)
