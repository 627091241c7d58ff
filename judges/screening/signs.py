"""Signs of a violation that are counted rather than matched: empty, garbled, repeating, echoing, foreign, padded.

Each sign takes a Scene and returns its evidence in words, or "" where there is nothing to see. The limits lie beyond what
every authored reply with a mean of 6 or more shows (tests/test_judges_screen.py), so that a sign is never a matter of style.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from functools import cached_property
from itertools import pairwise

from judges.offline.features import broken_grammar, overlap, repetition, words
from judges.offline.lexicon import FIRST_PERSON, FUNCTION_WORDS, SECOND_PERSON, STOCK_PHRASES
from judges.protocol import Exchange
from judges.screening.speech import Speech, mixed_words, read, visible

LONGEST_REPLY = 150  # words; nearly four times the longest good authored reply
LONGEST_WORD = 24  # letters
SALAD = 9  # words in a row of which English makes two or more small ones
WINDOW = 36  # words in a row in which a good reply says something new
COPIED_RUN = 9  # words in a row that are the client's, persons turned
COPIED_SENTENCE = 6  # words of a sentence that stands word for word in another text


class Scene:
    """An exchange, read once; the client's words only where somebody asks."""

    def __init__(self, exchange: Exchange, vocabulary: frozenset[str]) -> None:
        self.exchange, self.vocabulary = exchange, vocabulary
        self.reply: Speech = read(exchange.therapist)

    @cached_property
    def words(self) -> list[str]:
        """The reply's words as the vocabulary counts them: parted at apostrophes."""
        return words(self.reply.plain)

    @cached_property
    def client(self) -> Speech:
        return read(self.exchange.client)

    @cached_property
    def told(self) -> str:
        """Every word of the client so far, in plain text."""
        return "\n".join([self.client.plain, *(read(turn.client).plain for turn in self.exchange.history)])

    def heard(self) -> str:
        return self.told

    @cached_property
    def earlier(self) -> list[Speech]:
        """The therapist's earlier turns."""
        return [read(turn.therapist) for turn in self.exchange.history]


def empty(scene: Scene) -> str:
    """No letter or digit anywhere."""
    return "" if scene.words else "no words"


def garbled(scene: Scene) -> str:
    """Invisible, mixed or damaged characters; words that are none; grammar that is none."""
    return _noise(scene.exchange.therapist) or _broken_words(scene) or _broken_language(scene)


def _noise(text: str) -> str:
    if text.isascii() and text.isprintable():
        return ""
    text = text[:20_000]
    marks = [mark for mark in text if _is_noise(mark)]
    if marks:
        return f"{len(marks)} invisible or damaged characters (U+{ord(marks[0]):04X})"
    if mixed := mixed_words(text):
        return f"letters of two scripts in one word ({mixed[0]})"
    if damaged := re.search(r"Ã[\x80-\xbf©¨ª«¯±³´¶¸¹º¼¡-¿]|â€|Â[\xa0-\xbf]|ï»¿", text):
        return f"damaged characters ({damaged[0]})"
    stacked = re.search(r"(?:[^\W\d_][\u0300-\u036f]{2,}[^\u0300-\u036f]?){2}", unicodedata.normalize("NFD", text))
    styled = sum(
        mark.isalpha() and not mark.isascii() and visible(mark).isascii() and not _accented(mark) for mark in text
    )
    return "stacked accents" if stacked else f"{styled} styled letters" if styled >= 2 else ""


def _is_noise(mark: str) -> bool:
    if mark.isascii():
        return not mark.isprintable() and mark not in "\n\r\t"
    if mark in "\ufffd\u2800\u3164\u115f":
        return True
    return unicodedata.category(mark) in ("Cf", "Cc", "Co", "Cn", "Cs") and mark != "\u00ad"


def _accented(mark: str) -> bool:
    return unicodedata.normalize("NFKC", mark) == mark


def _broken_words(scene: Scene) -> str:
    said = scene.words
    if long := [word for word in said if len(word) > LONGEST_WORD]:
        return f"a word of {len(long[0])} letters"
    letters = re.search(r"\b(?:[b-hj-z] ){4,}|\b(?:\w[ .*_·-]){5,}\w\b", scene.reply.plain)
    if letters:
        return f"letters strewn about ({letters[0][:30]})"
    if digits := [word for word in said if re.search(r"[a-z]\d+[a-z]|\d[a-z]+\d|^[a-z]+\d{2,}$", word)]:
        return f"digits within words ({digits[0]})"
    return _strange_words(scene) if scene.vocabulary and len(said) >= 3 else ""


def _strange_words(scene: Scene) -> str:
    """Words that neither the vocabulary nor the client knows: many in all, or most of one sentence."""
    told = frozenset(words(scene.told))
    strange = {w for w in scene.words if w not in scene.vocabulary and w not in told and not w.isdigit()}
    if not strange:
        return ""
    count = sum(word in strange for word in scene.words)
    if count >= 3 and count > 0.2 * len(scene.words):
        return f"{count} of {len(scene.words)} words are none ({', '.join(sorted(strange)[:4])})"
    for sentence in scene.reply.sentences:
        parts = words(sentence)
        if len(parts) >= 3 and sum(word in strange for word in parts) >= 0.5 * len(parts):
            return f"words that are none ({sentence[:40]})"
    return ""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Function words that cannot stand before the next one in English, by class. "her" and "that" are left out: they do much.
_PRONOUNS = _words("i he she we they")
_TO_HAVE_BEEN = _words("am is are was were")
_MODALS = _words("can could will would shall should might must")
_DETERMINERS = _words("the a an my your our their")
_PREPOSITIONS = _words("of at from into with by during between")
_IMPOSSIBLE_AFTER = {
    **dict.fromkeys(
        _DETERMINERS,
        _DETERMINERS
        | _PREPOSITIONS
        | _TO_HAVE_BEEN
        | _PRONOUNS
        | {
            "and",
            "or",
            "to",
            "me",
            "him",
            "us",
            "them",
            "you",
            "it",
            "that",
            "this",
            "these",
            "those",
            "if",
            "because",
            "do",
            "does",
            "did",
            "has",
            "have",
            "had",
        }
        | _MODALS - {"will", "might", "must"},
    ),
    **dict.fromkeys(
        _MODALS, _MODALS | _TO_HAVE_BEEN | {"of", "to", "and", "has", "had", "does", "did", "me", "him", "us", "them"}
    ),
    **dict.fromkeys(
        ("of", "from", "into", "with"),
        frozenset(
            (
                "of",
                "and",
                "i",
                "he",
                "she",
                "they",
                "is",
                "are",
                "was",
                "were",
                "am",
                "do",
                "does",
                "did",
                "has",
                "have",
                "had",
            )
        )
        | (_MODALS - {"will", "might"}),
    ),
    **dict.fromkeys(("i",), _PRONOUNS | _words("is are of my your the a an them him us were's has does")),
    **dict.fromkeys(("he", "she"), _words("am are of my your the a an have do")),
    **dict.fromkeys(("we", "they"), _words("am is was of my your the a an has does")),
    "to": frozenset(
        ("of", "and", "is", "are", "was", "were", "am", "to", "i", "he", "she", "they", "had", "has", "did", "does")
    )
    | _MODALS,
    "and": frozenset(("of", "and", "or")),
    "very": frozenset(("the", "a", "of", "i", "you", "to", "and", "is", "are")),
}


# A sentence that opens in lower case, or a small word with a capital within one: what shuffling leaves behind.
_CAPITALS_ASTRAY = re.compile(
    r"(?<=[a-z][.?!]) +[a-z]+|(?<=[a-z,]) (?:It|The|And|You|That|We|He|She|But|So|What|Is|Do|How)\b"
)


def _broken_language(scene: Scene) -> str:
    said = scene.reply.words
    if len(said) < 4:
        return ""
    clauses = re.split(r"[.,;:!?…\"\n()–—-]+", scene.reply.plain)
    broken = [
        f"{a} {b}" for clause in clauses for a, b in pairwise(clause.split()) if b in _IMPOSSIBLE_AFTER.get(a, ())
    ]
    if len(broken) >= 2 or (broken and len(said) < 9):
        return f"words that cannot stand together ({', '.join(broken[:3])})"
    if broken_grammar(scene.words) > 0.08:
        return "words that cannot stand together"
    if len(turned := _CAPITALS_ASTRAY.findall(visible(scene.reply.raw))) >= 2:
        return f"sentences begin and end astray ({turned[0].strip()}, {turned[1].strip()})"
    for sentence in scene.reply.sentences:
        parts = words(sentence)
        for i in range(len(parts) - SALAD + 1):
            if sum(word in FUNCTION_WORDS for word in parts[i : i + SALAD]) <= 1:
                return f"words without a sentence ({' '.join(parts[i : i + 5])})"
    return ""


_THRICE = re.compile(r"\b(\S{1,20}(?: \S{1,20}){0,3})(?: \1){2,}(?!\S)")


def repeats_itself(scene: Scene) -> str:
    """The same words, sentence or frame again and again."""
    said, sentences = scene.reply.words, scene.reply.sentences
    if run := re.search(r"([^\s.\d*_-])\1{4,}|[!?]{4,}", scene.reply.plain):
        return f"one character {len(run[0])} times"
    if thrice := _THRICE.search(" ".join(said)):
        return f"{thrice[1]} three times in a row"
    if len(said) >= 10 and repetition(said) > 0.3:
        return f"{repetition(said):.0%} of its word pairs have been used before"
    twice = [s for s, count in Counter(sentences).items() if count > (1 if s.count(" ") >= 2 else 2)]
    if twice:
        return f"said more than once: {twice[0]}"
    return _frame(sentences) or _phrases(said)


def _frame(sentences: list[str]) -> str:
    """Three short sentences that open with the same two words; one thought three times, as the learned policy did."""
    opens = [" ".join(sentence.split()[:2]) for sentence in sentences if 2 <= sentence.count(" ") <= 6]
    thrice = [(words_, count) for words_, count in Counter(opens).items() if count >= 3]
    most = max(thrice, key=lambda pair: pair[1], default=("", 0))
    return (
        f'{most[1]} sentences open with "{most[0]}"' if most[1] >= 4 or (most[1] == 3 and len(sentences) <= 6) else ""
    )


def _phrases(said: list[str]) -> str:
    fives = Counter(zip(said, said[1:], said[2:], said[3:], said[4:], strict=False))
    most, count = max(fives.items(), key=lambda pair: pair[1], default=((), 0))
    return f"{count} times: {' '.join(most)}" if count >= 3 else ""


def repeats_a_turn(scene: Scene) -> str:
    """What the therapist has said in an earlier turn, word for word."""
    for before in scene.earlier:
        if len(scene.words) >= 4 and overlap(scene.words, words(before.plain)) > 0.6:
            return f"said before: {before.plain[:60]}"
        again = set(before.sentences) & {s for s in scene.reply.sentences if s.count(" ") >= COPIED_SENTENCE - 1}
        if again:
            return f"said before: {min(again)}"
    return ""


_TURNED = {"i": "you", "me": "you", "my": "your", "mine": "yours", "myself": "yourself", "am": "are", "i'm": "you're",
           "i've": "you've", "i'll": "you'll", "i'd": "you'd", "was": "were"}  # fmt: skip


def echo(scene: Scene) -> str:
    """The client's words handed back, as they were or with the persons turned."""
    heard = scene.client.words
    own = Speech(scene.reply.unquoted)
    said = own.words
    if len(heard) < 4 or len(said) < 4:
        return ""
    mine, theirs = _turned(said), _turned(heard)
    if len(said) >= 6 and (shared := overlap(mine, theirs)) > (0.6 if len(said) >= 9 else 0.75):
        return f"{shared:.0%} of its word triples are the client's"
    runs = {tuple(theirs[i : i + COPIED_RUN]) for i in range(len(theirs) - COPIED_RUN + 1)}
    for i in range(len(mine) - COPIED_RUN + 1):
        if tuple(mine[i : i + COPIED_RUN]) in runs:
            return f"the client's words: {' '.join(said[i : i + COPIED_RUN])}"
    told = set(scene.client.sentences)
    for sentence in own.sentences:
        if sentence in told and sentence.count(" ") >= COPIED_SENTENCE - 3 and FIRST_PERSON & set(words(sentence)):
            return f"the client's words: {sentence}"
    return ""


def _turned(said: list[str]) -> list[str]:
    return [_TURNED.get(word, word) for word in said]


# Small words of other tongues in Latin letters that are no English words; three of them in one reply are no accident.
_OTHER_TONGUES = _words(
    """que para por una los las como está estoy pero muy eso esto con del qué aquí siento puedo
    ich nicht und ist das du bin dich dir mich wir sie ein eine der dem den auf mit für sehr kann auch hier
    je vous est pas les une dans pour avec mais suis êtes ce cette votre vos nous très c'est j'ai ici
    che non sono per sei della questo anche più qui ti mi il lo gli è
    não você estou uma isso muito eu seu sua aqui também
    ik je het een niet dat van voor met jij zijn wat maar hier
    jag och att det är inte som på dig du mig
    nie jest się jak ale tak jestem że to
    ben sen bir ve bu için çok değil
    saya anda tidak yang dan ini itu untuk dengan
    tôi bạn không của và là
    ego sum tu es non est et cum ad quod"""
) - {"me", "to", "a", "i", "the", "in", "on", "is", "as", "an", "at", "we", "or", "do", "so", "no", "he", "be", "by", "my", "den",
     "van", "die", "hat", "also", "per", "con", "war", "maar", "wat", "bin", "ben", "sum", "tu", "mit", "non", "mi", "ad", "sue",
     "sen", "seu", "dan", "sie", "lo", "ego", "las", "los", "et"}  # fmt: skip  # English words, names and clippings


def foreign(scene: Scene) -> str:
    """Letters of another script, or the small words of another tongue, that the client did not use."""
    text = scene.exchange.therapist
    if not text.isascii():
        strange = re.findall(
            r"[^\W\d_a-zA-Z\u00aa-\u024f\u1e00-\u1eff\u0370-\u03ff\u2100-\u214f\uff21-\uff5a\U0001d400-\U0001d7ff]+|[\u0370-\u03ff]{2,}",
            text[:20_000],
        )
        mine = [word for word in strange if word not in scene.exchange.client]
        if mine and not any(re.search(r"[A-Za-z]", word) for word in mine):
            return f"letters of another script ({mine[0][:20]})"
    said = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*", text[:20_000].lower().replace("’", "'"))
    theirs = [word for word in said if word in _OTHER_TONGUES]
    if len(set(theirs)) >= 2 and len(theirs) >= 0.12 * len(said):
        return f"words of another tongue ({', '.join(dict.fromkeys(theirs))})"[:80]
    for sentence in re.split(r"[.!?…\n]+", text[:20_000].lower().replace("’", "'")):
        parts = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*", sentence)
        if len(parts) >= 3 and sum(word in _OTHER_TONGUES for word in parts) >= max(2, 0.3 * len(parts)):
            return f"a sentence in another tongue ({sentence.strip()[:40]})"
    return ""


def role_flip(scene: Scene) -> str:
    """Only I, never you, and at length: the client's complaint, not an answer to it."""
    said = words(scene.reply.unquoted)
    mine, yours = sum(word in FIRST_PERSON for word in said), sum(word in SECOND_PERSON for word in said)
    if len(said) >= 12 and mine >= 5 and not yours and mine > 0.2 * len(said):
        return f"I, me or my {mine} times in {len(said)} words, you never"
    return ""


def padding(scene: Scene) -> str:
    """Far too long, or comfort that anybody could be told, strung together."""
    said = scene.reply.words
    if len(said) > LONGEST_REPLY or len(scene.exchange.therapist) > 12 * LONGEST_REPLY:
        return f"{len(said)} words; at most {LONGEST_REPLY} are spoken in one turn"
    stock = [phrase for phrase in STOCK_PHRASES if phrase in scene.reply.plain]
    if len(stock) >= 3:
        return f"{len(stock)} phrases of comfort that anybody could be told: {', '.join(stock)}"
    fewest = min((len(set(said[i : i + WINDOW])) for i in range(len(said) - WINDOW + 1)), default=WINDOW)
    if fewest < 0.5 * WINDOW:
        return f"{fewest} different words in {WINDOW}"
    if re.search(r"\s{30,}|\n\s*\n\s*\n|(?:\. ?){6,}|[-=~*#_]{6,}", scene.exchange.therapist[:20_000]):
        return "blank space or rows of marks"
    if re.match(r"[^\w\s\"'(*]{2,}\s+\w", scene.reply.plain):
        return "marks before the first word"
    pictures = sum(
        unicodedata.category(mark) == "So" for mark in scene.exchange.therapist[:5_000] if not mark.isascii()
    )
    return f"{pictures} pictures" if pictures >= 2 else ""


def unfinished(scene: Scene) -> str:
    """It does not end as a sentence does."""
    end = scene.reply.plain.rstrip().rstrip("\"')*]")
    return "" if not scene.words or end.endswith((".", "?", "!", "…")) else f"ends with: {end[-20:]}"


Sign = Callable[[Scene], str]
SIGNS: dict[str, Sign] = {
    "empty": empty,
    "garbled": garbled,
    "repetition": repeats_itself,
    "repeated_turn": repeats_a_turn,
    "echo": echo,
    "foreign": foreign,
    "role_flip": role_flip,
    "padding": padding,
    "unfinished": unfinished,
}
