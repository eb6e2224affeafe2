"""Every error of annotate that a caller may want to catch.

AnnotateError
├── PayloadError              what was sent or received does not have the form that was agreed
└── LabelStudioError          Label Studio did not do what was asked
    ├── LabelStudioDown       it cannot be reached or is failing: ask again later
    └── LabelStudioRefused    it understood and said no: asking again will not help

Messages are short and fit to show. They never hold a page of HTML, a token or the text of a case.
"""

from __future__ import annotations


class AnnotateError(Exception):
    """Base class: the message is fit to show to an admin."""


class PayloadError(AnnotateError):
    """A body, a task or an annotation is not what Label Studio sends, or a label is not one of the schema."""


class LabelStudioError(AnnotateError):
    """Label Studio did not do what was asked."""


class LabelStudioDown(LabelStudioError):
    """Label Studio cannot be reached, is too busy, or fails inside. The same request may succeed later."""


class LabelStudioRefused(LabelStudioError):
    """Label Studio refused a request. `status` is its HTTP status."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"Label Studio refused with status {status}: {detail}")
        self.status = status
