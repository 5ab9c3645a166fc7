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

_AFTER_BE = """
to that for and or but as when if than from at on by of with while so until unless
"""
_ADJ = """
important essential vital crucial hard easy difficult possible likely good bad fast big small old new how
"""
_MONTH = """
january february march april june july august september october november december early late mid last
"""
_LIKE_VERBS = """
is was are were be looks feels seems sounds tastes acts works smells this us his as just needs behaves does its has
it's always others ones likes whereas yes perhaps
"""

CLASSES: dict[str, frozenset[str]] = {
    "det": frozenset(_DETERMINERS.split()),
    "poss": frozenset(["your", "our", "their", "its", "his", "her", "my"]),
    "pron": frozenset(_PRONOUNS.split()),
    "verb": frozenset(_VERBS.split()),
    "after_be": frozenset(_AFTER_BE.split()),
    "adj": frozenset(_ADJ.split()),
    "month": frozenset(_MONTH.split()),
    "like_verbs": frozenset(_LIKE_VERBS.split()),
}

_STRONG_ENGLISH = """
the and of to with that for are this from which their they it is be or can your you by has have will was were not when
how what into such more these should there also about its while using used many
"""
STRONG_ENGLISH = frozenset(_STRONG_ENGLISH.split())
"""Words that are common in English; several of them nearby are asked for before anything is changed."""

_FOREIGN = """
el la los las del que una por como más der das und nicht mit ist ein eine zu auf le les des et une est dans pour avec
il di che della sono het een van voor niet och att är som jag os uma não em je się jest i'est de og ikke det jeg nie
vir hulle nel gli alla amb els dels este pentru bir yang untuk dengan ang mga kwa kaj estas tae wi frae dinnae isnae
cannae wasnae didnae doesnae wouldnae couldnae hasnae gaed wis maun oan aye bairn auld guid hame hoose toun doon aboot
oot noo whit wha whaur hae haed oor thae thon yin nae ower sae mair maist baith muckle fae intae warld fowk leid
nuh weh deh inna pon seh yuh dem dat dey wey wetin una abi abeg sabi pikin wahala comot oga sef
"""
FOREIGN = frozenset(_FOREIGN.split())
"""Function words of other languages that are no English words; one nearby stops every change."""

_CLAUSE_STARTS = """
it they he she this we you i there that then so is are was were can will has have had do does did it's they're he's
she's we're you're which who if when while because not
"""
CLAUSE_STARTS = frozenset(_CLAUSE_STARTS.split())
"""A word after ``and`` that makes a clause, not the last item of a list."""

_NOT_ITEMS = """
which who whom whose where when while as if in on at by for with to from of but and or not such including like because
although though since so then than that is are was were it they he she we you i this these there however therefore
especially particularly also a an the whilst owing due until after before during
"""
NOT_ITEMS = frozenset(_NOT_ITEMS.split())
"""A word that does not begin an item of a plain list."""

_IZE_ENDINGS = (("ize", "ise"), ("izes", "ises"), ("ized", "ised"), ("izing", "ising"), ("ization", "isation"))


def spelled_families(stems: Sequence[str]) -> Iterator[tuple[str, str]]:
    """American and British spellings of each stem with every ending that takes one."""
    for stem in stems:
        for american, british in _IZE_ENDINGS:
            yield stem + american, stem + british
    for american, british in (("organizations", "organisations"), ("organizational", "organisational")):
        yield american, british
