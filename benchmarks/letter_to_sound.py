"""How many words letter-to-sound gets wrong: words of CMUdict that it has not learnt from.

python benchmarks/letter_to_sound.py
"""

from __future__ import annotations

import random
import time
from typing import Annotated

import jiwer
import typer
from measure import print_json, print_table

from asr.cli.common import run_script
from asr.lm.letter_to_sound import LetterToSound
from asr.lm.lexicon import default_dictionary
from asr.text.pronunciations import read_pronunciations


def main(
    words: Annotated[int, typer.Option(min=1, help="Words held out.")] = 3000,
    seed: Annotated[int, typer.Option(help="Which words.")] = 0,
    json_: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Learn from the rest of CMUdict, guess the held-out words, with and without stress digits."""
    rows = []
    for stress in (False, True):
        dictionary = read_pronunciations(default_dictionary(), stress=stress)
        held_out = random.Random(seed).sample([word for word in dictionary if word.isalpha()], words)
        away = set(held_out)
        started = time.process_time()
        model = LetterToSound({word: ways for word, ways in dictionary.items() if word not in away})
        learnt = time.process_time()
        guesses = {word: model.pronounce(word) or () for word in held_out}
        guessed = time.process_time()
        # Any pronunciation of the dictionary is right; phones are counted against the nearest.
        wrong = sum(guesses[word] not in dictionary[word] for word in held_out)
        errors = phones = 0
        for word in held_out:
            found = [jiwer.process_words(" ".join(way), " ".join(guesses[word])) for way in dictionary[word]]
            nearest = min(found, key=lambda one: one.wer)
            errors += nearest.substitutions + nearest.deletions + nearest.insertions
            phones += nearest.hits + nearest.substitutions + nearest.deletions
        rows.append(
            {
                "stress": stress,
                "words_wrong": wrong / words,
                "phones_wrong": errors / phones,
                "learning_seconds": learnt - started,
                "milliseconds_a_word": 1000 * (guessed - learnt) / words,
            }
        )
    columns = ["stress", "words wrong", "phones wrong", "learning", "a word"]
    shown = [
        [
            "kept" if row["stress"] else "without",
            f"{row['words_wrong']:.1%}",
            f"{row['phones_wrong']:.1%}",
            f"{row['learning_seconds']:.0f} s",
            f"{row['milliseconds_a_word']:.1f} ms",
        ]
        for row in rows
    ]
    print_table(f"{words} held-out words of CMUdict", columns, shown)
    if json_:
        print_json({"words": words, "rows": rows})


if __name__ == "__main__":
    run_script(main)
