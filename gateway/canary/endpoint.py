"""Asking a suspect endpoint: the one seam of the audit to the network.

Owns: the ``Suspect`` seam with its HTTP side, the loop over questions (concurrency, rate, retries, resume,
early stop). Invariants: every answer is written to the transcript before it counts; questions do not depend on
keys (``plan.py``); in the sequential mode each context is staked on once, so that 1 / e is valid whenever one stops
(Ville's inequality). Leaves out: the judgement (``audit.py``).
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import httpx
import orjson

from gateway.canary.evidence import Collector, make_trials
from gateway.canary.prompts import Question, Way
from gateway.canary.writer import keyed_form
from gateway.errors import UpstreamError, UpstreamUnreachable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

    from gateway.canary.keyring import Keyring
    from gateway.canary.plan import Plan

MAX_ANSWER_TOKENS = 400
"""At first: about 250 words. A server whose tokens are shorter cuts its answers and says so (``length``); then it is given
more, up to ``MOST_ANSWER_TOKENS``, as a reply's last sentence says most.
"""
MOST_ANSWER_TOKENS = 1600
_JUDGED_BY = 20
_ATTEMPTS = 5
_PROBE_ATTEMPTS = 2
"""A way to ask that breaks the server is none; a cut connection may be chance."""
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_TOO_MANY = 429
_SERVER_ERROR = 500
_REFUSED = frozenset({400, 422})
_NOT_HERE = frozenset({404, 405})


class Suspect(Protocol):
    """Answers questions."""

    async def ask(self, question: Question) -> list[str]:
        """Sampled answers, one or more. Raises UpstreamError where none can be had."""
        ...


class HttpSuspect:
    """An OpenAI-compatible endpoint; chat completions, or completions where the server has only those."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        url: str,
        model: str,
        *,
        api_key: str = "",
        samples: int = 1,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        base = url.rstrip("/")
        self._base = base if urlsplit(base).path.endswith("/v1") else base + "/v1"
        self._client = client
        self._model = model
        self._headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._pause = pause
        self._chat = True
        self._told_to_go_on = True
        self._samples = samples
        self._max_tokens = MAX_ANSWER_TOKENS
        self._whole = self._cut = 0

    async def ask(self, question: Question) -> list[str]:
        """One question, ``samples`` answers where the server makes so many. 429 and 5xx are tried again, as the server's
        ``retry-after`` says or ever slower.
        """
        pause_s = _FIRST_PAUSE_S
        attempts = _PROBE_ATTEMPTS if question.expected else _ATTEMPTS
        for attempt in range(attempts):
            try:
                response = await self._post(question)
            except httpx.TransportError as error:
                failure: UpstreamError = UpstreamUnreachable(f"{self._base}: {type(error).__name__}: {error}")
            else:
                if response.is_success:
                    choices = _choices(response, self._base)
                    self._note_length(choices)
                    return [text for text, _ in choices]
                if response.status_code in _REFUSED and self._asks_for_less(question):
                    continue
                failure = UpstreamError(f"{self._base}: got status {response.status_code}, expected an answer (200)")
                if response.status_code != _TOO_MANY and response.status_code < _SERVER_ERROR:
                    raise failure
                pause_s = max(pause_s, _retry_after_s(response))
            if attempt + 1 < attempts:
                await self._pause(min(pause_s, _LONGEST_PAUSE_S))
                pause_s *= 2
        raise failure

    def _note_length(self, choices: list[tuple[str, bool]]) -> None:
        """Ask for longer answers where most were cut, judged anew at every doubling."""
        self._cut += sum(cut for _, cut in choices)
        self._whole += sum(not cut for _, cut in choices)
        if self._cut > self._whole and self._cut + self._whole >= _JUDGED_BY:
            self._max_tokens = min(MOST_ANSWER_TOKENS, 2 * self._max_tokens)
            self._whole = self._cut = 0

    def _asks_for_less(self, question: Question) -> bool:
        """After a refusal: whether there is something to do without. Not every server knows how to be told to go on, and one
        that makes one answer at a time may refuse to make several.
        """
        if question.way is Way.BEGUN and self._told_to_go_on:
            self._told_to_go_on = False
        elif question.way is Way.ASKED and self._samples > 1:
            self._samples = 1
        else:
            return False
        return True

    async def _post(self, question: Question) -> httpx.Response:
        body: dict[str, Any] = {"model": self._model, "max_tokens": self._max_tokens, "temperature": 1.0}
        if self._samples > 1:
            body["n"] = self._samples
        if self._chat and question.way is not Way.RAW:
            turns = [{"role": "user", "content": question.text}]
            if question.begun:
                turns.append({"role": "assistant", "content": question.begun})
                if self._told_to_go_on:  # as vLLM and SGLang want it said
                    body |= {"continue_final_message": True, "add_generation_prompt": False}
            response = await self._send("chat/completions", {**body, "messages": turns})
            if response.status_code not in _NOT_HERE:
                return response
            self._chat = False
        prompt = f"{question.text}\n\n{question.begun}" if question.begun else question.text
        return await self._send("completions", {**body, "prompt": prompt})

    async def _send(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return await self._client.post(f"{self._base}/{path}", json=body, headers=self._headers)


def _choices(response: httpx.Response, base: str) -> list[tuple[str, bool]]:
    """Texts, each with whether it was cut at the limit of tokens."""
    try:
        found = [
            (choice["message"]["content"] if "message" in choice else choice["text"], choice.get("finish_reason"))
            for choice in response.json()["choices"]
        ]
    except (ValueError, LookupError, TypeError, AttributeError):
        raise UpstreamError(f"{base}: got an answer without choices, expected an OpenAI-compatible one") from None
    return [(text, reason == "length") for text, reason in found if isinstance(text, str)]


def _retry_after_s(response: httpx.Response) -> float:
    try:
        return max(0.0, float(response.headers.get("retry-after", "0")))
    except ValueError:
        return 0.0


class Transcript:
    """Answers on disk, one line each, so that an audit goes on where it was stopped."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.answers: dict[tuple[str, str], list[str]] = {}
        if path is not None and path.exists():
            for line in path.read_bytes().splitlines():
                try:
                    row = orjson.loads(line)
                except orjson.JSONDecodeError:
                    continue  # the line that was being written when the audit was killed
                self.answers[row["id"], row["prompt"] + row.get("begun", "")] = row["replies"]

    def add(self, question: Question, answers: list[str]) -> None:
        """Keep answers; on disk before it counts."""
        self.answers[question.id, question.text + question.begun] = answers
        if self._path is not None:
            with self._path.open("ab") as file:
                row = {"id": question.id, "prompt": question.text, "begun": question.begun, "replies": answers}
                file.write(orjson.dumps(row) + b"\n")


class Stakes:
    """The sequential test: per cluster, what one unit staked on the true key has become.

    E-process: each distinct context is staked on once, when it is first seen; its stake is the likelihood ratio of
    its keyed choice, fair under the null given everything before. Over the keyring's versions the mean counts.
    """

    def __init__(self, keyring: Keyring, clusters: Iterable[str]) -> None:
        self._keys = {c: [v.cluster_key(c) for v in keyring.versions] for c in clusters}
        self._logs = {c: [0.0] * len(keys) for c, keys in self._keys.items()}
        self._staked: set[tuple[str, str]] = set()
        self.highest = dict.fromkeys(self._keys, 1.0)

    def look(self, collector: Collector) -> None:
        """Stake on every context that is new since the last look."""
        for trial in make_trials(collector):
            place = (trial.slot.id, trial.context)
            if place in self._staked:
                continue
            self._staked.add(place)
            for cluster, keys in self._keys.items():
                for index, key in enumerate(keys):
                    self._logs[cluster][index] += trial.log_gain(keyed_form(key, trial.slot, trial.context))
        for cluster, logs in self._logs.items():
            mean = sum(math.exp(min(690.0, log)) for log in logs) / len(logs)
            self.highest[cluster] = max(self.highest[cluster], mean)


def _silent(_asked: int, _total: int) -> None:
    """No progress is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a suspect is asked: at most ``concurrency`` at once, one question per ``interval_s`` seconds.

    ``pause`` waits and ``progress`` is told (asked, of how many); tests bring their own.
    """

    concurrency: int = 4
    interval_s: float = 0.0
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    progress: Callable[[int, int], None] = _silent


@dataclass(slots=True, kw_only=True)
class Interview:
    """What was asked and read. ``stopped_early`` tells that the stakes named a cluster."""

    collector: Collector
    asked: int = 0
    failed: int = 0
    stopped_early: bool = False


async def interview(
    suspect: Suspect,
    plan: Plan,
    *,
    transcript: Transcript,
    pace: Pace,
    stakes: Stakes | None = None,
    stop_at: float = math.inf,
) -> Interview:
    """Ask what ``plan`` wants asked; what the transcript already holds is not asked again.

    With ``stakes`` it stops after the batch in which some cluster's stake reaches ``stop_at``.
    Raises UpstreamError where a whole batch got no answer: the endpoint is not there.
    """
    talk = Interview(collector=Collector())
    gate = asyncio.Semaphore(pace.concurrency)
    while batch := plan.next_batch():
        waits = [i * pace.interval_s for i in range(len(batch))]
        answers = await asyncio.gather(
            *(_ask(suspect, q, transcript, gate, (pace, w)) for q, w in zip(batch, waits, strict=True))
        )
        errors = [answer for answer in answers if isinstance(answer, UpstreamError)]
        if len(errors) == len(batch):
            raise errors[0]
        for question, answer in zip(batch, answers, strict=True):
            if isinstance(answer, list):
                talk.asked += 1
                plan.heard(question, answer)
                for text in answer:
                    talk.collector.read(question.read(text), question.given)
            talk.failed += isinstance(answer, UpstreamError) and not question.expected
        pace.progress(talk.asked + talk.failed, plan.count)
        if stakes is not None:
            stakes.look(talk.collector)
            if max(stakes.highest.values(), default=0.0) >= stop_at:
                talk.stopped_early = True
                break
    return talk


async def _ask(
    suspect: Suspect, question: Question, transcript: Transcript, gate: asyncio.Semaphore, when: tuple[Pace, float]
) -> list[str] | UpstreamError:
    """One question's answers: from the transcript, or from the suspect at its turn."""
    known = transcript.answers.get((question.id, question.text + question.begun))
    if known is not None:
        return known
    pace, wait_s = when
    if wait_s:
        await pace.pause(wait_s)
    async with gate:
        try:
            answers = await suspect.ask(question)
        except UpstreamError as error:
            return error
    transcript.add(question, answers)
    return answers
