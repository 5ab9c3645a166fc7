"""Classes of English words that the inventory's conditions name, and spelling families.

Written for this project. Owns word lists only; leaves out what is done with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_DETERMINERS = "a an the this that these those your our their its his her my each every any some"
_PRONOUNS = "i you he she it we they"
_VERBS = """
achieve add adapt address adjust analyze answer apply avoid balance become boost break bring build buy calculate
carry catch change check choose clean collect combine communicate compare complete connect conserve consider
control convert cook create cut deal decide decrease deliver describe design detect determine develop discover
drive earn eat eliminate encourage enhance enjoy ensure establish evaluate exercise expand explain explore express
facilitate fight find finish fit fix focus follow foster gain gather generate get give grow guide handle help hide
identify implement improve include increase inform inspire interact keep lead learn leave limit listen live look
lower maintain make manage maximize meet minimize monitor move navigate offer optimize organize overcome perform
plan plant play power practice predict prepare preserve prevent process produce promote protect provide purchase
raise reach read recognize recover recycle reduce relax remove repair replace represent resolve respond restore
save see select sell send serve set share shop show simplify solve speak spend spread start stay stop store
streamline strengthen study succeed support take talk teach tell test think track train transform travel treat try
understand use visit visualize walk wear win work write
"""
_HELPED = """
achieve avoid balance boost bring build combat conserve control create cut decrease detect determine develop
drive ease eliminate encourage enhance ensure establish explain facilitate fight find foster generate guide
identify illustrate improve increase inform inspire keep limit lower maintain make manage maximize minimize
monitor optimize organize overcome preserve prevent produce promote protect provide raise reduce regulate relieve
remove resolve restore save secure set shape simplify solve spread stabilize streamline strengthen support
transform understand
"""

CLASSES: dict[str, frozenset[str]] = {
    "det": frozenset(_DETERMINERS.split()),
    "poss": frozenset(["your", "our", "their", "its", "his", "her", "my"]),
    "pron": frozenset(_PRONOUNS.split()),
    "verb": frozenset(_VERBS.split()),
    "helped": frozenset(_HELPED.split()),
    "after_be": frozenset(
        [
            "to",
            "that",
            "for",
            "in",
            "because",
            "and",
            "or",
            "but",
            "as",
            "when",
            "if",
            "than",
            "from",
            "at",
            "on",
            "by",
            "of",
            "with",
            "while",
            "so",
            "until",
            "unless",
            "or",
            "not",
        ]
    )
    - {"not", "in", "because"},
    "adj": frozenset(
        [
            "important",
            "essential",
            "vital",
            "crucial",
            "hard",
            "easy",
            "difficult",
            "possible",
            "likely",
            "good",
            "bad",
            "fast",
            "big",
            "small",
            "old",
            "new",
            "how",
        ]
    ),
    "month": frozenset(
        [
            "january",
            "february",
            "march",
            "april",
            "june",
            "july",
            "august",
            "september",
            "october",
            "november",
            "december",
            "early",
            "late",
            "mid",
            "last",
        ]
    ),
    "like_verbs": frozenset(
        [
            "is",
            "was",
            "are",
            "were",
            "be",
            "looks",
            "feels",
            "seems",
            "sounds",
            "tastes",
            "acts",
            "works",
            "smells",
            "this",
            "us",
            "his",
            "as",
            "just",
            "needs",
            "behaves",
            "does",
            "its",
            "has",
            "it's",
            "always",
            "others",
            "ones",
            "likes",
            "whereas",
            "yes",
            "perhaps",
        ]
    ),
}

STRONG_ENGLISH = frozenset(
    [
        "the",
        "and",
        "of",
        "to",
        "with",
        "that",
        "for",
        "are",
        "this",
        "from",
        "which",
        "their",
        "they",
        "it",
        "is",
        "be",
        "or",
        "can",
        "your",
        "you",
        "by",
        "has",
        "have",
        "will",
        "was",
        "were",
        "not",
        "when",
        "how",
        "what",
        "into",
        "such",
        "more",
        "these",
        "should",
        "there",
        "also",
        "about",
        "its",
        "while",
        "using",
        "used",
        "many",
    ]
)
"""Words that are common in English; several of them nearby are asked for before anything is changed."""

FOREIGN = frozenset(
    [
        "el",
        "la",
        "los",
        "las",
        "del",
        "que",
        "una",
        "por",
        "para",
        "con",
        "como",
        "más",
        "der",
        "die",
        "das",
        "und",
        "nicht",
        "mit",
        "ist",
        "ein",
        "eine",
        "zu",
        "auf",
        "le",
        "les",
        "des",
        "et",
        "une",
        "est",
        "dans",
        "pour",
        "avec",
        "il",
        "di",
        "che",
        "della",
        "sono",
        "het",
        "een",
        "van",
        "voor",
        "niet",
        "och",
        "att",
        "är",
        "som",
        "jag",
        "o",
        "os",
        "uma",
        "não",
        "em",
        "e",
        "y",
        "je",
        "na",
        "się",
        "jest",
        "w",
        "z",
        "i'est",
    ]
) - {"die", "con", "para", "as", "e", "o", "na", "w", "z", "y"}
"""Function words of other languages that are no English words; one nearby stops every change."""

CLAUSE_STARTS = frozenset(
    [
        "it",
        "they",
        "he",
        "she",
        "this",
        "we",
        "you",
        "i",
        "there",
        "that",
        "then",
        "so",
        "is",
        "are",
        "was",
        "were",
        "can",
        "will",
        "has",
        "have",
        "had",
        "do",
        "does",
        "did",
        "it's",
        "they're",
        "he's",
        "she's",
        "we're",
        "you're",
        "which",
        "who",
        "if",
        "when",
        "while",
        "because",
        "not",
    ]
)
"""A word after ``and`` that makes a clause, not the last item of a list."""

NOT_ITEMS = frozenset(
    [
        "which",
        "who",
        "whom",
        "whose",
        "where",
        "when",
        "while",
        "as",
        "if",
        "in",
        "on",
        "at",
        "by",
        "for",
        "with",
        "to",
        "from",
        "of",
        "but",
        "and",
        "or",
        "not",
        "such",
        "including",
        "like",
        "because",
        "although",
        "though",
        "since",
        "so",
        "then",
        "than",
        "that",
        "is",
        "are",
        "was",
        "were",
        "it",
        "they",
        "he",
        "she",
        "we",
        "you",
        "i",
        "this",
        "these",
        "there",
        "however",
        "therefore",
        "especially",
        "particularly",
        "also",
        "a",
        "an",
        "the",
        "whilst",
        "owing",
        "due",
        "until",
        "after",
        "before",
        "during",
    ]
)
"""A word that does not begin an item of a plain list."""

_IZE_ENDINGS = (("ize", "ise"), ("izes", "ises"), ("ized", "ised"), ("izing", "ising"), ("ization", "isation"))


def spelled_families(stems: Sequence[str]) -> Iterator[tuple[str, str]]:
    """American and British spellings of each stem with every ending that takes one."""
    for stem in stems:
        for american, british in _IZE_ENDINGS:
            yield stem + american, stem + british
    for american, british in (("organizations", "organisations"), ("organizational", "organisational")):
        yield american, british
