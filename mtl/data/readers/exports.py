"""Records of annotation tools: any of them goes in, a plain record comes out.

A plain record is an object with a text, and with spans, tokens, tags or labels under the names that
`records` knows.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

TEXT_FIELDS = (
    *("sentence", "text", "content", "utterance", "document", "body", "comment", "review"),
    *("tweet", "message", "query", "input", "utt"),
    *("headline", "reviewtext", "review_text", "comment_text", "tweet_text", "phrase"),
)


def plain_record(record: Any, notes: Counter[str]) -> Any:
    """The record as a plain one; None if its annotator rejected it, which `notes` counts."""
    # What each tool exports, as far as its shape alone gives it away.
    match record:
        case [str(text), dict(about)]:  # spaCy
            return _with_category({"text": text, **about})
        case [str(text), str(label)]:
            return {"text": text, "label": label}
        case {"data": dict(data), **rest} if rest.keys() & {"annotations", "completions"}:
            return _label_studio(data, rest, notes)
        # Prodigy's verdict on a record; beside a question, `answer` is the answer to it.
        case {"answer": "reject" | "ignore" as answer} if "question" not in record:
            notes[f'records whose answer is "{answer}", which are left out'] += 1
            return None
        case {"data": str(text), **rest} if rest.keys().isdisjoint(TEXT_FIELDS):  # doccano
            return plain_record({"text": text, **rest}, notes)
        case dict():
            return _with_tokens(_with_category(_prodigy(_with_choices(record))))
    return record


def _with_choices(record: dict[str, Any]) -> dict[str, Any]:
    """Several choices as a list, from the one field that Label Studio's JSON-MIN puts them in."""
    return {
        key: value["choices"] if isinstance(value, dict) and value.keys() == {"choices"} else value
        for key, value in record.items()
    }


def _with_category(record: dict[str, Any]) -> dict[str, Any]:
    """spaCy's `{"cats": {"sports": 1.0, "city": 0.0}}` as labels."""
    cats = record.get("cats")
    if not isinstance(cats, dict):
        return record
    rest = {key: value for key, value in record.items() if key != "cats"}
    # spaCy's scores are 0 or 1 in data from people, and anything between from a model.
    chosen = [name for name, value in cats.items() if value and value > 0.5]
    return rest | ({"label": chosen} if cats else {})


def _prodigy(record: dict[str, Any]) -> dict[str, Any]:
    """An accepted record of Prodigy: chosen options are labels; no spans means none."""
    if record.get("answer") != "accept" or "question" in record:
        return record
    record = {key: value for key, value in record.items() if key != "answer"}
    if isinstance(record.get("options"), list):
        del record["options"]
        return record | {"label": record.pop("accept", [])}
    return record if "label" in record else {"spans": []} | record


def _with_tokens(record: dict[str, Any]) -> dict[str, Any]:
    """The texts of tokens that are objects (spaCy, Prodigy); character spans need none."""
    tokens = record.get("tokens")
    if not (isinstance(tokens, list) and tokens and isinstance(tokens[0], dict)):
        return record
    rest = {key: value for key, value in record.items() if key != "tokens"}
    if any(isinstance(record.get(key), str) for key in TEXT_FIELDS):
        return rest
    return rest | {"tokens": [token.get("text") for token in tokens]}


def _label_studio(
    data: dict[str, Any], rest: dict[str, Any], notes: Counter[str]
) -> dict[str, Any]:
    """A task of Label Studio, as annotated by the first annotator who did not cancel it."""
    texts = [key for key in TEXT_FIELDS if isinstance(data.get(key), str)]
    # A labelling project may call its text anything.
    texts += [key for key, value in data.items() if isinstance(value, str)]
    record = {"text": data[texts[0]]} if texts else dict(data)
    every = rest.get("annotations") or rest.get("completions") or []
    kept = [a for a in every if isinstance(a, dict) and not a.get("was_cancelled")]
    if not kept:
        notes["texts without an annotation, or with a cancelled one"] += 1
        return record
    # Annotators may disagree. Merging what they said would invent data that nobody wrote.
    if len(kept) > 1:
        notes["texts with several annotations, of which only the first is read"] += 1
    results = [r for r in kept[0].get("result") or [] if isinstance(r, dict)]
    values = [r["value"] if isinstance(r.get("value"), dict) else {} for r in results]
    spans = [value for value in values if "start" in value]
    choices = [choice for value in values for choice in value.get("choices") or []]
    others = len(results) - len(spans) - sum("choices" in value for value in values)
    if others:
        notes["results that are neither spans nor choices, which are not read"] += others
    if choices:
        record["label"] = choices
    # An empty list says "read, and nothing found", and that can be learned from.
    return record if choices and not spans else record | {"spans": spans}
