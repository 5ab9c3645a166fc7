"""The transformer student: a small causal model over words, trained on the CPU in minutes. Needs ``torch``.

Words that are not among the most frequent are written as single characters, so nothing is lost. About 2.5 million
parameters: 4 layers of width 160, tied embeddings, learned positions.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter

import torch  # type: ignore[import-not-found, unused-ignore]
from torch import nn  # type: ignore[import-not-found, unused-ignore]
from torch.nn import functional  # type: ignore[import-not-found, unused-ignore]

from loadtest.canary_students import END, TURN, join, words

VOCABULARY = 8000
CONTEXT = 192
WIDTH = 160
LAYERS = 4
HEADS = 4
BATCH = 24
PROMPT_TOKENS = 40
_CHAR = "\x00"
"""Before a character of a rare word; its last one has none after it."""


class Block(nn.Module):  # type: ignore[misc, unused-ignore]
    """Attention and a feed-forward layer; ``past`` keeps keys and values while answering."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.mix, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.wide, self.narrow = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, hidden: torch.Tensor, past: list[torch.Tensor] | None) -> torch.Tensor:
        """(batch, length, width) to the same; with ``past`` the length is 1 after the first call."""
        batch, length, _ = hidden.shape
        mixed = self.mix(self.first(hidden)).view(batch, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        query, key, value = mixed[0], mixed[1], mixed[2]
        if past:
            key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        if past is not None:
            past[:] = [key, value]
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=length > 1)
        hidden = hidden + self.out(seen.transpose(1, 2).reshape(batch, length, WIDTH))
        result: torch.Tensor = hidden + self.narrow(functional.gelu(self.wide(self.second(hidden))))
        return result


class Model(nn.Module):  # type: ignore[misc, unused-ignore]
    """Embedding, layers, the same embedding."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, WIDTH)
        self.places = nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        nn.init.normal_(self.tokens.weight, std=0.05)

    def forward(self, ids: torch.Tensor, at: int = 0, past: list[list[torch.Tensor]] | None = None) -> torch.Tensor:
        """Logits of the next token at every place; ``ids`` is (batch, length) and begins at place ``at``."""
        hidden = self.tokens(ids) + self.places(torch.arange(at, at + ids.shape[1]))
        for index, block in enumerate(self.blocks):
            hidden = block(hidden, None if past is None else past[index])
        logits: torch.Tensor = self.norm(hidden) @ self.tokens.weight.T
        return logits


class TransformerStudent:
    """A trained model that answers."""

    def __init__(self, rows: list[tuple[str, str]]) -> None:
        counts = Counter(token for prompt, reply in rows for token in (*words(prompt), *words(reply)))
        signs = sorted({_CHAR + sign for token in counts for sign in token})
        self.names = ["<pad>", TURN, END, *signs, *(token for token, _ in counts.most_common(VOCABULARY))]
        self.ids = {name: index for index, name in enumerate(self.names)}
        self.model = Model(len(self.names))
        self._lock = threading.Lock()

    def encode(self, text: str) -> list[int]:
        """Ids of a text; rare words by their characters."""
        out = []
        for token in words(text):
            found = self.ids.get(token)
            out += [found] if found is not None else [self.ids[_CHAR + s] for s in token if _CHAR + s in self.ids]
        return out

    def row(self, prompt: str, reply: str) -> list[int]:
        """A training row."""
        ids = [*self.encode(prompt)[-PROMPT_TOKENS:], self.ids[TURN], *self.encode(reply), self.ids[END]]
        return ids[: CONTEXT + 1]

    def answer(self, prompt: str, max_tokens: int) -> str:
        """Sample at temperature 0.9 until the end, the model's context or ``max_tokens``."""
        ids = [*self.encode(prompt)[-PROMPT_TOKENS:], self.ids[TURN]]
        begin = len(ids)
        past: list[list[torch.Tensor]] = [[] for _ in range(LAYERS)]
        with self._lock, torch.no_grad():
            fresh, at = ids, 0
            while len(ids) < min(CONTEXT, begin + max_tokens):
                logits = self.model(torch.tensor([fresh]), at, past)[0, -1] / 0.9
                at = len(ids)
                token = int(torch.multinomial(functional.softmax(logits, -1), 1))
                if token == self.ids[END]:
                    break
                ids.append(token)
                fresh = [token]
        tokens: list[str] = []
        spelled = False
        for name in (self.names[i] for i in ids[begin:]):
            if name.startswith(_CHAR):
                if spelled:
                    tokens[-1] += name[1:]
                else:
                    tokens.append(name[1:])
                spelled = True
            else:
                tokens.append(name)
                spelled = False
        return str(join([token for token in tokens if token]))


def train(rows: list[tuple[str, str]], *, minutes: float, seed: int) -> TransformerStudent:
    """Train for ``minutes`` of wall time; prints the loss now and then."""
    torch.manual_seed(seed)
    rnd = random.Random(seed)  # noqa: S311 - an order of rows, no secret
    student = TransformerStudent(rows)
    data = [student.row(prompt, reply) for prompt, reply in rows]
    size = sum(parameter.numel() for parameter in student.model.parameters())
    optimiser = torch.optim.AdamW(student.model.parameters(), lr=1.5e-3, weight_decay=0.01)
    started, step, seen = time.monotonic(), 0, 0
    while (spent := (time.monotonic() - started) / (60 * minutes)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = 1.5e-3 * min(1.0, (step + 1) / 100) * (1 - 0.9 * spent)
        batch = sorted(rnd.sample(data, 8 * BATCH), key=len)
        first = rnd.randrange(8) * BATCH
        batch = batch[first : first + BATCH]
        longest = max(map(len, batch))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in batch])
        logits = student.model(ids[:, :-1])
        loss = functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=0)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(student.model.parameters(), 1.0)
        optimiser.step()
        step += 1
        seen += BATCH
        if step % 100 == 0:
            print(
                f"{size / 1e6:.1f} M parameters, step {step}, {seen / len(rows):.1f} epochs, loss {float(loss):.2f}",
                flush=True,
            )
    student.model.eval()
    return student
