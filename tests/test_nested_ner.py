"""NestedNERTask: entities inside others, from scores of spans to what users see."""

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mtl
from mtl.data.augment import augment
from mtl.data.batching import collate
from mtl.data.encoded import encode_examples
from mtl.data.examples import NERExample, TextExample
from mtl.data.nesting import crossing, layers, outermost, without_crossing
from mtl.data.tokenizers.whitespace import WhitespaceTokenizer
from mtl.errors import ConfigError, DataError
from mtl.inference.evaluation import evaluate_baselines
from mtl.nn.global_pointer import GlobalPointerHead, span_loss, span_scores
from mtl.tasks import NERTask, NestedNERTask
from mtl.tasks.nested import NestedNERPrediction

NAMES = ["Oslo", "Lima", "Kyoto"]


def sentence(i, labelled=True):
    """[the University of [Oslo LOC] ORG] beside an entity of its own; and words between them."""
    place, other = NAMES[i % 3], NAMES[(i + 1) % 3]
    words = [*["now", "saw"][i % 2 :], "the", "University", "of", place, "in", other, "."]
    start = words.index("the")
    tags = ["O"] * len(words)
    tags[start : start + 4] = ["B-ORG", "I-ORG", "I-ORG", "I-ORG"]
    tags[-2] = "B-LOC"
    if not labelled:
        return TextExample(" ".join(words))
    return NERExample(words, tags, {}, inner=[("LOC", start + 3, start + 4)])


def long_text(i):
    """Several sentences: longer than what the model reads at once."""
    parts = [sentence(i + k) for k in range(5)]
    inner, n = [], 0
    for part in parts:
        inner += [(kind, n + first, n + last) for kind, first, last in part.inner]
        n += len(part.tokens)
    tokens = [token for part in parts for token in part.tokens]
    return NERExample(tokens, [tag for part in parts for tag in part.tags], {}, inner)


DATA = mtl.Dataset(
    train=[*(sentence(i, labelled=i % 3 > 0) for i in range(18)), *map(long_text, range(6))],
    validation=[long_text(7), sentence(1)],
    test=[long_text(i) for i in range(10, 14)],
)


@pytest.fixture(scope="module")
def model(build_model):
    """It reads sixteen tokens at once, and learned beside a flat task on the same texts."""
    tasks = [NestedNERTask("nested", DATA, max_entity_words=5), NERTask("flat", DATA)]
    tokenizer = WhitespaceTokenizer.train(
        example.text for example in DATA.train if isinstance(example, NERExample)
    )
    model = build_model(tasks, tokenizer=tokenizer, max_length=16, overlap=6)
    config = mtl.TrainConfig(epochs=20, batch_size=4, learning_rate=2e-2, hide_words=0.0)
    with pytest.warns(mtl.errors.DataWarning, match="inside others and left out: nested-ner"):
        history = mtl.train(model, config=config, progress=False)
    assert history.rounds[-1].examples["nested"] == 20 * 18  # the labelled ones
    return model


# --- from targets to scores -----------------------------------------------------------------------


def test_it_learns_in_windows_and_beats_what_tags_can_say(model):
    rows = [item.rows for item in encode_examples(DATA.test, model.tokenizer, [], 16, 6)[0]]
    assert max(map(len, rows)) > 2
    scores = mtl.evaluate(model, "nested")
    assert (scores["entity_f1"], scores["nested_f1"], scores["entity_f1_LOC"]) == (1, 1, 1)
    baselines = evaluate_baselines(model, "nested")
    assert baselines["none_found"]["entity_f1"] == 0
    outer = baselines["outermost_only"]
    # Of three entities in a sentence, one is inside another.
    assert (outer["entity_precision"], outer["entity_recall"]) == (1, pytest.approx(2 / 3))
    assert outer["nested_f1"] == 0
    with pytest.warns(mtl.errors.DataWarning, match="20 entities are inside others"):
        assert mtl.evaluate(model, "flat")["entity_f1"] > 0.5  # on the outermost


def test_saved_and_loaded_it_predicts_the_same(model, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = mtl.MultiTaskModel.from_pretrained(tmp_path)
    assert loaded.tasks["nested"].max_entity_words == 5
    texts = [example.text for example in DATA.test]
    assert mtl.predict(loaded, texts) == mtl.predict(model, texts)


def test_a_prediction_shows_marks_inside_marks(model):
    said = mtl.predict(model, "saw the University of Lima in Oslo .", "nested")["nested"]
    text = "saw [the University of [Lima LOC] ORG] in [Oslo LOC] ."
    assert str(said).startswith(f"{text}\n")
    found = said.to_dict()["entities"]
    assert [(e["entity_group"], e["word"], e["start"]) for e in found] == [
        ("ORG", "the University of Lima", 4),
        ("LOC", "Lima", 22),
        ("LOC", "Oslo", 30),
    ]
    assert all(0.5 < entity["score"] <= 1 for entity in found)
    html = said._repr_html_()
    assert html.count("<mark") == html.count("</mark>") == 3
    assert html.count("outline") == 1  # of the inner one


def test_given_words_get_the_entities_that_touch_them(model):
    given = ["saw", "the", "University", "of", "Lima-", "in", "Oslo", "."]
    said = mtl.predict(model, [given], "nested")[0]["nested"]
    assert ("LOC", "Lima-") in {(e.entity_group, e.word) for e in said.entities}
    assert ("LOC", "Lima") in {(e.entity_group, e.word) for e in said.plain.entities}


def encoded(task, example, max_length=16):
    tokenizer = WhitespaceTokenizer.train([example.text])
    (item,), notes = encode_examples([example], tokenizer, [task], max_length, 6)
    return item, notes, tokenizer


def test_each_window_asks_for_the_entities_that_are_whole_in_it():
    example, task = long_text(0), NestedNERTask("nested", DATA, max_entity_words=5)
    item, notes, tokenizer = encoded(task, example)
    batch = collate([item], tokenizer, [task])
    targets = batch.targets["nested"]  # (B, T, W, C)
    assert targets.shape == (len(item.rows), 16, 5, 2)
    asked = set()
    for row, target in zip(item.rows, targets, strict=True):
        first, last = row.first_piece, row.first_piece + row.n_pieces
        inside = {e for e in example.entities if first <= e[1] and e[2] <= last}
        here = {
            (task.types[c], first + t - 1, first + t + w)
            for t, w, c in (target == 1).nonzero().tolist()
        }
        assert here == inside
        asked |= inside
        # Every span of up to five words of the window, and nothing else.
        n = row.n_pieces
        assert (target[..., 0] != -100).sum() == sum(min(5, n - k) for k in range(n))
    assert asked == {*example.entities}
    assert not notes


@pytest.mark.parametrize(
    ("span", "best"),
    [
        (("LOC", 8, 10), 0),  # the first window has four words after it, the second none before
        (("LOC", 9, 14), 1),  # it begins nearer the middle of the first, but ends with it
        (("LOC", 12, 14), 1),
        (("LOC", 0, 3), 0),
    ],
)
def test_an_entity_counts_in_the_window_where_it_is_farthest_from_a_cut(span, best):
    """Windows of fourteen words begin at words 0, 8 and 16."""
    task = NestedNERTask("nested", DATA)
    item, _, _ = encoded(task, TextExample(" ".join(f"w{i}" for i in range(30))))
    words, pieces = item.rows[0].text.words, list(range(30))
    assert [row.first_piece for row in item.rows] == [0, 8, 16]
    for window in (0, 1):
        found = [[(span, 0.9)] if i == window else [] for i in range(3)]
        entities = task._merge(item, words, pieces, found).entities
        assert [e.word for e in entities] == (
            [" ".join(f"w{i}" for i in range(*span[1:]))] if window == best else []
        )


def test_a_batch_gives_what_its_texts_give_alone(model):
    texts = [example.text for example in DATA.test]
    together = mtl.predict(model, texts, "nested")
    for text, said in zip(texts, together, strict=True):
        alone = mtl.predict(model, text, "nested")["nested"]
        assert alone.spans == said["nested"].spans


def test_what_cannot_be_learned_is_counted():
    task = NestedNERTask("nested", DATA, max_entity_words=3)
    _, notes, _ = encoded(task, sentence(0))
    assert notes == {
        "entities are longer than tasks.nested.max_entity_words, and are left out of training": 1
    }
    wide = NestedNERTask("nested", DATA)
    item, notes, _ = encoded(wide, sentence(0), max_length=5)
    assert notes["entities fit no window, and are left out of training"] == 1
    item, _, _ = encoded(wide, TextExample("nobody has read this"))
    assert item.targets["nested"] == [None]


def test_the_parts_of_a_batch_add_up_to_its_loss(model):
    """As with `max_tokens`: each part counts by its numbers that are not -100."""
    task = model.tasks["nested"]
    items, _ = encode_examples(DATA.train[1:9], model.tokenizer, [task], 16, 6)
    batch = collate(items, model.tokenizer, [task])

    def loss(part):
        target = part.targets["nested"]
        return task.loss(model(part, ["nested"])["nested"], target, part), (target != -100).sum()

    whole, n = loss(batch)
    halves = [loss(collate(part, model.tokenizer, [task])) for part in (items[:3], items[3:])]
    assert whole.item() == pytest.approx(sum(x * k / n for x, k in halves).item(), rel=1e-5)


# --- the score of a span --------------------------------------------------------------------------


def test_scores_are_those_of_efficient_globalpointer_pair_by_pair():
    torch.manual_seed(0)
    head, hidden = GlobalPointerHead(6, n_types=3, width=4), torch.randn(2, 5, 6)
    query, key, start, end = parts = head(hidden)
    scores = span_scores(parts, longest=3)
    assert scores.shape == (2, 5, 3, 3)

    def turned(vector, position):
        """Rotary position embedding, two features at a time (Su et al. 2021, equation 34)."""
        out = []
        for pair in (0, 1):
            angle = position * 10_000 ** (-pair / 2)
            x, y = vector[2 * pair : 2 * pair + 2].tolist()
            out += [
                x * math.cos(angle) - y * math.sin(angle),
                x * math.sin(angle) + y * math.cos(angle),
            ]
        return torch.tensor(out)

    for b in range(2):
        for i in range(5):
            for j in range(i, min(i + 3, 5)):
                match = turned(query[b, i], i) @ turned(key[b, j], j) / 2
                expected = match + start[b, i] + end[b, j]
                torch.testing.assert_close(scores[b, i, j - i], expected)


def test_the_loss_of_spans_by_hand():
    scores, targets = torch.tensor([[2.0, -1.0, 3.0, 9.0]]), torch.tensor([[1, 0, 0, -100]])
    present = math.log(1 + math.exp(-2))
    absent = math.log(1 + math.exp(-1) + math.exp(3))
    assert span_loss(scores, targets).tolist() == pytest.approx([present + absent])
    assert span_loss(scores, torch.full((1, 4), -100)).tolist() == [0]


# --- nesting --------------------------------------------------------------------------------------

ENTITIES = st.lists(
    st.tuples(st.sampled_from("XY"), st.integers(0, 9), st.integers(1, 5)).map(
        lambda e: (e[0], e[1], e[1] + e[2])
    ),
    max_size=12,
)


def crosses(a, b):
    return a[1] < b[1] < a[2] < b[2] or b[1] < a[1] < b[2] < a[2]


@given(ENTITIES)
def test_crossing_is_found_where_there_is_any(entities):
    pair = crossing(entities)
    assert (pair is not None) == any(crosses(a, b) for a in entities for b in entities)
    assert pair is None or crosses(*pair)


@given(ENTITIES)
def test_of_crossing_entities_the_better_one_stays(entities):
    kept = []
    for entity in entities:  # best first
        if entity not in kept and not any(crosses(entity, other) for other in kept):
            kept.append(entity)
    assert without_crossing(entities) == set(kept)
    found = layers(kept)
    assert [e for layer in found for e in layer].sort() == kept.sort()
    for layer in found:
        assert all(a[2] <= b[1] or b[2] <= a[1] for a in layer for b in layer if a is not b)
    assert (found[0] if found else []) == outermost(kept)


@pytest.mark.parametrize(
    ("inner", "what"),
    [
        ([("LOC", 1, 4)], "an entity crosses another"),
        ([("LOC", 3, 4)], "an inner entity is not inside an entity of the tags"),
        ([("LOC", 0, 4)], "an inner entity is not inside an entity of the tags"),
        ([(" ", 1, 2)], "the type of an inner entity is empty"),
    ],
)
def test_inner_entities_lie_in_those_of_the_tags(inner, what):
    with pytest.raises(DataError, match=what):
        NERExample(["a", "b", "c", "d"], ["B-ORG", "I-ORG", "I-ORG", "O"], {}, inner)


def test_an_entity_that_is_given_twice_counts_once():
    tags, same = ["B-ORG", "I-ORG"], ("ORG", 0, 2)
    example = NERExample(["a", "b"], tags, {}, [same, ("LOC", 1, 2), ("LOC", 1, 2)])
    assert example.inner == (("LOC", 1, 2),)
    assert example.entities == [same, ("LOC", 1, 2)]


def test_copies_keep_what_is_inside_an_entity():
    words, tags = ["the", "Bank", "of", "Oslo"], ["B-ORG", "I-ORG", "I-ORG", "I-ORG"]
    bank = NERExample(["at", *words], ["O", *tags], {}, [("LOC", 4, 5)])
    other = NERExample(["Oslo", "Council"], ["B-ORG", "I-ORG"], {}, [("LOC", 0, 1)])
    for copy in augment([bank, other], 4, seed=0):
        # Whichever organisation was put there, its place went with it.
        assert [copy.tokens[first:last] for _, first, last in copy.inner] == [("Oslo",)]


# --- files ----------------------------------------------------------------------------------------

ROWS = """# newdoc
the\tO\tB-ORG\tO
Bank\tO\tI-ORG\tO
of\tO\tI-ORG\tO
Oslo\tO\tI-ORG\tB-LOC
closed\tB-EVENT\tO\tO

Ann\tO\tB-PER\tB-PER

# newdoc
Ann\tO\tB-PER\tO
left\tB-EVENT\tO\tO
"""


@pytest.fixture
def path(tmp_path):
    (tmp_path / "x.tsv").write_text(ROWS)
    return tmp_path / "x.tsv"


def test_columns_are_layers(path):
    bank, ann, _ = mtl.read(path, column=[4, 3], fields=[2])
    assert bank.tags == ("B-ORG", "I-ORG", "I-ORG", "I-ORG", "O")
    assert bank.inner == (("LOC", 3, 4),)
    assert bank.fields["2"] == ("O", "O", "O", "O", "B-EVENT")
    assert (ann.tags, ann.inner) == (("B-PER",), ())  # in both columns, but one entity
    first, second = mtl.read(path, column=[3, 4], whole_documents=True)
    assert (len(first.tokens), len(second.tokens)) == (6, 2)


def test_a_layer_that_crosses_another_is_a_fault_of_its_sentence(path):
    path.write_text(
        ROWS.replace(
            "Oslo\tO\tI-ORG\tB-LOC\nclosed\tB-EVENT\tO\tO",
            "Oslo\tO\tI-ORG\tB-LOC\nclosed\tB-EVENT\tO\tI-LOC",
        )
    )
    with pytest.raises(DataError) as caught:
        mtl.read(path, column=[3, 4])
    (fault,) = caught.value.faults
    assert (fault.line, fault.path) == (2, str(path))
    assert fault.found == "'the Bank of Oslo (ORG)' and 'Oslo closed (LOC)'"
    with pytest.warns(match="bad records left out: 1"):
        assert len(mtl.read(path, column=[3, 4], on_error="skip")) == 2


def test_layers_hold_entities_and_documents_should_say_where_they_begin(path):
    with pytest.raises(DataError, match="column 1 holds no entity tags, and cannot be a layer"):
        mtl.read(path, column=[3, 1])
    with pytest.raises(DataError, match=r"layers of nested entities.*column = \[2, 3, 4\]"):
        mtl.read(path)
    path.write_text(ROWS.replace("# newdoc\n", ""))
    with pytest.warns(match="no line such as `# newdoc` says where a document begins"):
        assert len(mtl.read(path, column=[3, 4], whole_documents=True)) == 3


def test_written_and_read_again_they_are_the_same(path, tmp_path):
    examples = mtl.toy_dataset("documents", 2, 1, 1).train
    mtl.write_conll(examples, tmp_path / "y.conll")
    columns = [3, 4, 5, 6]
    assert mtl.read(tmp_path / "y.conll", column=columns, fields=[2]) == examples
    plain = [NERExample(e.tokens, e.tags, {}, e.inner) for e in examples]
    mtl.write_jsonl(plain, tmp_path / "y.jsonl")
    again = mtl.read(tmp_path / "y.jsonl")
    assert [(e.tokens, e.tags, e.inner) for e in again] == [
        (e.tokens, e.tags, e.inner) for e in examples
    ]
    with pytest.raises(ConfigError, match=r"entities inside others"):
        mtl.data.readers.write_examples(plain, tmp_path / "y.conllu")


def test_check_counts_what_is_inside_others(path, mtl_):
    status, out, _ = mtl_("check", path, "--column", "3,4")
    assert status == 0
    assert "ORG 1, LOC 1" in out
    assert "of them inside others  LOC 1" in out


# --- thresholds, mistakes, files, errors ----------------------------------------------------------


def said_of(example, chances):
    return NestedNERPrediction.of(
        example.text,
        {
            (kind, example.word_places[first][0], example.word_places[last - 1][1]): p
            for (kind, first, last), p in chances.items()
        },
    )


def test_the_threshold_with_the_best_f1_is_chosen():
    task, example = NestedNERTask("nested", DATA), sentence(0)
    right = dict.fromkeys(example.entities, 0.33)
    said = [said_of(example, right | {("LOC", 0, 1): 0.27})]
    assert task.choose_thresholds([example], said) == {"score": 0.3}
    assert said[0].entities == []
    task.thresholds = {"score": 0.3}
    decided = task.decide(said[0])
    assert task.score([example], [decided])["entity_f1"] == 1
    # Whatever is asked for is found at any threshold: the nearest to one half.
    sure = said_of(example, dict.fromkeys(example.entities, 0.97))
    assert task.choose_thresholds([example], [sure]) == {"score": 0.5}


def test_mistakes_and_the_prediction_file():
    task, example = NestedNERTask("nested", DATA), sentence(1)
    outer = next(e for e in example.entities if e[0] == "ORG")
    said = said_of(example, {outer: 0.9, ("LOC", 0, 1): 0.8})
    kinds = [(m.kind, m.expected, m.predicted) for m in task.mistakes([example], [said])]
    assert kinds == [
        ("invented", "", "saw (LOC)"),
        ("missed", "Lima (LOC)", ""),
        ("missed", "Kyoto (LOC)", ""),
    ]
    ending, content = task.prediction_file([example], [said])
    record = json.loads(content)
    assert (ending, record["predicted"]) == ("jsonl", [[0, 3, "LOC"], [4, 26, "ORG"]])
    assert len(record["entities"]) == 3


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="max_entity_words of the task 'x' must be a whole"):
        NestedNERTask("x", DATA, max_entity_words=0)
    with pytest.raises(ConfigError, match="has no entity types"):
        NestedNERTask("x")
    with pytest.raises(DataError, match="its data has none"):
        NestedNERTask("x", mtl.Dataset([TextExample("nothing")]))
    task = NestedNERTask("x", types=["LOC"])
    with pytest.raises(DataError, match="does not know these entity types"):
        task.score([sentence(0)], [said_of(sentence(0), {})])
    with pytest.raises(ConfigError, match='kind = "nested-ner"'):
        mtl.load_recipe("jsonl", ["tasks.ner.nested=true"])
