"""py3langid: text -> its language."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any
from unicodedata import east_asian_width

from operators.models.results import Language
from operators.models.sessions import package
from schemas.routing import Route, Task

PACKAGES = ("py3langid",)
MOST = 10_000
IDEOGRAPH = 4
NO_LANGUAGE = ("zxx", "und")


def files(task: Task) -> tuple[Path, ...]:
    """The classifier's table."""
    return (package("py3langid") / "data" / "model.npz.xz",)


@lru_cache
def load(threads: int) -> Any:
    """The classifier, with probabilities."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def letters(text: str) -> int:
    """Letters of a text; one of a script of syllables or words counts for four."""
    return sum(IDEOGRAPH if east_asian_width(sign) == "W" else 1 for sign in text if sign.isalpha())


def run(route: Route, text: str, threads: int) -> Language | None:
    """The likeliest language of the first 10,000 characters; None where too few letters are among them."""
    text = text[:MOST]
    if letters(text) < route.options["letters"]:
        return None
    code, probability = load(threads).classify(text)
    return None if code in NO_LANGUAGE else Language(code, float(probability))
