r"""The phrases by which requests, answers and their passages are recognised: regular expressions, each with an example.

A table maps the alternatives of one pattern, in the order in which they are tried, to a text that the alternative
matches; a test holds every pair. The phrases are English: in other languages the shape of an answer decides alone.
"""

import re

PHRASES: dict[str, dict[str, str]] = {
    # Kinds of requests; these patterns are matched against lower-case text.
    "quantity": {
        r"\bhow (?:many|much|long|far|old|fast|tall|often)\b": "how many apples are left",
        r"\bwhat (?:is|was) the (?:total|average|sum)\b": "what is the total",
        r"\b(?:calculate|compute|convert \d+|probability|simplify (?:the fraction|\d+))\b": "convert 98 f to c",
        r"\d(?: ?%| percent) of \d": "what is 15% of 240",
        r"\bfind (?:the|its|her|his)\b[^.?!]{0,20}\b(?:area|perimeter|volume|value|sum|number)\b": "find its area",
    },
    "algebra": {
        r"(?<![\w.])\d*[a-z](?:\^?\d)?\s*[-+*/]\s*\d*[a-z(]?\d*[^=\n]{0,40}=": "2x + 3 = 7",
        r"(?<![\w.])\d*[a-z]\s*=\s*-?\d": "x = -2",
    },
    "several": {
        r"a list": "write a list",
        r"list (?:of|the|all|out|some|any)": "list the planets",
        r"name": "name a river",
        r"(?:two|three|four|five|six|seven|eight|nine|ten|several|some|few|different|various|multiple|[2-9]|1\d|20)"
        r"(?: [\w-]+){0,3} \w+s\b": "three healthy breakfast ideas",
    },
    "making": {
        r"make|cook|bake|build|brew|set up|install|fold|assemble|prepare": "how to bake bread",
        r"solve|calculate": "how do you solve it",
        r"tie|knit|change|replace|fix|register|sign up|log in": "how do i change a tyre",
    },
    "process": {
        r"\bwalk (?:me|us) through\b": "walk me through it",
        r"\bprocess (?:of|for|to|that)\b": "the process of baking",
        r"\b(?:describe|explain|outline|document) (?:the|a) (?:[\w-]+ ){1,4}process\b": "outline the hiring process",
    },
    "steps": {
        r"\bthe (?:[\w-]+ ){0,2}steps\b": "list the first few steps",
        r"\b\d+[- ]step\b": "a 5-step plan",
        r"\bstep[- ]by[- ]step\b": "explain it step by step",
    },
    "proof": {
        r"prove|proof of": "prove it",
        r"(?:proof|show) that": "show that two is prime",
        r"by (?:induction|contradiction)": "argue by contradiction",
    },
    # The announcement of steps in a preamble; matched against lower-case text too.
    "steps_follow": {
        r"\bsteps\b[^.!?\n]*$": "take these steps to fix it:",
        r"\bstep[- ]by[- ]step\b": "a step-by-step guide",
        r"\b(?:instructions|directions|method|procedure)\b[^.!?\n]{0,40}:": "the instructions for it are:",
        r"\bhere(?:'s| is) how\b": "here's how",
    },
    # How a passage of an answer begins.
    "consequence": {
        r"so|therefore|thus|hence|consequently": "Therefore it sank.",
        r"as a (?:result|consequence)": "As a result, it sank.",
        r"because of (?:this|that|these|those)": "Because of that, it was hit.",
        r"this (?:means|implies|shows|proves|contradicts|gives|leads)": "This means war.",
        r"it follows": "It follows that two is prime.",
        r"from (?:this|that|these|those)": "From this we see it.",
    },
    "sequence_label": {
        r"step|phase|stage": "Phase two",
        r"day|week": "Day 1",
        r"chapter|scene|act|verse|stanza": "Chapter IV",
    },
    "day": {
        r"(?:day|week|month) (?:\d|one|two|three)": "Day 1",
        r"(?:mon|tues|wednes|thurs|fri|satur|sun)days?": "Monday",
        r"(?:early |late |mid-?)?(?:morning|afternoon|evening|night)": "Late morning",
    },
    "directions_heading": {
        r"(?:[\w-]+ ){0,2}(?:instructions|directions)": "**Cooking instructions:**\n",
        r"method|preparation|procedure|steps": "## Method\n",
    },
    # Beginnings of conclusions: "conclusion" is certain anywhere, "closing" only in the last passage or behind it.
    "conclusion": {
        r"in (?:conclusion|summary|closing|short|a nutshell|the end)": "In short, rest.",
        r"overall|ultimately": "Overall, rest.",
        r"to (?:conclude|sum up|summari[sz]e|recap|wrap up)": "To sum up, rest.",
        r"all in all|conclusion": "## Conclusion",
    },
    "closing": {
        r"in (?:conclusion|summary|short|closing|general|essence|a nutshell|all|the end)": "In general, rest.",
        r"overall": "Overall, rest.",
        r"to (?:conclude|sum up|summari[sz]e|recap|wrap up)": "To wrap up, rest.",
        r"conclusions?|summary|ultimately": "Summary: rest.",
        r"finally, (?:it|remember|always|by)": "Finally, remember to rest.",
        r"with (?:these|this|all|the right)": "With these tips you can rest.",
        r"by (?:following|doing|implementing|using|combining|incorporating|understanding|taking|considering|adopting)":
            "By following them you can rest.",
        r"for (?:all )?(?:of )?(?:these|this)": "For all of these, rest.",
        r"all (?:of )?(?:these|this|in all)": "All of these help.",
        r"these |taken together|together,|both |remember|following these": "Both are of use.",
        r"(?:i|we) hope|hope (?:this|that|these)": "I hope that it helps.",
        r"as you can see": "As you can see, it helps.",
        r"therefore,|thus,|hence,": "Therefore, rest.",
    },
    # References between the passages of an answer and its preamble or closing.
    "refers_back": {
        r"these|those|above|aforementioned|mentioned|listed|such": "Use the listed ones.",
        r"both|all of|each of": "Try each of them.",
        r"the (?:two|three|four|five|list|tips|steps|points|items|following|ways|reasons|examples|ideas)":
            "Keep to the steps.",
        r"this (?:list|is|was|way|will|approach|can)": "Go on this way.",
        r"and (?:many )?more|more examples|etc": "There are pears and many more.",
    },
    # Signs of arithmetic and of program code in an answer.
    "computation": {
        r"=\s*\S": "x = 4",
        r"<<": "<<3*4",
        r"\d ?[*\u00d7\u00f7] ?\d": "3 \u00d7 4",
        r"\bequals?\b": "it equals four",
        r"\bmultiples? of\b": "a multiple of four",
        r"\b(?:plus|minus|times) \d": "three times 4",
        r"\\(?:frac|times|cdot|boxed|begin)": r"\frac{3}{4}",
    },
    "code_line": {
        r"def \w+\(|class \w+[:({]|import \w+|from \w+ import|#include": "def turn(word):",
        r"public |private |function \w*\(|SELECT ": "SELECT name",
        # Comments: no heading stands right on another, or on an assignment or a call.
        r"#[ \t]\S.*\n(?=#[ \t]|[ \t]*[\w.\[\]]+(?:[ \t]*=[ \t]|\())": "# Begin with one:\ncount = 1",
        r"INSERT |<\w+[ >]|</\w+>|for ?\(|if ?\(|while ?\(": "<body>",
        r"return |var |let |const |print\(|console\.": "return word",
    },
}  # fmt: skip


def _pattern(name: str, begin: str = "", end: str = "", flags: int = 0) -> re.Pattern[str]:
    """Compile the alternatives of a table, between a common beginning and end."""
    return re.compile(f"{begin}(?:{'|'.join(PHRASES[name])}){end}", flags)


QUANTITY = _pattern("quantity")
ALGEBRA = _pattern("algebra")
SEVERAL = _pattern("several", r"\b")
MAKING = _pattern("making", r"\bhow (?:to|do (?:i|you|we)) ", r"\b")
PROCESS = _pattern("process")
STEPS = _pattern("steps")
PROOF = _pattern("proof", r"\b", r"\b")
STEPS_FOLLOW = _pattern("steps_follow")
CONSEQUENCE = _pattern("consequence", end=r"\b", flags=re.IGNORECASE)
SEQUENCE_LABEL = _pattern("sequence_label", end=r"\s*(?:\d|one|two|three|[ivx]+\b)", flags=re.IGNORECASE)
DAY = _pattern("day", r"[*_]*", r"\b", re.IGNORECASE)
DIRECTIONS_HEADING = _pattern("directions_heading", r"[\s#*_]*", r"[*_]*:?[*_ \t]*\n", re.IGNORECASE)
_MARKERS = r"(?:[-#*_+\u2022\u2013\u2014\s]|\(?(?:\d{1,2}|[a-z]|[ivx]{1,4})[.):])*"  # of headings and items
CONCLUSION = _pattern("conclusion", _MARKERS, r"\b", re.IGNORECASE)
CLOSING = _pattern("closing", r"\W*", flags=re.IGNORECASE)
REFERS_BACK = _pattern("refers_back", r"\b", r"\b", re.IGNORECASE)
COMPUTATION = _pattern("computation")
CODE_LINE = _pattern("code_line", r"^\s*", flags=re.MULTILINE)
