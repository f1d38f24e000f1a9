"""A trained model goes in; its answers about ten well-known facts come out, for a quick look.

They are not a test set: ten are too few to compare models, and a fact may be in training data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..data.examples import Query
from ..errors import DataError
from ..inference import Model, answer, predict_examples
from ..metrics import exact_match, token_f1
from ..tables import format_table
from ..tasks.ner import Entity, NERTask
from ..tasks.qa import QATask

EXACT, PARTIAL, WRONG = "exact", "partial", "wrong"

# What data sets call the four types of CoNLL-2003.
TYPES = {
    **dict.fromkeys(("per", "pers", "person", "people"), "PER"),
    **dict.fromkeys(("org", "organization", "organisation"), "ORG"),
    **dict.fromkeys(("corporation", "company", "group"), "ORG"),
    **dict.fromkeys(("loc", "location", "gpe", "geo", "geo-loc", "fac", "facility"), "LOC"),
    **dict.fromkeys(("misc", "miscellaneous"), "MISC"),
}


@dataclass(frozen=True)
class NERCase:
    """A sentence, and its entities as `(type, text)`; each text occurs in it exactly once."""

    text: str
    entities: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class QACase:
    """A question, a context, and the accepted wordings of the answer."""

    question: str
    context: str
    answers: tuple[str, ...]


NER_CASES = (
    NERCase(
        "Microsoft was founded by Bill Gates and Paul Allen.",
        (("ORG", "Microsoft"), ("PER", "Bill Gates"), ("PER", "Paul Allen")),
    ),
    NERCase(
        "In 1994 Nelson Mandela became president of South Africa.",
        (("PER", "Nelson Mandela"), ("LOC", "South Africa")),
    ),
    NERCase(
        "Facebook bought Instagram, a small company from San Francisco, in 2012.",
        (("ORG", "Facebook"), ("ORG", "Instagram"), ("LOC", "San Francisco")),
    ),
    NERCase(
        "Every year millions of people visit the Eiffel Tower in Paris.",
        (("LOC", "Eiffel Tower"), ("LOC", "Paris")),
    ),
    NERCase(
        "Tim Cook became chief executive of Apple in August 2011.",
        (("PER", "Tim Cook"), ("ORG", "Apple")),
    ),
)
QA_CASES = (
    QACase(
        "Who founded Google?",
        "Google was founded by Larry Page and Sergey Brin in 1998. They met as students at "
        "Stanford University.",
        ("Larry Page and Sergey Brin",),
    ),
    QACase(
        "Where is the Colosseum?",
        "The Colosseum is an amphitheatre in the centre of Rome. It was finished in the year 80.",
        ("Rome", "the centre of Rome", "in the centre of Rome"),
    ),
    QACase(
        "When was the Second World War fought?",
        "The Second World War was fought from 1939 to 1945. More than thirty countries took part.",
        ("1939 to 1945", "from 1939 to 1945"),
    ),
    QACase(
        "In which year was NASA founded?",
        "NASA was founded in 1958. Eleven years later it brought two people to the Moon.",
        ("1958", "in 1958"),
    ),
    QACase(
        "Which region is Florence the capital of?",
        "Florence is the capital of Tuscany, a region of Italy. The river Arno runs through it.",
        ("Tuscany", "Tuscany, a region of Italy"),
    ),
)


@dataclass(frozen=True)
class CaseResult:
    """What was asked, expected and predicted, by which task, and the verdict.

    The verdict is `exact`, `partial` or `wrong`; see `check_cases`.
    """

    task: str
    kind: str
    given: str
    expected: str
    predicted: str
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))


def check_cases(model: Model) -> list[CaseResult]:
    """Five sentences for the model's first NER task, five questions for its first QA task.

    NER is `exact` if exactly the expected entities are predicted (type and text), `partial` if one
    of them is right, or overlaps an entity of its type. Types are compared through `TYPES`;
    entities of other types, such as dates, are left out. From a task that does not know all the
    types, only the entities that it could find are expected; a sentence without any is left out,
    and a task that knows none of the types is skipped. QA is `exact` if `exact_match` with
    one of the accepted answers is 1, `partial` if `token_f1` is above 0.

    Returns:
        one result for each case that fits a task of the model.
    """
    tasks = model.tasks.values()
    results = []
    for task in [t for t in tasks if isinstance(t, NERTask) and _cases_for(t)][:1]:
        results += [_check_entities(model, task, case) for case in _cases_for(task)]
    for task in [t for t in tasks if isinstance(t, QATask)][:1]:
        results += [_check_answer(model, task, case) for case in QA_CASES]
    return results


def why_left_out(model: Model) -> list[str]:
    """A line about each task that finds entities, but none of the types that the cases ask for."""
    asked = sorted({kind for case in NER_CASES for kind, _ in case.entities})
    return [
        f"the task {task.name!r} finds {', '.join(task.types)}; the cases ask for "
        f"{', '.join(asked)}"
        for task in model.tasks.values()
        if isinstance(task, NERTask) and not _cases_for(task)
    ]


def cases_table(results: Sequence[CaseResult]) -> str:
    """Three lines per case: what was given, expected and predicted."""
    rows = []
    for result in results:
        rows += [
            [result.task, result.verdict, result.given],
            ["", "", f"  expected:  {result.expected}"],
            ["", "", f"  predicted: {result.predicted or '-'}"],
        ]
    return format_table(["task", "verdict", "case"], rows)


def cases_summary(results: Sequence[CaseResult]) -> str:
    """How many cases of each kind got each verdict: `NER 3 exact, 1 partial, 1 wrong; QA ...`."""
    counts: dict[str, Counter[str]] = {}
    for result in results:
        counts.setdefault(result.kind.upper(), Counter())[result.verdict] += 1
    return "; ".join(
        f"{kind} " + ", ".join(f"{n[verdict]} {verdict}" for verdict in (EXACT, PARTIAL, WRONG))
        for kind, n in counts.items()
    )


def _known_types(task: NERTask) -> set[str]:
    """The types of CoNLL-2003 that a task knows, by any of their names."""
    return {TYPES[name.lower()] for name in task.types if name.lower() in TYPES}


def _cases_for(task: NERTask) -> list[NERCase]:
    """The cases with the entities that a task could find; those without any are left out."""
    known = _known_types(task)
    cases = [
        NERCase(case.text, tuple(entity for entity in case.entities if entity[0] in known))
        for case in NER_CASES
    ]
    return [case for case in cases if case.entities]


def _check_entities(model: Model, task: NERTask, case: NERCase) -> CaseResult:
    (said,) = predict_examples(model, [Query(case.text)], [task.name])
    predicted = [
        (TYPES[entity.entity_group.lower()], entity)
        for entity in said[task.name].entities
        if entity.entity_group.lower() in TYPES
    ]
    if {(kind, entity.word) for kind, entity in predicted} == set(case.entities):
        verdict = EXACT
    elif any(
        kind == expected and _overlaps(entity, case.text, text)
        for expected, text in case.entities
        for kind, entity in predicted
    ):
        verdict = PARTIAL
    else:
        verdict = WRONG
    found = _listed([(kind, entity.word) for kind, entity in predicted])
    return CaseResult(task.name, task.kind, case.text, _listed(case.entities), found, verdict)


def _overlaps(entity: Entity, text: str, part: str) -> bool:
    # Each text of a case occurs in its sentence exactly once.
    start = text.index(part)
    return entity.start < start + len(part) and start < entity.end


def _listed(entities: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{text} ({kind})" for kind, text in entities)


def _check_answer(model: Model, task: QATask, case: QACase) -> CaseResult:
    try:
        predicted = answer(model, case.question, case.context, task.name).answer
    except DataError:  # the question is too long for a model that reads very few tokens
        predicted = ""
    if exact_match(predicted, case.answers):
        verdict = EXACT
    else:
        verdict = PARTIAL if token_f1(predicted, case.answers) > 0 else WRONG
    expected = case.answers[0]
    return CaseResult(task.name, task.kind, case.question, expected, predicted, verdict)
