"""The phrasings of prompts. Frames marked as held out never occur in training.

Fields of fact frames: {the} "the Netherlands", {name} "Netherlands", {poss} "the Netherlands'", and, by `form`,

form        filled with
"bare"      {list} of nouns without article: "capital, currency and language"
"the"       {list} of nouns with article: "the capital, the currency and the language"
"clause"    {list} of indirect questions: "what its capital is and which currency it uses"
"keyword"   {list} of nouns with a short separator: "capital / currency / language"
"question"  {list} is a direct question about the country and its follow-ups; nothing else names the country

{are} is "is" for one attribute and "are" for several.

Fields of comparison frames: {a} and {b} with article; {noun}, {nouns}, {plural} from wordings.Sameness.
A capital letter at the beginning of a prompt is set when the prompt is drawn.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Frame:
    """A phrasing with fields to fill in; `form` is "comparison" for comparisons."""

    text: str
    form: str
    held_out: bool = False


def _frames(form: str, training: str, held_out: str) -> tuple[Frame, ...]:
    """Return a frame for each line that is not empty."""
    marked = [(line.strip(), False) for line in training.splitlines()]
    marked += [(line.strip(), True) for line in held_out.splitlines()]
    return tuple(Frame(line, form, flag) for line, flag in marked if line)


FACT_FRAMES = (
    *_frames(
        "bare",
        """
        What {are} {poss} {list}?
        Please give me {poss} {list}.
        Tell me {poss} {list}.
        I need {poss} {list}.
        For {the}, give the following: {list}.
        About {the}, I would like to know this: {list}.
        I am looking up {the}. Please write down its {list}.
        My quiz is about {the}: its {list}?
        Do you know {poss} {list}?
        Give me these facts about {the}: {list}.
        Facts about {the}, please: {list}.
        I have to fill in a form about {the}. It asks for its {list}.
        """,
        """
        Remind me of {poss} {list}.
        Write a short note on {the} that covers its {list}.
        """,
    ),
    *_frames(
        "the",
        """
        Tell me {list} of {the}.
        Please tell me {list} of {the}.
        Could you tell me {list} of {the}?
        Can you give me {list} for {the}?
        I need {list} of {the}.
        I need to know {list} of {the} for a trip.
        What can you tell me about {list} of {the}?
        For my geography homework: {list} of {the}.
        For {the}, please tell me {list}.
        In the case of {the}, name {list}.
        State {list} of {the}.
        Please list {list} for {the}.
        I would like to know {list} of {the}.
        Give {list} of {the} in full sentences.
        Write one sentence each about {list} of {the}.
        My teacher asked for {list} of {the}.
        I forgot {list} of {the}. Can you help?
        Would you look up {list} for {the}?
        We are learning about {the} and want to know {list}.
        Let me know {list} of {the}.
        """,
        """
        Kindly provide {list} of {the}.
        A friend of mine wonders about {list} of {the}.
        When it comes to {the}, explain {list}.
        Fill me in on {list} for {the}.
        """,
    ),
    *_frames(
        "clause",
        """
        Tell me about {the}: {list}.
        About {the}, please tell me {list}.
        I am travelling to {the} and want to know {list}.
        We are moving to {the} soon. Please tell us {list}.
        I am writing about {the}. I need to know {list}.
        Thinking of {the}, could you tell me {list}?
        Regarding {the}, I have to know {list}.
        What do you know about {the}? I would like to hear {list}.
        My son asks about {the}: {list}.
        Here is a question about {the}. Do you know {list}?
        I have never been to {the}. Can you tell me {list}?
        For a report on {the}, please state {list}.
        Please describe {the}: {list}.
        Take {the}, for example. Say {list}.
        """,
        """
        Suppose that I visit {the}. I should know {list}.
        Someone from {the} is coming over. Before that, teach me {list}.
        """,
    ),
    *_frames(
        "keyword",
        """
        {name}: {list}
        {name}: {list}?
        {name} - {list}
        {name} ({list})
        Country: {name}. Wanted: {list}.
        Country {name}, facts {list}
        {list} of {the}
        {list} for {the}?
        {list}: {name}
        Facts wanted for {the}: {list}
        """,
        """
        {name}, {list}
        Look up {the} > {list}
        """,
    ),
    *_frames(
        "question",
        """
        {list}
        Quick question: {list}
        I am curious: {list}
        I have a question. {list}
        Please answer this: {list}
        Do you know the answer? {list}
        Geography quiz! {list}
        My daughter wants to know: {list}
        Help me with this one: {list}
        One more for you: {list}
        """,
        """
        Something that I always wanted to ask: {list}
        Question from the pub quiz: {list}
        """,
    ),
)

COMPARISON_FRAMES = _frames(
    "comparison",
    """
    Do {a} and {b} {plural}?
    Does {a} {plural} as {b}?
    Is the {noun} of {a} the same as that of {b}?
    Is the {noun} the same in {a} and {b}?
    Compare the {nouns} of {a} and {b}: are they the same?
    Please compare {a} and {b}. Do they {plural}?
    Could you tell me whether {a} and {b} {plural}?
    I want to know whether {a} and {b} {plural}.
    Tell me if {a} and {b} {plural}.
    Are the {nouns} of {a} and {b} the same?
    Quick question: do {a} and {b} {plural}?
    {a} and {b}: same {noun}?
    {a} vs {b}: same {noun} or not?
    {a}, {b}: do they {plural}?
    For my geography homework: do {a} and {b} {plural}?
    Going from {a} to {b}, would I find the same {noun}?
    Between {a} and {b}, is the {noun} the same?
    Is it true that {a} and {b} {plural}?
    Can you check whether {a} and {b} {plural}?
    I wonder if {a} and {b} {plural}. Do they?
    Think of {a} and {b}. Is the {noun} the same?
    I travel from {a} to {b}. Do both {plural}?
    Look at the {nouns} of {a} and {b}. Are they identical?
    My friend says that {a} and {b} {plural}. Is that right?
    Would you say that {a} and {b} {plural}?
    Same {noun} in {a} and {b}?
    Please find out if {a} and {b} {plural}.
    """,
    """
    Have {a} and {b} got the same {noun}?
    Put {a} next to {b}: do the two {plural}?
    People claim that {a} and {b} {plural}. Are they right?
    Given {a} and {b}, decide whether the two {plural}.
    Decide for {a} and {b}: the same {noun}, yes or no?
    """,
)
