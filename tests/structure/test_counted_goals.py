"""Counted goals of readable code: types, sizes, one name per file, sentences that begin with a verb or a noun."""

import re
from collections import defaultdict

from product_source import MODULES, methods_of

LEAST_ANNOTATED = 0.95  # share of functions with types for all parameters and the result
LONGEST_FILE, LONG_FILES = 250, 2  # lines; files that may be longer
MOST_METHODS, LARGE_CLASSES = 12, 1  # per class; classes that may have more
MOST_PARAMETERS, WIDE_FUNCTIONS = 6, 5  # without self and cls; functions that may have more
# Base names that two modules share -> why.
SHARED_NAMES = {"__main__": "what `python -m` runs, of the package and of distillation"}
# First words of a sentence without a subject: a genitive, or a relative clause that stands for a noun.
BAD_BEGINNING = re.compile(r"(?:^|(?<=[.:!?] ))(?:Of|What|Those|Whoever|One that|That of)\b[^.]*")

FUNCTIONS = [function for module in MODULES.values() for function in module.functions]


def test_functions_are_annotated():
    bare = [function.place for function in FUNCTIONS if not function.is_annotated]
    share = 1 - len(bare) / len(FUNCTIONS)
    assert share >= LEAST_ANNOTATED, (
        f"{share:.1%} of {len(FUNCTIONS)} functions have all types; without:\n" + "\n".join(bare)
    )


def test_files_are_short():
    lengths = {module.path: len(module.text.splitlines()) for module in MODULES.values()}
    long = {path: length for path, length in lengths.items() if length > LONGEST_FILE}
    assert len(long) <= LONG_FILES, f"files over {LONGEST_FILE} lines: {long}"


def test_classes_are_small():
    methods = {f"{module.path} {owner.name}": len(methods_of(owner)) for module in MODULES.values()
               for owner in module.classes}  # fmt: skip
    large = {name: count for name, count in methods.items() if count > MOST_METHODS}
    assert len(large) <= LARGE_CLASSES, f"classes over {MOST_METHODS} methods: {large}"


def test_functions_take_few_parameters():
    wide = {one.place: len(one.parameters) for one in FUNCTIONS if len(one.parameters) > MOST_PARAMETERS}
    assert len(wide) <= WIDE_FUNCTIONS, f"functions over {MOST_PARAMETERS} parameters: {wide}"


def test_no_two_modules_share_a_name():
    paths = defaultdict(list)
    for module in MODULES.values():
        paths[module.file.stem].append(module.path)
    shared = {name: files for name, files in paths.items() if len(files) > 1}
    assert shared.keys() == SHARED_NAMES.keys(), f"{shared}; rename, or give a reason in SHARED_NAMES"


def test_sentences_begin_with_a_verb_or_a_noun():
    """In docstrings and in help texts, which have to make sense alone."""
    texts = [text for module in MODULES.values() for text in [*module.docstrings, *module.help_texts]]
    bad = [f"{place} {found}" for place, text in texts for found in BAD_BEGINNING.findall(" ".join(text.split()))]
    assert not bad, "\n".join(bad)
