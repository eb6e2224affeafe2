"""Who may be here: the admin, and those whom Caseloop names in a file beside our data; without the file, nobody else.

Caseloop replaces the file when somebody comes or goes, at the latest within seconds. Everybody else's row is made
inactive, so that Label Studio itself refuses their sessions and tokens too.
"""

import json
import os
from pathlib import Path

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db.models.functions import Lower

FILE = "caseloop-people.json"  # A list of e-mail addresses in small letters

_read = None  # The file as it was last read: what tells it from another one, and its addresses


def is_let_in(user):
    """Return whether a user may be here as of this moment."""
    return is_admin(user) or user.email.lower() in addresses()


def is_admin(user):
    """Return whether this is the one user who is not a person of Caseloop's."""
    return user.email == os.environ["LABEL_STUDIO_USERNAME"]


def addresses():
    """Return the addresses of those who may be here; what changed since the last request is in force from now on."""
    global _read
    path = Path(settings.BASE_DATA_DIR) / FILE
    try:
        found = path.stat()
        stamp = found.st_ino, found.st_mtime_ns
    except FileNotFoundError:  # Caseloop's next poll writes it, and lets those whom it names in again
        stamp = None
    if _read is None or _read[0] != stamp:
        named = frozenset(json.loads(path.read_text()) if stamp else ())
        _enforce(named)
        _read = stamp, named
    return _read[1]


def shut_out(user):
    """Make a user inactive who is not named, such as one who signed up by an invitation."""
    user.is_active = False
    user.save(update_fields=["is_active"])


def _enforce(named):
    others = get_user_model().objects.exclude(email=os.environ["LABEL_STUDIO_USERNAME"])
    others = others.annotate(address=Lower("email"))
    others.filter(address__in=named, is_active=False).update(is_active=True)
    others.filter(is_active=True).exclude(address__in=named).update(is_active=False)
