"""The words of Caseloop that not everybody knows: each with what it means, in one place for pages and help."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


@dataclass(frozen=True, slots=True)
class Term:
    """A word and its meaning."""

    word: str | Promise
    meaning: str | Promise


# By anchor of the glossary
TERMS: Mapping[str, Term] = {
    "harm": Term(
        _("expected harm"),
        _(
            "What a mistake on a case would cost on average: how probable each mistake in the model's answers is, "
            "times the cost that the policy gives it. It grows while a case waits, and orders the queue."
        ),
    ),
    "blind-audit": Term(
        _("blind audit"),
        _(
            "A share of all new cases, drawn by lot, that people answer without seeing what the model says. Only "
            "these tell how good the model is without bias."
        ),
    ),
    "outbox": Term(
        _("outbox"),
        _(
            "What is still to be sent to Label Studio. It is kept until it has arrived, so that nothing is lost "
            "when a part fails."
        ),
    ),
    "drift": Term(
        _("drift"),
        _("What is set up in Label Studio is not any more what Caseloop set up: somebody changed it there."),
    ),
    "snapshot": Term(
        _("snapshot"),
        _(
            "A frozen list of the cases and labels that a training learns from and is measured on, so that it can "
            "be repeated."
        ),
    ),
    "champion": Term(
        _("champion"),
        _("The version of the model that is in use."),
    ),
    "challenger": Term(
        _("challenger"),
        _("A newly trained version that would take the place of the one in use, if the gate or a person lets it."),
    ),
    "gate": Term(
        _("gate"),
        _(
            "The comparison of a new version with the one in use, on the same cases: it calls the new one better, "
            "refuses it, or leaves it to a person."
        ),
    ),
    "kappa": Term(
        _("kappa and alpha"),
        _(
            "How far people agree beyond chance: 1 is always, 0 is what chance gives. Cohen's kappa is of two "
            "people, Krippendorff's alpha of any number."
        ),
    ),
    "ece": Term(
        _("calibration error (ECE)"),
        _(
            "How far the confidences of a model are from the share of its answers that are right: of answers that "
            "it is 70% sure of, 70% should be. 0 is best."
        ),
    ),
    "head": Term(
        _("head"),
        _("One question that is asked of a case, such as its priority."),
    ),
    "slice": Term(
        _("slice"),
        _("Some of the cases, looked at apart: those of one county, say."),
    ),
}
