"""The sentences of the quickstart: a small grammar of spoken commands and digits, and which of them are held out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from random import Random

SPLITS = ("train", "dev", "test")
SHARES = {"train": 0.80, "dev": 0.08, "test": 0.12}

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
FEW = [*DIGITS[2:], "ten"]
TENS = ["ten", "twenty", "thirty"]

SLOTS: dict[str, list[str]] = {
    "room": ["kitchen", "bedroom", "bathroom", "garage"],
    "device": ["light", "fan", "heater", "radio"],
    "opening": ["door", "window"],
    "on": ["on", "off"],
    "up": ["up", "down"],
    "digit": DIGITS,
    "few": FEW,
    "hour": [*DIGITS[1:], "ten"],
    "tens": TENS,
    "number": [*FEW, *TENS[1:], *(f"{tens} {digit}" for tens in TENS[1:] for digit in DIGITS[1:])],
    "unit": ["seconds", "minutes", "hours"],
    "city": ["london", "paris", "tokyo"],
    "day": ["today", "tomorrow"],
    "turn": ["turn", "switch"],
    "cancel": ["cancel", "stop"],
    "forecast": ["weather", "temperature"],
    "open": ["open", "close", "lock"],
    "clock": ["timer", "alarm"],
    "measure": ["weather", "temperature", "time"],
    "now": ["", "now", "please"],
}

TEMPLATES: dict[str, int] = {
    "{turn} {on} the {room} {device} {now}": 14,
    "turn the {room} {device} {on}": 3,
    "{turn} it {on} {now}": 1,
    "turn it {up} {now}": 1,
    "{open} the {room} {opening} {now}": 7,
    "set timer for {number} {unit}": 8,
    "start {room} timer for {few} {unit}": 6,
    "set alarm for {hour} {tens} {day}": 6,
    "set {room} alarm for {hour} {now}": 4,
    "{cancel} the {room} {clock} {now}": 4,
    "call {digit} {digit} {digit}": 8,
    "call {digit} {digit} {digit} {digit}": 8,
    "channel {digit} {digit} {now}": 5,
    "play song {digit} {digit} {now}": 5,
    "play next song in the {room}": 1,
    "play music in the {room} {now}": 2,
    "stop the music in the {room}": 1,
    "{cancel} the {clock} {now}": 2,
    "volume {up} {number} percent": 5,
    "volume {up} {now}": 1,
    "set {room} volume at {number}": 7,
    "dim {room} light by {number} percent": 7,
    "set {room} temperature at {number}": 6,
    "set temperature at {number} degrees {now}": 5,
    "what is the weather {day}": 1,
    "what is the {measure} in {city}": 2,
    "{measure} in {city} {now}": 3,
    "{forecast} in {city} {day} {now}": 4,
    "what time is it in {city}": 1,
    "what time is it {now}": 1,
}
"""Each template with its relative frequency."""

_SLOT = re.compile(r"{(\w+)}")


def vocabulary() -> list[str]:
    """Every word of the grammar, sorted."""
    words: set[str] = set()
    for template in TEMPLATES:
        words.update(_SLOT.sub(" ", template).split())
        for slot in _SLOT.findall(template):
            words.update(" ".join(SLOTS[slot]).split())
    return sorted(words)


def expand(template: str) -> Iterator[str]:
    """Every sentence of one template."""
    slot = _SLOT.search(template)
    if slot is None:
        yield " ".join(template.split())
        return
    for words in SLOTS[slot[1]]:
        yield from expand(template[: slot.start()] + words + template[slot.end() :])


def split_of(sentence: str, seed: int) -> str:
    """The split a sentence belongs to. It hangs on the sentence and the seed alone, so no sentence is ever in two."""
    place = Random(f"{seed} {sentence}").random()
    for split in ("dev", "test"):
        place -= SHARES[split]
        if place < 0:
            return split
    return "train"


def draw_sentences(split: str, count: int, seed: int) -> list[str]:
    """`count` sentences of one split, templates drawn by their frequency.

    Dev and test hold each sentence once. Training repeats the sentences of the small templates: another voice says
    them each time. `count` must stay below about 500 in dev and 700 in test, where only digits are left to say.
    """
    templates, weights = list(TEMPLATES), list(TEMPLATES.values())
    random = Random(f"{seed} {split}")
    sentences: list[str] = []
    seen: set[str] = set()
    while len(sentences) < count:
        template = random.choices(templates, weights)[0]
        sentence = " ".join(_SLOT.sub(lambda slot: random.choice(SLOTS[slot[1]]), template).split())
        if split_of(sentence, seed) != split or (split != "train" and sentence in seen):
            continue
        seen.add(sentence)
        sentences.append(sentence)
    return sentences
