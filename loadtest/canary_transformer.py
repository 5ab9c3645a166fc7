"""The transformer student: a small causal model over word pieces, trained on the CPU in minutes. Needs ``torch``.

About 1.3 million parameters: 4 layers of width 128, tied embeddings, rotary positions (J. Su et al. 2021), 4,096 pieces;
matrices are trained by Muon, all else by AdamW. Trained for a number of passes, not minutes, so that a busy machine
trains the same student as a quiet one, only later. It answers many questions at once, as a served model does.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections import Counter
from queue import SimpleQueue
from typing import TYPE_CHECKING

import torch  # type: ignore[import-not-found, unused-ignore]
from torch import nn  # type: ignore[import-not-found, unused-ignore]
from torch.nn import functional  # type: ignore[import-not-found, unused-ignore]

from loadtest.canary_pieces import Pieces

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTEXT = 256
WIDTH = 128
LAYERS = 4
HEADS = 4
VOCABULARY = 4096
PROMPT_PIECES = 48
BATCH_PIECES = 2048
RATE, MATRIX_RATE = 3e-3, 0.02
WARM_UP_STEPS = 100
_PAD, _TURN, _END = 0, 1, 2
_TOGETHER = 64
"""Answers that are written at once."""


_HALF = WIDTH // HEADS // 2
_ANGLES = torch.outer(torch.arange(CONTEXT), 0.001 ** (torch.arange(_HALF) / _HALF))


def turned(vectors: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Queries or keys turned by the angles of their places."""
    one, other = vectors[..., :_HALF], vectors[..., _HALF:]
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([one * cos - other * sin, one * sin + other * cos], -1)


class Block(nn.Module):  # type: ignore[misc, unused-ignore]
    """Attention and a feed-forward layer; ``past`` keeps keys and values while answering."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.mix, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.wide, self.narrow = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        nn.init.normal_(self.out.weight, std=0.02)
        nn.init.normal_(self.narrow.weight, std=0.02)

    def forward(
        self,
        hidden: torch.Tensor,
        angles: torch.Tensor,
        past: list[torch.Tensor] | None,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """(batch, length, width) to the same; with ``past`` the keys and values before are seen too."""
        batch, length, _ = hidden.shape
        mixed = self.mix(self.first(hidden)).view(batch, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        query, key, value = turned(mixed[0], angles), turned(mixed[1], angles), mixed[2]
        if past:
            key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        if past is not None:
            past[:] = [key, value]
        seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None)
        hidden = hidden + self.out(seen.transpose(1, 2).reshape(batch, length, WIDTH))
        result: torch.Tensor = hidden + self.narrow(functional.gelu(self.wide(self.second(hidden))))
        return result


class Model(nn.Module):  # type: ignore[misc, unused-ignore]
    """Embedding, layers, the same embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        nn.init.normal_(self.tokens.weight, std=0.05)

    def forward(
        self,
        ids: torch.Tensor,
        places: torch.Tensor,
        past: list[list[torch.Tensor]] | None = None,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The hidden state at every place; ``ids`` and ``places`` are (batch, length)."""
        hidden, angles = self.tokens(ids), _ANGLES[places][:, None]
        for index, block in enumerate(self.blocks):
            hidden = block(hidden, angles, None if past is None else past[index], mask)
        result: torch.Tensor = self.norm(hidden)
        return result

    def scores(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits of the next piece."""
        return hidden @ self.tokens.weight.T


class TransformerStudent:
    """A trained model that answers; questions that wait are answered together."""

    def __init__(self, pieces: Pieces, model: Model) -> None:
        self.pieces, self.model = pieces, model
        self._waiting: SimpleQueue[tuple[list[int], int, float, SimpleQueue[str]]] = SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def answer(self, prompt: str, max_tokens: int, temperature: float, begun: str = "") -> str:
        """Sample until the end, the model's context or ``max_tokens``."""
        done: SimpleQueue[str] = SimpleQueue()
        ids = question_ids(self.pieces, prompt) + self.pieces.encode(begun)
        self._waiting.put((ids, max_tokens, temperature, done))
        return done.get()

    def _work(self) -> None:
        while True:
            asked = [self._waiting.get()]
            time.sleep(0.01)  # the others of the same batch of questions
            while len(asked) < _TOGETHER and not self._waiting.empty():
                asked.append(self._waiting.get())
            texts = self.write([a[0] for a in asked], [a[1] for a in asked], [a[2] for a in asked])
            for (_, _, _, done), text in zip(asked, texts, strict=True):
                done.put(text)

    def write(self, prompts: list[list[int]], limits: list[int], temperatures: list[float]) -> list[str]:
        """Answers to many questions: padded on the left, one step for all."""
        with torch.no_grad():
            return self._write(prompts, limits, temperatures)

    def _write(self, prompts: list[list[int]], limits: list[int], temperatures: list[float]) -> list[str]:
        longest, count = max(map(len, prompts)), len(prompts)
        pads = torch.tensor([longest - len(ids) for ids in prompts])
        ids = torch.tensor([[_PAD] * (longest - len(ids)) + ids for ids in prompts])
        heat = torch.tensor(temperatures).clamp(min=0.05)[:, None]
        place = torch.arange(longest)
        seen = place[None, :] >= pads[:, None]
        mask = (seen[:, None, :] & (place[None, :] <= place[:, None])) | torch.eye(longest, dtype=torch.bool)
        past: list[list[torch.Tensor]] = [[] for _ in range(LAYERS)]
        out: list[list[int]] = [[] for _ in prompts]
        open_ = [True] * count
        hidden = self.model(ids, (place[None, :] - pads[:, None]).clamp(min=0), past, mask[:, None])
        for at in range(longest, CONTEXT):
            chances = functional.softmax(self.model.scores(hidden[:, -1]) / heat, -1)
            drawn = torch.multinomial(chances, 1)
            for row, token in enumerate(drawn[:, 0].tolist()):
                open_[row] = open_[row] and token != _END and len(out[row]) < limits[row]
                if open_[row]:
                    out[row].append(token)
            if not any(open_):
                break
            seen = torch.cat([seen, torch.ones(count, 1, dtype=torch.bool)], 1)
            hidden = self.model(drawn, at - pads[:, None], past, seen[:, None, None, :])
        return [self.pieces.decode(row) for row in out]


def question_ids(pieces: Pieces, prompt: str) -> list[int]:
    """What the model is given: the last pieces of the question, and the sign that it is its turn."""
    return [*pieces.encode(prompt)[-PROMPT_PIECES:], _TURN]


def batches(data: list[list[int]], passes: int, rnd: random.Random) -> Iterator[list[list[int]]]:
    """Rows of like length, about ``BATCH_PIECES`` pieces together, each row once a pass, in a random order."""
    for _ in range(passes):
        order = sorted(data, key=lambda row: len(row) + rnd.random() * 8)
        found: list[list[list[int]]] = [[]]
        for row in order:
            if (len(found[-1]) + 1) * len(row) > BATCH_PIECES and found[-1]:
                found.append([])
            found[-1].append(row)
        rnd.shuffle(found)
        yield from found


def train(rows: list[tuple[str, str]], *, passes: int, seed: int) -> TransformerStudent:
    """Train for ``passes`` over ``rows``; prints the loss (nats a piece, questions and replies) now and then."""
    torch.manual_seed(seed)
    rnd = random.Random(seed)  # noqa: S311 - an order of rows, no secret
    pieces = Pieces.learned(Counter(word for row in rows for text in row for word in Pieces.words(text)), VOCABULARY)
    data = [[*question_ids(pieces, p), *pieces.encode(r), _END][: CONTEXT + 1] for p, r in rows]
    model = Model()
    size = sum(parameter.numel() for parameter in model.parameters())
    learners = optimisers(model)
    plan = list(batches(data, passes, rnd))
    started_s, recent = time.process_time(), 0.0
    for step, batch in enumerate(plan):
        longest = max(map(len, batch))
        ids = torch.tensor([row + [_PAD] * (longest - len(row)) for row in batch])
        told = ids[:, 1:] != _PAD
        hidden = model(ids[:, :-1], torch.arange(longest - 1)[None, :])
        loss = functional.cross_entropy(model.scores(hidden[told]), ids[:, 1:][told])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for learner, rate in learners:
            learner.param_groups[0]["lr"] = rate * min(1.0, (step + 1) / WARM_UP_STEPS) * _cooled(step / len(plan))
            learner.step()
            learner.zero_grad()
        recent += (float(loss.detach()) - recent) * max(0.02, 1 / (step + 1))
        if step % 200 == 199 or step + 1 == len(plan):  # noqa: PLR2004 - now and then
            spent_s = time.process_time() - started_s
            print(
                f"{size / 1e6:.1f} M parameters, step {step + 1}/{len(plan)}, loss {recent:.2f}, {spent_s:.0f} s CPU",
                flush=True,
            )
    return TransformerStudent(pieces, model.eval())


def save(student: TransformerStudent, path: Path) -> None:
    """Write a trained student to ``path``."""
    torch.save({"names": student.pieces.names, "weights": student.model.state_dict()}, path)


def load(path: Path) -> TransformerStudent:
    """The student that ``save`` wrote."""
    kept = torch.load(path, weights_only=True)
    model = Model()
    model.load_state_dict(kept["weights"])
    return TransformerStudent(Pieces(kept["names"]), model.eval())


def optimisers(model: Model) -> list[tuple[torch.optim.Optimizer, float]]:
    """Each optimiser with its highest rate: Muon for the matrices within layers, AdamW for the rest."""
    matrices = [p for p in model.blocks.parameters() if p.ndim == 2]  # noqa: PLR2004 - a matrix
    others = [model.tokens.weight, *model.norm.parameters()]
    others += [p for p in model.blocks.parameters() if p.ndim != 2]  # noqa: PLR2004 - not a matrix
    return [
        (torch.optim.Muon(matrices, lr=MATRIX_RATE, weight_decay=0.0, ns_steps=3), MATRIX_RATE),
        (torch.optim.AdamW(others, lr=RATE, betas=(0.9, 0.95), weight_decay=0.01, fused=True), RATE),
    ]


def _cooled(done: float) -> float:
    """Half a cosine from 1 to 0.05."""
    return 0.05 + 0.95 * (1 + math.cos(math.pi * done)) / 2
