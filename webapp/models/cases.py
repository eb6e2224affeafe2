"""Cases, their texts, and the flags that ask for a person."""

from __future__ import annotations

import math
from functools import cached_property

from django.conf import settings
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ml import surrogates
from ml.policy import FlagKind, Side
from webapp.models.schemas import Schema


class CaseState(models.TextChoices):
    """Where a case stands in the loop."""

    NEW = "new", _("new")
    PREDICTED = "predicted", _("predicted")
    ACCEPTED = "accepted", _("accepted")
    LABELLING = "labelling", _("with annotators")
    REVIEW = "review", _("in review")
    DECIDED = "decided", _("decided")
    WITHDRAWN = "withdrawn", _("withdrawn")
    ERASED = "erased", _("erased")


GONE_STATES = (CaseState.WITHDRAWN, CaseState.ERASED)  # Nobody is asked about these, and nothing is learnt from them
# A champion may still change what is said of these; nobody has decided them.
OPEN_STATES = (CaseState.NEW, CaseState.PREDICTED, CaseState.ACCEPTED, CaseState.LABELLING, CaseState.REVIEW)


class Conversation(models.Model):
    """Cases that belong together in time: the messages of one customer."""

    source = models.CharField(max_length=100)
    external_id = models.CharField(max_length=200)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["source", "external_id"], name="one_conversation_by_external_id")
        ]

    def __str__(self) -> str:
        return f"{self.source}:{self.external_id}"


class Case(models.Model):
    """One text to be labelled. The text itself is in a row of its own, so that it can be erased."""

    schema = models.ForeignKey(Schema, on_delete=models.PROTECT, related_name="cases")
    source = models.CharField(max_length=100)
    external_id = models.CharField(max_length=200)
    conversation = models.ForeignKey(Conversation, on_delete=models.PROTECT, null=True, related_name="cases")
    state = models.CharField(max_length=10, choices=CaseState, default=CaseState.NEW)
    side = models.CharField(max_length=10, choices=[(side.value, side.value) for side in Side])
    is_audit = models.BooleanField(default=False)
    metadata = models.JSONField(default=dict)
    text_hash = models.CharField(max_length=64)
    text_length = models.PositiveIntegerField()  # Characters
    sent_at = models.DateTimeField(null=True)
    received_at = models.DateTimeField()
    current_prediction = models.ForeignKey("webapp.Prediction", on_delete=models.SET_NULL, null=True, related_name="+")
    harm = models.FloatField(default=0.0)  # Expected harm of a mistake, by the current prediction
    rank = models.FloatField(default=0.0)  # Place in every queue, higher first; see ml.policy.rank
    # Probability of the urgent end where an open flag tells it, 1 where a person said so, else 0; see actions.flags
    urgency = models.FloatField(default=0.0)
    revision = models.PositiveIntegerField(default=0)  # Grows with each decision; a stale form is told by it
    predicting_until = models.DateTimeField(null=True)  # A worker predicts it until then, or has died
    # How often predicting it was begun and never ended well; 0 again once it did, or another version is put in use
    predicting_attempts = models.PositiveSmallIntegerField(default=0)
    annotators_wanted = models.PositiveSmallIntegerField(default=1)  # Drawn when it goes to annotators
    held_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="held_cases"
    )
    held_until = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["source", "external_id"], name="one_case_by_external_id")]
        indexes = [
            # One for each way in which the queue is walked from the top
            models.Index(fields=["state", "-rank", "id"], name="queue_order"),
            models.Index(fields=["schema", "state", "-rank", "id"], name="queue_order_of_schema"),
            models.Index(fields=["-rank", "id"], name="queue_order_of_all"),
            models.Index(fields=["state", "-urgency", "-rank", "id"], name="urgent_order"),
            models.Index(fields=["schema", "state", "-urgency", "-rank", "id"], name="urgent_order_of_schema"),
            models.Index(fields=["external_id"], name="cases_by_external_id"),  # Whatever their source
        ]

    def __str__(self) -> str:
        return f"case {self.pk}"

    @property
    def is_held(self) -> bool:
        """Whether somebody has the case on their screen."""
        return self.held_by_id is not None and self.held_until is not None and self.held_until > timezone.now()

    @property
    def minutes_left(self) -> int:
        """How long it is still held, in minutes that have begun; 0 where nobody holds it."""
        if not self.is_held or self.held_until is None:
            return 0
        return math.ceil((self.held_until - timezone.now()).total_seconds() / 60)

    @property
    def is_open(self) -> bool:
        """Whether nobody has decided the case yet."""
        return self.state in OPEN_STATES


class CaseText(models.Model):
    """The text of a case, and nothing else.

    Whoever erases one must also have `ml.cache.Cache` forget its `text_hash`: vectors tell much of a text.
    And `webapp.actions.export_files` remove the files of its schema.
    """

    case = models.OneToOneField(Case, on_delete=models.CASCADE, primary_key=True, related_name="stored_text")
    text = models.TextField()

    def __str__(self) -> str:
        return f"text of case {self.case_id}"


class BitsField(models.Field):  # type: ignore[type-arg]
    """As many bits as a sketch has, as zeros and ones."""

    def db_type(self, connection: object) -> str:
        """Return the type of the column."""
        return "bit(512)"  # ml.sketches.BITS; a test compares them


class Sketch(models.Model):
    """Which texts a text is like: see `ml.sketches`. It tells something of the text, and so goes with it."""

    text = models.OneToOneField(CaseText, on_delete=models.CASCADE, primary_key=True, related_name="sketch")
    encoder = models.CharField(max_length=64)  # The hash of the encoder that read it; others cannot be compared
    bits = BitsField(null=True)  # Empty where that encoder could not read the text

    def __str__(self) -> str:
        return f"sketch of the text of case {self.text_id}"


class CaseWords(models.Model):
    """The words of a case's text, for searching: a column that the database makes from the text and erases with it.

    It has a model of its own so that whoever reads texts does not fetch it. Django does not manage it; the migration
    `search_texts` makes it.
    """

    case = models.OneToOneField(Case, on_delete=models.DO_NOTHING, primary_key=True, related_name="words")
    vector = SearchVectorField()

    class Meta:
        managed = False
        db_table = "webapp_casetext"

    def __str__(self) -> str:
        return f"words of case {self.case_id}"


class Flag(models.Model):
    """One reason why a case needs a person; `facts` holds what its sentence is made of."""

    case = models.ForeignKey(Case, on_delete=models.CASCADE, related_name="flags")
    kind = models.CharField(max_length=20, choices=[(kind.value, kind.value.replace("_", " ")) for kind in FlagKind])
    head = models.CharField(max_length=100, default="", blank=True)
    facts = models.JSONField(default=dict)
    raised_at = models.DateTimeField(auto_now_add=True)
    resolved_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["case", "kind", "head"], condition=Q(resolved_at=None), name="one_open_flag_by_kind_and_head"
            )
        ]
        indexes = [models.Index(fields=["kind", "head", "case"], condition=Q(resolved_at=None), name="open_flags")]

    def __str__(self) -> str:
        return f"{self.kind} on case {self.case_id}"


class Cover(models.Model):
    """What of a case's text surrogates stand for, as Label Studio or the desk was given it. Rows are only added.

    The number of the row travels with what was given, so that spans that come back are moved by that very row. It holds
    ranges of the original text and surrogates, and no word of the text.
    """

    case = models.ForeignKey(Case, on_delete=models.PROTECT, related_name="covers")
    pieces = models.JSONField()  # As `ml.surrogates.Cover` writes them
    rules = models.JSONField()  # The labels that were to be hidden, and the region of phone numbers
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [models.Index(fields=["case", "-id"], name="covers_of_case")]

    def __str__(self) -> str:
        return f"cover {self.pk} of case {self.case_id}"

    @cached_property
    def parsed(self) -> surrogates.Cover:
        """The cover as the functions of `ml.surrogates` have it."""
        return surrogates.Cover.from_json(self.pieces)

    def hide(self, note: str, text: str) -> str:
        """Return what somebody wrote about the case, whose text is given, with the same strings covered."""
        return surrogates.hide(note, self.parsed.given(text), region=self.rules["region"])
