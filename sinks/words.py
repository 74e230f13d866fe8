"""The terms of a text, the same in every index: an index splits what it is given at spaces, and does nothing more."""

from __future__ import annotations

import re
import sqlite3
import threading
import unicodedata
from functools import lru_cache

# combining accents, and the vowel signs of Hebrew and Arabic, which are seldom written
_MARKS = re.compile(r"[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670]")
# Chinese and Japanese put no spaces between words, so that a character is one
_CJK = re.compile(r"([\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])")
# vowel signs of Indic scripts are no letters by themselves
_WORD = re.compile(r"[^\W_]+(?:[\u0900-\u0963\u0971-\u0dff]+[^\W_]*)*")
_ASCII_WORD = re.compile(r"[a-z0-9]+")
LONGEST = 64
# Lucene's list
STOP_WORDS = frozenset({
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no", "not", "of",
    "on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to", "was", "will", "with",
})  # fmt: skip


def terms(text: str) -> list[str]:
    """The words in order, without case, accents and English endings (Porter), each cut at 64 characters.

    English stop words are left out.
    """
    found = _ASCII_WORD.findall(text.lower()) if text.isascii() else _WORD.findall(_folded(text))
    return [_stem(word[:LONGEST]) for word in found if word not in STOP_WORDS]


def _folded(text: str) -> str:
    apart = _MARKS.sub("", unicodedata.normalize("NFKD", text.casefold()))
    return _CJK.sub(r" \1 ", unicodedata.normalize("NFC", apart))


@lru_cache(2**16)
def _stem(word: str) -> str:
    return _stemmer().stem(word) if word.isascii() else word


class _Stemmer:
    """SQLite's Porter stemmer: the term that its full-text search would keep for a word."""

    def __init__(self) -> None:
        self._lock, self._base = threading.Lock(), sqlite3.connect(":memory:", check_same_thread=False)
        self._base.execute("CREATE VIRTUAL TABLE words USING fts5(word, tokenize='porter ascii')")
        self._base.execute("CREATE VIRTUAL TABLE terms USING fts5vocab(words, 'row')")

    def stem(self, word: str) -> str:
        with self._lock:
            self._base.execute("INSERT INTO words VALUES (?)", (word,))
            ((term,),) = self._base.execute("SELECT term FROM terms").fetchall()
            self._base.execute("DELETE FROM words")
        return str(term)


@lru_cache(1)
def _stemmer() -> _Stemmer:
    return _Stemmer()
