"""English prose as LibriSpeech spells its transcripts: lower case, letters and apostrophes, numbers in words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

ABBREVIATIONS = {
    "mr": "mister",
    "mrs": "missus",
    "dr": "doctor",
    "st": "saint",
    "messrs": "messrs",
    "esq": "esquire",
    "capt": "captain",
    "col": "colonel",
    "gen": "general",
    "rev": "reverend",
    "prof": "professor",
    "hon": "honorable",
    "lieut": "lieutenant",
    "lt": "lieutenant",
    "sergt": "sergeant",
    "sgt": "sergeant",
    "gov": "governor",
    "mme": "madame",
    "mlle": "mademoiselle",
    "jr": "junior",
    "sr": "senior",
    "etc": "et cetera",
    "&c": "et cetera",
    "viz": "viz",
    "vol": "volume",
    "ch": "chapter",
    "ver": "verse",
    "ps": "psalm",
    "rom": "romans",
    "isa": "isaiah",
    "mt": "mount",
    "mss": "manuscripts",
    "co": "company",
}
ABBREVIATION = re.compile(r"(?<![\w'])(&c|" + "|".join(k for k in ABBREVIATIONS if k != "&c") + r")\.(?=\W)", re.I)
BARE_TITLE = re.compile(r"\b(Mrs?|Dr)\b(?=\s+[A-Z])")
HEADING = re.compile(
    r"\s*(chapter|book|volume|vol\.?|part|canto|act|scene|letter|section|stave|adventure|preface|introduction|epilogue|"
    r"prologue|contents|table of contents|index|finis|the end|footnotes?|notes?|title|author|produced by|transcri\w+)"
    r"\b[^a-z]{0,12}(\S+\s*){0,8}$",
    re.I,
)
UNIT_NAMES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
UNITS = UNIT_NAMES.split()
TENS = ["-", "-", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
IRREGULAR = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
ROMAN = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
NUMERAL = re.compile(r"\b(\w+)\s+((?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3}))\b(?![.'’]?\w)")
ENGLISH_WORDS = """the of and to a in that is was he it his i with as had for her not be but on at by which you from she
my they all have him this or one so me their no were an when are who them there what if your thy thou we our then out up
thee do like o shall will may let how where nor yet still each every some ye us"""
FOREIGN_WORDS = """und der die das nicht ich ist les des une est que qui dans pour et le la je il di che della sed quod
cum el los por het een van och ne per con sur pas vous ein mit auf zu dem si quae ac ut sunt hoc"""
ENGLISH, FOREIGN = set(ENGLISH_WORDS.split()), set(FOREIGN_WORDS.split())
LICENCE = r"(?:(?i:project gutenberg)|SMALL PRINT!)[^\n]*\n"
"""The end of a licence at the head of a book, or the beginning of one at its end."""


def cardinal(number: int) -> str:
    """Spell a whole number below a million, years from 1100 to 1999 as they are read."""
    if 1100 <= number < 2000:
        rest = "hundred" if number % 100 == 0 else ("o " if number % 100 < 10 else "") + cardinal(number % 100)
        return f"{cardinal(number // 100)} {rest}"
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if number >= size:
            rest = f" {cardinal(number % size)}" if number % size else ""
            return f"{cardinal(number // size)} {name}{rest}"
    if number < 20:
        return UNITS[number]
    return TENS[number // 10] + (f" {UNITS[number % 10]}" if number % 10 else "")


def ordinal(number: int) -> str:
    """Spell first, second and so on."""
    *head, last = cardinal(number).split()
    last = IRREGULAR.get(last) or (last[:-1] + "ieth" if last.endswith("y") else last + "th")
    return " ".join([*head, last])


def roman(numeral: str) -> int:
    """The value of a Roman numeral."""
    values = [ROMAN[letter] for letter in numeral]
    return sum(-v if any(later > v for later in values[i + 1 : i + 2]) else v for i, v in enumerate(values))


def spell_numeral(match: re.Match[str]) -> str:
    """Read 'Henry VIII' as 'Henry the eighth' and 'chapter VIII' as 'chapter eight'."""
    word, numeral = match.groups()
    if not numeral or numeral == "I":
        return match.group()
    if word[0].isupper() and word.lower() not in {"chapter", "book", "volume", "part", "psalm", "act", "scene"}:
        return f"{word} the {ordinal(roman(numeral))}"
    return f"{word} {cardinal(roman(numeral))}"


def spell(text: str) -> str:
    """Plain ASCII text with abbreviations, Roman numerals and numbers in words."""
    text = text.translate(str.maketrans("‘’“”—–…æœÆŒ", "''\"\"--.eeEE")).replace("_", "")
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    text = re.sub(r"\[[^\]]{0,300}\]|<[^>]{0,200}>|\{[^}]{0,80}\}|[*=]", " ", text)
    text = re.sub(r"\bi\. ?e\.", "that is", re.sub(r"\be\. ?g\.", "for example", text))
    text = ABBREVIATION.sub(lambda m: ABBREVIATIONS[m.group(1).lower()], text)
    text = BARE_TITLE.sub(lambda m: ABBREVIATIONS[m.group(1).lower()], text).replace("&", " and ")
    text = re.sub(r"\b([A-Z])\.(?=\s*[A-Z])", r"\1 ", text)
    text = NUMERAL.sub(spell_numeral, text)
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
    text = re.sub(r"\b(\d{1,3})(?:st|nd|rd|th|d)\b", lambda m: ordinal(int(m.group(1))), text)
    return re.sub(r"(?<![\d$#/.:])\b(\d{1,6})\b(?![/:]|\.\d|[a-z])", lambda m: cardinal(int(m.group(1))), text)


def size(text: str) -> int:
    """How many words a text comes to, the parts of hyphened words counted apart."""
    return len(text.replace("-", " ").split())


def clauses(sentence: str, longest: int = 40) -> Iterator[str]:
    """Cut a sentence of more than `longest` words at its punctuation, the stronger marks first."""
    if size(sentence) <= longest:
        yield sentence
        return
    for mark in (r"(?<=[;:])\s", r"--+", r"(?<=,)\s"):
        pieces = [piece for piece in re.split(mark, sentence) if piece.strip()]
        if len(pieces) > 1:
            held = ""
            for piece in pieces:
                if held and size(held) + size(piece) > longest:
                    yield from clauses(held, longest)
                    held = ""
                held = f"{held} {piece}".strip()
            yield from clauses(held, longest)
            return
    words = sentence.replace("-", " ").split()
    for start in range(0, len(words), longest):
        yield " ".join(words[start : start + longest])


def english(words: list[str]) -> bool:
    """Whether a line reads as English rather than as the Latin, French, German, Italian or Spanish that books quote."""
    ours, theirs = sum(word in ENGLISH for word in words), sum(word in FOREIGN for word in words)
    return ours >= theirs and (ours > 0 or theirs == 0) and (ours > 0 or len(words) < 6)


def normalise(paragraphs: Iterable[str]) -> Iterator[str]:
    """The lines of the language model's text from paragraphs of a book, those with digits or other scripts left out."""
    for paragraph in paragraphs:
        for sentence in re.split(r"(?<=[.!?])[\"')]*\s+", spell(paragraph)):
            if re.search(r"[\d@|\\$#]|\b([IVXLC]{3,}|II|IV|VI|IX|XI|XV|XX)\b", sentence):
                continue
            for clause in clauses(sentence):
                words = [w.strip("'") for w in re.sub(r"[^a-z']+", " ", clause.lower()).split()]
                words = [w for w in words if w]
                initials = sum(len(word) == 1 and word not in "aio" for word in words)
                if len(words) >= 2 and initials <= 1 and english(words):
                    yield " ".join(words)


def verse(lines: list[str]) -> bool:
    """Whether the lines of a paragraph are those of a poem or a list.

    Four or more, all begun with a capital letter, and no more than half of them whole sentences.
    """
    ended = sum(re.search(r"[.!?][\"')]*$", line) is not None for line in lines)
    return len(lines) >= 4 and 2 * ended <= len(lines) and all(re.match(r"[^A-Za-z]*[A-Z]", line) for line in lines)


def paragraphs_of(text: str) -> Iterator[str]:
    """The running paragraphs of a book: no licence, headings, contents, captions, verse or lines in capitals."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    for licence in re.finditer(LICENCE, text):
        if licence.start() > len(text) * 0.6:
            text = text[: licence.start()].rpartition("\n\n")[0]
            break
    head = list(re.finditer(LICENCE, text[: len(text) // 3]))
    text = re.sub(r"(?<!\S)\d+:\d+\s+(?=[A-Z])", "", text[head[-1].end() :] if head else text)  # verses of the Bible
    for paragraph in re.split(r"\n\s*\n", text):
        lines = [line.strip() for line in paragraph.splitlines()]
        kept = [line for line in lines if line and not re.fullmatch(r"[^a-z]*|.*\.{4,}.*|.*\s{3,}\d+", line)]
        joined = " ".join(kept)
        if (
            joined
            and not HEADING.fullmatch(joined)
            and not (joined[0] == "[" and joined[-1] == "]")
            and not verse(kept)
            and (len(kept) > 1 or joined[-1] in ".,;:!?\"'-)" or len(joined) > 70)
        ):
            yield joined
