"""The API of Caseloop's own, version 1."""

from __future__ import annotations

from webapp.api import base, cases, corrections, predict

api = base.make(title="Caseloop", version="1", urls_namespace="api-v1", docs_url="/")
api.add_router("", cases.router)
api.add_router("", predict.router)
api.add_router("", corrections.router)
