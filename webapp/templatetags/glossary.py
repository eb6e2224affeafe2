"""A link from a word on a page to what it means."""

from __future__ import annotations

from django import template
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from webapp.glossary import TERMS

register = template.Library()


@register.simple_tag
def term(key: str) -> SafeString:
    """Show a word of the glossary as a link to its meaning."""
    return format_html('<a class="term" href="{}#{}">{}</a>', reverse("glossary"), key, TERMS[key].word)
