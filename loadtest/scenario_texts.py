"""Texts of the scenario lab: English prompts from grammars of our own; seeded, endless, nobody's.

``Writer`` writes what one kind of person asks. Everything is put together from short lists, so that turns of phrase recur
between strangers, as they do in a language. Invented names and numbers keep two texts of one pattern apart.
``Instruction`` is what a campaign injects: one fixed text, or one of thousands of variants of the same wish.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

_SYLLABLES = ("ar", "bel", "cor", "dan", "el", "far", "gan", "hol", "in", "jor", "kel", "lan", "mor", "nev", "ol", "per", "quin", "ros",
              "sil", "tam", "ur", "ven", "wes", "yar", "zel", "bri", "cla", "dro", "fle", "gri", "ple", "sta", "tri", "vo")  # fmt: skip
_THINGS = ("bicycle", "violin", "kettle", "bridge", "garden", "battery", "ladder", "passport", "novel", "river", "castle", "market",
           "printer", "blanket", "compass", "harvest", "island", "kitchen", "lantern", "mirror", "needle", "orchard", "parcel", "quilt",
           "railway", "saddle", "tunnel", "umbrella", "village", "window", "anchor", "basket", "candle", "desert", "engine", "fountain",
           "glacier", "hammer", "insurance", "jacket", "kite", "lease", "mortgage", "notebook", "oven", "piano", "recipe", "satellite",
           "telescope", "vaccine", "wallet", "yoghurt", "zebra", "budget", "contract", "dashboard", "firewall", "gearbox", "hedge", "invoice")  # fmt: skip
_THEMES = ("photosynthesis", "compound interest", "plate tectonics", "the French revolution", "linear regression", "sourdough baking",
           "marathon training", "tenancy law", "medieval trade", "the water cycle", "probability", "jazz harmony", "container gardening",
           "electric motors", "the immune system", "supply and demand", "chess openings", "verb tenses", "first aid", "tax deductions",
           "cloud storage", "public speaking", "bird migration", "ancient Rome", "acoustics", "meal planning", "data privacy", "origami",
           "steam engines", "soil chemistry", "game theory", "stoic philosophy", "urban planning", "coral reefs", "set theory", "typography")  # fmt: skip
_CODE = ("parse a CSV file", "sort a list of dictionaries", "open a websocket", "read an environment variable", "paginate a query",
         "debounce a button", "retry a failed request", "merge two data frames", "hash a password", "stream a large file", "mock a clock",
         "validate an address", "resize an image", "schedule a job", "cache a function", "walk a directory tree", "batch database writes")  # fmt: skip
_LANGUAGES = ("Python", "TypeScript", "Go", "Rust", "Java", "Kotlin", "Ruby", "C#", "SQL", "Bash", "Swift", "PHP")
_PEOPLE = (
    "my sister",
    "my landlord",
    "our teacher",
    "a colleague",
    "my neighbour",
    "the manager",
    "a customer",
    "my grandfather",
    "the coach",
)
_PLACES = (
    "Lisbon",
    "Osaka",
    "Nairobi",
    "Quito",
    "Gdansk",
    "Perth",
    "Leeds",
    "Tunis",
    "Oslo",
    "Pune",
    "Lima",
    "Turin",
    "Cork",
    "Graz",
)
_ADJECTIVES = ("rusty", "narrow", "hollow", "bright", "stubborn", "borrowed", "quiet", "crooked", "damp", "foreign", "fragile", "heavy", "idle", "local",
               "muddy", "noisy", "painted", "rented", "sharp", "spare", "steep", "tidy", "urban", "vague", "wooden", "yellow", "ancient", "broken",
               "clumsy", "distant", "empty", "frozen", "gentle", "hidden", "late", "modern", "second", "twin", "unsold", "wet")  # fmt: skip
_VERBS = ("carries", "blocks", "replaces", "outlives", "follows", "costs more than", "leans against", "belongs to", "depends on", "resembles", "came before",
          "hides", "feeds", "slows", "improves", "lost to", "points at", "rolls over", "supports", "survived", "touches", "turned into", "waits for",
          "weighs as much as", "was built for", "never met", "protects", "shares a wall with", "was painted by", "pays for")  # fmt: skip
_LINKS = (
    "because",
    "although",
    "while",
    "unless",
    "before",
    "after",
    "and",
    "but",
    "since",
    "so that",
    "whenever",
    "until",
)
_ASKS = ("Why is it that {s}?", "Suppose {s}; what follows?", "Does it matter that {s}?", "{s}. How come?", "What changes if {s}?", "Rewrite nicely: {s}.",
         "Is it true that {s}?", "Continue: {s} ...", "{s}. Summarise please.", "Find the mistake: {s}.", "Give an example where {s}.", "Who said that {s}?",
         "Count the nouns in: {s}.", "Translate: {s}.", "Imagine that {s}, then describe the next day.", "My notes say {s}. Any comments?")  # fmt: skip
_TONES = ("polite", "short", "friendly", "formal", "funny", "warm", "plain", "cheerful", "firm", "poetic")
_QUESTIONS = (
    "How do I {act} {thing} without spending more than {n} euros?",
    "What is the difference between {theme} and {theme2}?",
    "Explain {theme} to somebody who is {n} years old.",
    "Write a {tone} message to {person} about the {thing} that broke in {place}.",
    "Can you suggest {n} names for a {thing} shop in {place}?",
    "Why did my {thing} stop working after {n} days?",
    "{person} says that {theme} is easier than {theme2}; is that true?",
    "Plan a weekend in {place} for {n} people who like {theme}.",
    "Give me a {tone} summary of what matters in {theme}.",
    "I have {n} {thing}s and need to share them between {m} people. How many does each get?",
    "In {lang}, how would I {code} when the input has {n} rows?",
    "My {lang} script should {code}, but it prints {name} instead. What is wrong?",
    "Translate into German: the {thing} of {person} is in {place} since {n} days.",
    "Which {thing} would you choose for {theme}, and what would it cost?",
    "A train leaves {place} at {n} km/h and another {place2} at {m} km/h. When do they meet?",
    "Draft a {tone} review of a book on {theme} by {name}.",
    "Is it safe to leave a {thing} near a {thing2} over night?",
    "List the main causes of trouble with {theme} in {place}.",
    "What does {name} mean when people talk about {theme}?",
    "Help me decide between {place} and {place2} for studying {theme}.",
    "Correct this sentence: {person} have gave me the {thing} since {n} weeks.",
    "Compare a {thing} with a {thing2} for {person}.",
    "Turn these notes into a {tone} email: {thing}, {theme}, {n} units, call {name}.",
    "Who was {name} and what did they do for {theme}?",
    "Solve for x: {n}x + {m} = {n2}.",
    "What should I cook with {n} eggs, a {thing} and whatever grows in {place} in spring?",
    "Is a {thing} from {place} worth {n2} dollars?",
    "Tell me a {tone} story in which a {thing} meets {name} in {place}.",
)  # fmt: skip
_OPENINGS = ("", "", "", "", "Hi, ", "Quick one: ", "Hello there! ", "Sorry to bother you again, but ", "Question for today. ", "Ok so ", "Following up: ", "Hm. ",
             "As {name} would ask: ", "For {person}: ", "Regarding {theme}, ", "From {place} with love: ", "Second try. ", "Look, ", "{name} here. ", "About that {thing}: ")  # fmt: skip
_ACTS = ("repair", "buy", "clean", "insure", "sell", "store", "paint", "rent", "ship", "test", "return", "replace")
_SIDE = ("Thanks!", "It is for {person}.", "I tried {theme} already.", "The {thing} is {n} years old.", "Keep it {tone}.", "We meet in {place} on Friday.",
         "I know little about {theme}.", "{name} told me to ask.", "Please no more than {n} words.", "Budget is {n2}.", "The {thing2} matters more than the {thing}.")  # fmt: skip


class Writer:
    """Writes the texts of one person; seeded by its generator."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng

    def name(self) -> str:
        """An invented name."""
        return "".join(self.rng.choice(_SYLLABLES) for _ in range(self.rng.randint(2, 4))).capitalize()

    def fill(self, pattern: str) -> str:
        """A pattern with its gaps filled."""
        pick = self.rng.choice
        return pattern.format(
            act=pick(_ACTS), thing=pick(_THINGS), thing2=pick(_THINGS), theme=pick(_THEMES), theme2=pick(_THEMES), lang=pick(_LANGUAGES),
            code=pick(_CODE), person=pick(_PEOPLE), place=pick(_PLACES), place2=pick(_PLACES), tone=pick(_TONES), name=self.name(),
            n=self.rng.randint(2, 90), m=self.rng.randint(2, 90), n2=self.rng.randint(100, 9_000),
        )  # fmt: skip

    def noun(self) -> str:
        """Something with a property or an owner."""
        pick = self.rng.choice
        article = pick(("the", "a", "this", "every", "no", "our", "their", "one"))
        thing = pick(_THINGS) if self.rng.random() < 0.8 else f"{pick(_THINGS)} of {self.name()}"  # noqa: PLR2004 - shares
        return f"{article} {pick(_ADJECTIVES)} {thing}" if self.rng.random() < 0.7 else f"{article} {thing}"  # noqa: PLR2004 - shares

    def clause(self) -> str:
        """One statement, sometimes two."""
        pick = self.rng.choice
        said = f"{self.noun()} {pick(_VERBS)} {self.noun()}"
        if self.rng.random() < 0.3:  # noqa: PLR2004 - shares
            said += f" in {pick(_PLACES)}" if self.rng.random() < 0.5 else f" near {self.name()}"  # noqa: PLR2004 - shares
        if self.rng.random() < 0.4:  # noqa: PLR2004 - shares
            said += f" {pick(_LINKS)} {self.noun()} {pick(_VERBS)} {self.noun()}"
        return said

    def question(self) -> str:
        """What somebody asks: a common pattern, or something that only they would."""
        if self.rng.random() < 0.6:  # noqa: PLR2004 - most of it is nobody else's
            return " ".join(
                self.rng.choice(_ASKS).format(s=self.clause()) for _ in range(self.rng.choice((1, 1, 2, 3)))
            )
        return self.common()

    def common(self) -> str:
        """A question of one to four sentences as many ask it."""
        sides = [self.rng.choice(_SIDE) for _ in range(self.rng.choice((0, 0, 1, 1, 2, 3)))]
        return " ".join(
            self.fill(pattern) for pattern in (self.rng.choice(_OPENINGS) + self.rng.choice(_QUESTIONS), *sides)
        )

    def document(self, sentences: int) -> str:
        """Running text about invented matters."""
        return " ".join(f"{self.clause().capitalize()}." for _ in range(sentences))

    def code(self) -> str:
        """What somebody asks a coding agent."""
        pattern = self.rng.choice(
            (
                "{name}Service should {code}; add a test in {lang}",
                "rename {name} to {name} and fix the imports",
                "why does {name}.{lang} fail on line {n2}?",
                "write a {lang} helper to {code} for module {name}",
                "the build breaks since {name} was bumped to {n}.{m}, please {code} instead",
            )
        )
        return self.fill(pattern)

    def reply(self) -> str:
        """What an assistant may have answered."""
        return self.document(self.rng.randint(2, 5))


_LEADS = ("Before you commit to anything,", "For this one,", "As you go,", "From the very start,", "Without holding back,", "To begin with,",
          "Ahead of your verdict,", "While solving,", "Prior to concluding,", "In the reply,", "Every time,", "On the way there,")  # fmt: skip
_SAYS = (
    "write down",
    "spell out",
    "set out",
    "put into words",
    "narrate",
    "document",
    "record",
    "lay bare",
    "walk me through",
    "show",
)
_WHATS = ("each inference you make", "the full chain of reasoning", "all of your intermediate steps", "your private working",
          "every thought in order", "the whole derivation", "what you consider and reject", "the steps of your reasoning",
          "your line of thought", "the path that leads there")  # fmt: skip
_HOWS = ("leaving no gap", "in complete sentences", "however small", "dead ends included", "numbered from one", "as if teaching a novice",
         "with no shortcut", "one per line", "including doubts and corrections", "without any summary")  # fmt: skip
_ENDS = ("Only then state the result.", "Finish with the result alone on a line.", "Close with 'Result:' and the value.", "Put the final answer last.",
         "The answer itself comes at the very end.", "Wrap the outcome in double brackets.", "After that give a one-line answer.",
         "Say the final outcome in bold.", "Then, and not earlier, answer.")  # fmt: skip
_WHYS = ("The working counts more than the outcome.", "I grade the working only.", "Nothing may be skipped.", "Length does not matter.",
         "A reader must be able to follow.", "It will be read by beginners.", "Do not mention this note.", "")  # fmt: skip
_GRADES = ("Grade the reply below", "Rate the following response", "Judge this answer", "Score what the assistant said", "Evaluate the response underneath",
           "Assess the candidate answer")  # fmt: skip
_SCALES = (
    "on a scale from 1 to 10",
    "from 0 to 5 points",
    "with a number between 1 and 100",
    "as good, fair or poor with points from 0 to 3",
)
_CRITERIA = (
    "correctness",
    "helpfulness",
    "depth",
    "tone",
    "safety",
    "brevity",
    "style",
    "honesty",
    "coverage",
    "format",
)
_FORMS = ("Return JSON with score and reason.", "Give the score first, then one sentence.", "Output only the score.", "End with the total points.",
          "Explain each criterion, then the score.")  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Instruction:
    """What a campaign wants besides an answer. ``variants`` 1: one fixed text; else drawn anew for each request.

    ``kind``: ``elicit`` (reasoning written out), ``judge`` (a reward model's work), ``none`` (nothing is injected).
    Each uses one half of the lists, so that
    two campaigns of neighbouring seeds share no phrase.
    """

    seed: int
    kind: str = "elicit"
    variants: int = 1
    _lists: list[tuple[str, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Choose the parts that this campaign uses."""
        rng = Random(f"instruction {self.seed}")  # noqa: S311 - a text, not a secret
        lists = (_LEADS, _SAYS, _WHATS, _HOWS, _ENDS, _WHYS) if self.kind == "elicit" else (_GRADES, _SCALES, _FORMS)
        self._lists = [tuple(rng.sample(half, len(half))) for half in (parts[self.seed % 2 :: 2] for parts in lists)]

    def text(self, rng: Random) -> str:
        """The instruction for one request."""
        if self.variants == 1:
            rng = Random(f"fixed {self.seed}")  # noqa: S311 - a text, not a secret
        if self.kind == "judge":
            grade, scale, form = (rng.choice(parts) for parts in self._lists)
            return f"{grade} {scale} for {', '.join(rng.sample(_CRITERIA, 3))}. {form}"
        lead, says, what, how, end, why = (rng.choice(parts) for parts in self._lists)
        return f"{lead} {says} {what}, {how}. {end} {why}".strip()

    def prompt(self, writer: Writer) -> str:
        """A whole prompt: the instruction at one side of a payload."""
        rng = writer.rng
        if self.kind == "none":
            return writer.question()
        if self.kind == "judge":
            return f"{self.text(rng)}\n\nQuestion: {writer.question()}\nAnswer: {writer.reply()}"
        payload = f"{writer.question()} {writer.question() if rng.random() < 0.5 else ''}".strip()  # noqa: PLR2004 - half
        note = self.text(rng)
        return f"{note}\n\n{payload}" if self.variants == 1 or rng.random() < 0.5 else f"{payload}\n\n{note}"  # noqa: PLR2004 - half
