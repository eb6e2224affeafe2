"""Every error that a page or command shows to the person who caused it.

CaseloopError
├── StaleCase           the case changed since the form was opened
├── RunInProgress       one training at a time for a schema
├── NotEnoughLabels     training needs more
├── NotResumable        a training left nothing to go on from
├── NotSchedulable      trainings cannot be begun at the times given
├── NotErasable         a case cannot be erased as asked
├── NotApplicable       a schema cannot take the place of the one before
├── NotPromotable       the version cannot be put in use
├── NotRegistrable      a model folder cannot be registered as a version
├── NotSettable         values are not a policy of the schema
├── NotAddable          a person cannot be added as asked
├── NotDeactivatable    a person cannot be deactivated
├── NotChangeable       a person's role, password or second factor cannot be changed as asked
├── NotAnswered         no worker could say what the version in use says of a text
├── NotSendable         a case cannot be sent back as asked
├── NotUndoable         there is no step to take back
├── NotAcknowledgeable  an alert waits for somebody else
├── NotIssuable         a token cannot be made as asked
├── NotStorable         a text cannot be a case
│   └── Taken           the external id is that of another case
├── NotSavable          a view cannot be saved as asked
├── NotReachable        an address may not be posted to, or did not answer
├── NotSubscribable     an address cannot be told of events as asked
└── UnreadableFile      an import file is not of a form that can be read
"""


class CaseloopError(Exception):
    """Base class: the message is fit to show to the person who asked."""


class StaleCase(CaseloopError):
    """The case changed since the form was opened."""


class RunInProgress(CaseloopError):
    """One training at a time for a schema."""


class NotEnoughLabels(CaseloopError):
    """Training needs more labels."""


class NotResumable(CaseloopError):
    """A training left nothing to go on from."""


class NotSchedulable(CaseloopError):
    """Trainings cannot be begun at the times given."""


class NotErasable(CaseloopError):
    """A case cannot be erased as asked."""


class NotApplicable(CaseloopError):
    """A schema cannot take the place of the one before."""


class NotPromotable(CaseloopError):
    """The version cannot be put in use."""


class NotRegistrable(CaseloopError):
    """A model folder cannot be registered as a version."""


class NotSettable(CaseloopError):
    """Values are not a policy of the schema."""


class NotAddable(CaseloopError):
    """A person cannot be added as asked."""


class NotDeactivatable(CaseloopError):
    """A person cannot be deactivated."""


class NotChangeable(CaseloopError):
    """A person's role, password or second factor cannot be changed as asked."""


class NotAnswered(CaseloopError):
    """No worker could say what the version in use says of a text."""


class NotSendable(CaseloopError):
    """A case cannot be sent back as asked."""


class NotUndoable(CaseloopError):
    """There is no step to take back."""


class NotAcknowledgeable(CaseloopError):
    """An alert waits for somebody else."""


class NotIssuable(CaseloopError):
    """A token cannot be made as asked."""


class NotStorable(CaseloopError):
    """A text cannot be a case."""


class Taken(NotStorable):
    """The external id is that of another case."""


class NotSavable(CaseloopError):
    """A view cannot be saved as asked."""


class NotReachable(CaseloopError):
    """An address may not be posted to, or did not answer."""


class NotSubscribable(CaseloopError):
    """An address cannot be told of events as asked."""


class UnreadableFile(CaseloopError):
    """An import file is not of a form that can be read."""
