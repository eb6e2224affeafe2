"""How agents rate what a version said of their calls."""

from __future__ import annotations

from django.db import models

from webapp.models.cases import Case


class Feedback(models.Model):
    """One rating of one task on one case, 1 to 5. It may come before its case, and then waits for it.

    The reason may tell of the text, and goes with it.
    """

    source = models.CharField(max_length=100)
    external_id = models.CharField(max_length=200)
    task = models.CharField(max_length=20)
    case = models.ForeignKey(Case, on_delete=models.CASCADE, null=True, related_name="feedback")
    rating = models.PositiveSmallIntegerField()
    reason = models.CharField(max_length=2000, default="", blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["source", "external_id", "task"], name="one_rating_by_task"),
            models.CheckConstraint(condition=models.Q(rating__range=(1, 5)), name="rating_from_1_to_5"),
        ]
        indexes = [models.Index(fields=["created_at"], name="feedback_by_time")]

    def __str__(self) -> str:
        return f"feedback {self.pk}"
