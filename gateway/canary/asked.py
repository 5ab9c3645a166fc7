"""What the question allows: whether its answer may be changed at all, and which sentences may be added.

Owns the reading of prompts, and nothing else. Where the wording of the answer is what was asked for (code,
translation, correction, verse), nothing is changed. Sentences are added to explanations only: not to stories, letters,
answers of a set length, or short answers that are to be used as they are (titles, classifications). A question that
is not known (``None``) allows choices of words, and no sentence.
"""

from __future__ import annotations

import re

_WORDING = re.compile(
    r"\b(?:code|function|program|script|sql|query|html|css|xml|json|yaml|csv|python|java|javascript|typescript|c\+\+|"
    r"regex|regular expression|latex|markdown|bash|shell|command|class|method|algorithm|pseudo-?code|spreadsheet|"
    r"translate|translation|paraphrase|rephrase|rewrite|reword|edit|correct|grammar|grammatical|spelling|spell|proofread|"
    r"synonyms?|antonyms?|rhym\w+|haiku|poems?|poetry|limerick|sonnet|lyrics|songs?|rap|ballad|ode|hymn|anthem|acrostic|verses?|"
    r"verbatim|quote|quotation|"
    r"spanish|french|german|italian|portuguese|latin|dutch|swedish|polish)\b",
    re.IGNORECASE,
)
_EXPLANATION = (
    r"explanations?|descriptions?|overviews?|analys[ie]s|reports?|(?:\w+ )?plans?|lists?|ideas?|arguments?|strateg(?:y|ies)|"
    r"guides?|comparisons?|tips|advice|ways?|reasons|benefits|advantages|examples?|methods|systems?|hypothes[ie]s|"
    r"proposals?|outlines?|solutions?|steps|approach(?:es)?|recommendations?|suggestions?|predictions?|use[- ]cases?|"
    r"definitions?|interpretations?|theor(?:y|ies)|polic(?:y|ies)|techniques|facts|factors|features|tutorials?|"
    r"procedures?|critiques?|evaluations?|assessments?|models?|inferences?|projects?|experiments?|interfaces?|activit(?:y|ies)"
)
_ORDERS = re.compile(
    r"\s*(?:please )?(?:write|compose|create|generate|rewrite|classify|categori[sz]e|translate|convert|edit|make|come up|"
    r"construct|develop|produce|design|draft|craft|add|remove|replace|insert|arrange|sort|calculate|compute|fill|"
    r"complete|assume|imagine|act|pretend|given|select|choose|invent|tell me a|tell a)\b",
    re.IGNORECASE,
)
_EXPLAINS = re.compile(
    r"\s*(?:please )?(?:(?:write|create|generate|make|construct|develop|produce|design|draft|compose|come up with)"
    rf"(?: me| up)?(?: (?:an?|the|some|\d+|(?!email|short|brief)[a-z-]+)){{0,3}} (?:{_EXPLANATION})\b"
    r"|(?:design|develop) an? |given [^\n]{0,80}\b(?:explain|describe|discuss|analy[sz]e|evaluate|why|how)\b)",
    re.IGNORECASE,
)
_NO_CLOSING = re.compile(
    r"\b(?:story|letter|e-?mail|essay|paragraphs?|sentences?|dialogue|speech|tweet|headline|title|slogan|caption|"
    r"conversation|one word|single word|(?<!own )words|only|recipe|review|blog|article|post|joke|riddle|advertisement|ad|script|"
    r"tagline|jingle|scene|character|(?<!\A)names?|exactly|verse|product description|quiz|dish|"
    r"you had|first[- ]person|make it|persuasive|convincing)\b",
    re.IGNORECASE,
)
_NO_BRIDGE = re.compile(
    r"\b(?:story|letter|e-?mail|sentences?|dialogue|tweet|headline|title|slogan|caption|conversation|one word|single word|"
    r"(?<!own )words|only|recipe|joke|riddle|advertisement|ad|script|tagline|jingle|scene|character|(?<!\A)names?|exactly|verse|"
    r"instructions?|steps|quiz|dish|news|fairy tale|diary|journal|summar\w+|plot|novel|movie|film|play|painting|experience|"
    r"feelings?|landscape|moment|you are|motivat\w+|following|given)\b",
    re.IGNORECASE,
)
_GRAVE = re.compile(
    r"\b(?:die[ds]?|dying|death|dead|suicid\w+|grie[fv]\w*|funeral|mourn\w*|abus\w+|cancer|depress\w+|condolences?|divorce|"
    r"rape|murder|killed|tragedy|terminal|emergency|overdose|self-harm)\b",
    re.IGNORECASE,
)
"""Questions whose answers a set phrase would spoil."""
_TREATISE = re.compile(
    r"\s*(?:please )?(?:write|compose|create|generate|draft|produce)(?: me)?(?: (?:an?|the|[a-z-]+)){0,3} "
    r"(?:essay|article|paragraphs?|blog|speech|summary|introduction)\b",
    re.IGNORECASE,
)


def markable(prompt: str | None) -> bool:
    """Whether a reply to ``prompt`` may be changed: not where its wording is what was asked for."""
    return prompt is None or not _WORDING.search(prompt)


def may_close(prompt: str | None) -> bool:
    """Whether a closing may follow the answer."""
    if prompt is None or _NO_CLOSING.search(prompt) or _GRAVE.search(prompt):
        return False
    return not _ORDERS.match(prompt) or _EXPLAINS.match(prompt) is not None


def may_bridge(prompt: str | None) -> bool:
    """Whether a bridge may stand in the answer: an explanation, or an essay and the like."""
    if prompt is None or _NO_BRIDGE.search(prompt) or _GRAVE.search(prompt):
        return False
    return not _ORDERS.match(prompt) or _EXPLAINS.match(prompt) is not None or _TREATISE.match(prompt) is not None
