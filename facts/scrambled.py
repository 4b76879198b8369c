"""Training phrasings without grammar: the fields of a prompt between words drawn at random.

A model trained from scratch has never read English. Frames alone teach it to rely on their few words. Between random
words it must find the country and the attributes wherever they stand, as it must in unseen phrasings.
"""

from random import Random

from .frames import Frame

SCRAMBLED = "scrambled"  # stands for the frame of such a question

WORDS = """
a about advice after afternoon again all always am and another answer anybody are as ask asked at bar be because been
before begin best big book boss brother but buy by call can case chance check child claim class come comes coming
could cover covers curious day decide decided dear do does each earlier either else ended even evening ever every
everyone exactly expect explain fair family far fast favour few fill film find fine first for forget found friend from
fun game gave get girl give given glad go going good got great group had half happy hard has have he hear heard hello
help her here him his hope hour how idea if in inform instead interesting into is it job join just keep kind kindly
know last later learn left less let letter life like line list little live long look lost lot made make man many map
matter may me mean meet mention mind minute moment month more morning most mother much must my near need never new
news next nice night no not note nothing now of off office often ok old on once one only open or other our out over
own page paper parents part party pass people perhaps person phone place plan play please point present pub put
question quick quiz quite radio rather read ready really reason remember remind report rest right road room said same
sat saw say says school see seem sent settle she short should show simple since sister sit so some somebody someone
something soon sorry speak spend start state stay still stop story such suppose sure table take talk teach teacher
tell than thank that the their them then there these they thing think this those though thought time to today together
told tomorrow tonight too topic town trip true try turn two uncle under until up us very visit wait walk want wanted
was way we week well went were what when where whether which while who why will wish with without wonder wondered
wonders word work world would write writing wrote year yes yesterday yet you young your
""".split()  # noqa: SIM905
MARKS = (" ", " ", " ", " ", " ", ", ", ": ", "? ", ". ", "! ", " - ")


def scrambled_fact_frame(rng: Random) -> Frame:
    """Return a frame with the country and its attributes in either order."""
    form, fields = rng.choice(
        (
            ("bare", ["{poss} {list}"]),
            ("the", ["{the}", "{list}"]),
            ("clause", ["{the}", "{list}"]),
            ("keyword", ["{name}", "{list}"]),
            ("question", ["{list}"]),
        )
    )
    if form in ("the", "keyword"):
        rng.shuffle(fields)
    return Frame(_between_words(fields, rng), form)


def scrambled_comparison_frame(rng: Random) -> Frame:
    """Return a frame with two countries in this order and the compared attribute before or after them."""
    pair = rng.choice((["{a}", "{b}"], ["{a} and {b}"]))
    compared = rng.choice(("{plural}", "same {noun}", "the {nouns}", "{noun}"))
    fields = [compared, *pair] if rng.random() < 0.4 else [*pair, compared]
    return Frame(_between_words(fields, rng), "comparison")


def _between_words(fields: list[str], rng: Random) -> str:
    """Return the fields in order, with a few random words around each."""
    pieces = [_words(rng)]
    for field in fields:
        pieces += [field, _words(rng)]
    text = pieces[0]
    for piece in pieces[1:]:
        text += (rng.choice(MARKS) if text else "") + piece if piece else ""
    return text


def _words(rng: Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.choice((0, 1, 2, 3, 4, 6, 8))))
