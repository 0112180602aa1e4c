"""Numbers as they are spoken, for timestamps in spoken form (protocol.md 8); the rules are those of Unicode's CLDR."""

# ruff: noqa: RUF001 - the minus sign and quotation marks are meant as they stand

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache

from unicode_rbnf import FormatPurpose, RbnfEngine
from unicode_rbnf.engine import RbnfError

from voxwire.server import languages

__all__ = ["DIGITS", "Numbers"]

#: A number within text that has no blanks between its words.
DIGITS = re.compile(r"(?<![0-9A-Za-z.,])[0-9](?:[0-9.,]*[0-9])?(?![0-9A-Za-z])")

#: Languages that write 1,234.5 and not 1.234,5.
_POINT = frozenset({"en", "he", "hi", "ja", "ko", "ms", "ta", "th", "zh"})
#: The library's rules for these lose digits behind the decimal mark.
_WITHOUT_DECIMALS = frozenset({"pl", "ru"})
#: What is written behind a number to make it an ordinal.
_ORDINAL = {
    "en": "st|nd|rd|th",
    "fr": "er|re|e|ème|eme",
    "es": "[.]?[ºª]",
    "it": "[ºª]",
    "pt": "[.]?[ºª]",
}
_NEVER = r"(?!)"
_MOST_DIGITS = 15
_OPENING = "[(\\[{\"'“‘„«¿¡]*"
_CLOSING = "[.,;:!?…)\\]}\"'”’»]*"


class Numbers:
    """The numbers of one language."""

    def __init__(self, language: str) -> None:
        """Reads the rules of a language.

        Raises:
            ValueError: There are none for it.
        """
        self._language = language
        self._rules = RbnfEngine.for_language(language)
        group, mark = (",", "[.]") if language in _POINT else ("[.]", ",")
        whole = rf"(?P<whole>[0-9]{{1,3}}(?:{group}[0-9]{{3}})+|[0-9]+)"
        self._token = re.compile(
            rf"(?P<before>{_OPENING})(?P<minus>[-−]?){whole}"
            rf"(?:{mark}(?P<fraction>[0-9]+)|(?P<ordinal>{_ORDINAL.get(language, _NEVER)}))?(?P<after>{_CLOSING})"
        )

    @staticmethod
    def of(spoken: str | None, normalization: str) -> Numbers | None:
        """Returns the numbers of what is spoken; None where they stay as they are.

        Args:
            spoken: Language or locale of the speech, None where nobody knows.
            normalization: What the request says: ``auto``, ``off``, or a locale that beats ``spoken``.
        """
        if normalization == "off":
            return None
        return _known(languages.base(spoken or "en") if normalization == "auto" else languages.base(normalization))

    def words(self, token: str) -> list[str]:
        """Returns how a word is spoken: itself, unless it is a number with at most punctuation around it."""
        match = self._token.fullmatch(token)
        if match is None:
            return [token]
        spoken = self._spoken(match)
        if not spoken:
            return [token]
        spoken[0] = match["before"] + spoken[0]
        spoken[-1] += match["after"]
        return spoken

    def _spoken(self, match: re.Match[str]) -> list[str]:
        whole = re.sub("[^0-9]", "", match["whole"])
        fraction = match["fraction"]
        if len(whole) + len(fraction or "") > _MOST_DIGITS or (fraction and self._language in _WITHOUT_DECIMALS):
            return []
        number = Decimal(whole if not fraction else f"{whole}.{fraction}")
        # A fraction of zeros is no fraction to the library.
        if fraction and not int(fraction):
            return []
        try:
            minus = self._minus() if match["minus"] else ""
            text = self._ordinal(number, match["ordinal"]) if match["ordinal"] else self._cardinal(number)
        except (RbnfError, ValueError):
            return []
        return (minus + text.replace("\u200b", "")).split()

    def _cardinal(self, number: Decimal) -> str:
        return self._rules.format_number(number).text

    def _ordinal(self, number: Decimal, suffix: str) -> str:
        found = self._rules.format_number(number, FormatPurpose.ORDINAL).text_by_ruleset
        gender = "feminine" if suffix.endswith(("ª", "re")) else "masculine"
        for name in ("spellout-ordinal", f"spellout-ordinal-{gender}"):
            if name in found:
                return found[name]
        return ""

    def _minus(self) -> str:
        """Returns what comes before a number below zero, its blank included."""
        return self._cardinal(Decimal(-1)).removesuffix(self._cardinal(Decimal(1)))


@lru_cache(maxsize=64)
def _known(language: str) -> Numbers | None:
    try:
        return Numbers(language)
    except ValueError:
        return None
