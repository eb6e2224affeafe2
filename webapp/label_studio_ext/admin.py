"""Keep Label Studio's admin as `var/env` describes them.

Label Studio reads key and password only when it creates the admin. A folder of data that outlives its `var/env`, or is
copied to another installation, would otherwise refuse all that Caseloop sends. It is imported once Django is set up.
"""

import os

from django.contrib.auth import get_user_model
from rest_framework.authtoken.models import Token


def adopt_secrets():
    """Give the admin today's key and password; change nothing if they have them."""
    admin = get_user_model().objects.filter(email=os.environ["LABEL_STUDIO_USERNAME"]).first()
    if admin is None:
        return
    key = os.environ["LABEL_STUDIO_USER_TOKEN"]
    if not Token.objects.filter(user=admin, key=key).exists():
        Token.objects.filter(user=admin).delete()
        Token.objects.create(user=admin, key=key)
    if not admin.check_password(os.environ["LABEL_STUDIO_PASSWORD"]):
        admin.set_password(os.environ["LABEL_STUDIO_PASSWORD"])
        admin.save(update_fields=["password"])
