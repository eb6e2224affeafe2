"""Which texts people answer blind: no way round may show them what a version says of these."""

from __future__ import annotations

from collections.abc import Collection

from webapp.casefiles.cleaning import clean_text, hash_of
from webapp.models import Case
from webapp.queries.filters import BLIND


def blind(texts: Collection[str]) -> set[str]:
    """Return those of the texts that are audited and that nobody has decided."""
    hashes = {text: hash_of(clean_text(text)) for text in texts}
    found = Case.objects.filter(BLIND, text_hash__in=set(hashes.values()))
    known = set(found.values_list("text_hash", flat=True))
    return {text for text, digest in hashes.items() if digest in known}
