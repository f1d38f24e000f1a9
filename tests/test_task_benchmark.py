"""The benchmark of all tasks: its plain side, its frame and its table, on toy data."""

import dataclasses
import sys
from pathlib import Path

import pytest
import torch
from checkpoints import write_checkpoint

import mtl

pytest.importorskip("transformers")
# Where the script finds its package; last, since a file there may be called like one here.
sys.path.append(str(Path(__file__).parent / "benchmarks"))

import tasks as benchmark
from beside.cases import CASES, Case
from beside.data import cropped, read_tasks
from beside.sides import plain_class, run_side

NESTED = mtl.NERExample(
    ("The", "Bank", "of", "New", "York", "grew"),
    ("O", "B-ORG", "I-ORG", "I-ORG", "I-ORG", "O"),
    inner=(("LOC", 3, 5),),
)
LONG = "One plays in Paris. " * 9
QUESTIONS = [
    mtl.QAExample("1", "Who?", f"{LONG}Unworkable Em plays.", [mtl.Answer("Unworkable Em", 180)]),
    mtl.QAExample("2", "Why?", LONG, []),
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    write_checkpoint(folder, "BertModel", max_position_embeddings=64)
    return str(folder)


def case_of(tasks, **budget):
    few = {"limit": 16, "test": 9, "epochs": 1, "batch_size": 8, "max_length": 24, "overlap": 6}
    few |= {"train": "train", "dev": "dev", "metrics": dict.fromkeys(tasks, ())}
    return Case("toy", tasks=tasks, **(few | budget))


def plain_of(checkpoint, kind, examples, **options):
    """The plain side of a task on these examples."""
    task = mtl.tasks.Task.of_kind(kind)("x", mtl.Dataset(train=examples), **options)
    return plain_class(task)(task, case_of({"x": {"kind": kind}}), checkpoint)


def labels_as_outputs(one, rows):
    """What a model that has learned the labels of the rows by heart would say."""
    for row in rows:
        if "labels" in row.inputs:
            logits = torch.zeros(len(row.pieces), len(one.tags))
            for piece, label in enumerate(row.inputs["labels"]):
                logits[piece, max(label, 0)] = 9.0
            yield logits
        else:
            starts, ends = torch.zeros(2, len(row.pieces))
            starts[row.inputs["start_positions"]] = ends[row.inputs["end_positions"]] = 9.0
            yield starts, ends


def decoded(one, examples):
    rows = one.rows(examples, training=True)
    assert len(rows) > len(examples)  # some are read in windows
    return one.decode(examples, rows, list(labels_as_outputs(one, rows)))


def test_the_plain_side_reads_back_the_tags_it_learns(checkpoint):
    words = ["Players", "unworking", "in", "Paris", "!"] * 5
    tags = ["O", "B-LOC", "I-LOC", "O", "B-PER"] * 5
    examples = [mtl.NERExample(words, tags), mtl.NERExample(["Paris"], ["B-LOC"])]
    one = plain_of(checkpoint, "ner", examples)
    assert [p.tags for p in decoded(one, examples)] == [tags, ["B-LOC"]]


def test_the_plain_side_finds_the_outermost_of_nested_entities(checkpoint):
    long = dataclasses.replace(
        NESTED, tokens=NESTED.tokens * 4, tags=NESTED.tags * 4, inner=(("LOC", 21, 23),)
    )
    one = plain_of(checkpoint, "nested-ner", [NESTED, long])
    scores = one.task.score([NESTED, long], decoded(one, [NESTED, long]))
    assert scores["entity_precision"] == 1.0
    assert scores["entity_recall"] == pytest.approx(5 / 7)  # two are inside others


def test_the_plain_side_reads_back_the_answers_it_learns(checkpoint):
    one = plain_of(checkpoint, "qa", QUESTIONS)
    predictions = [one.task.decide(p) for p in decoded(one, QUESTIONS)]
    assert [p.answer for p in predictions] == ["Unworkable Em", ""]
    assert one.task.score(QUESTIONS, predictions)["exact_match"] == 1.0


def test_an_answer_that_a_window_cuts_points_at_cls(checkpoint):
    one = plain_of(checkpoint, "qa", QUESTIONS)
    for row in one.rows(QUESTIONS[:1], training=True):
        whole = [p for p in row.pieces if p and p[0] >= 180 and p[1] <= 193]
        is_whole = bool(whole) and whole[0][0] == 180 and whole[-1][1] == 193
        assert (row.inputs["start_positions"] > 0) == is_whole


def test_the_plain_side_learns_several_labels_of_a_text(checkpoint):
    labels = ("calm", "sad"), ()
    texts = [mtl.TextExample("so it goes", labels=of) for of in labels]
    one = plain_of(checkpoint, "classification", texts, multi_label=True)
    assert [row.inputs["labels"] for row in one.rows(texts, training=True)] == [[1, 1], [0, 0]]
    predictions = one.decode(texts, [], [torch.tensor([2.0, 1.0]), torch.tensor([-2.0, -1.0])])
    assert [set(one.task.decide(p).labels) for p in predictions] == [*map(set, labels)]


def test_the_plain_side_reads_pairs_in_one_row(checkpoint):
    pairs = [mtl.PairExample("so", "it works", label="yes", raw_score=4.5)]
    pairs += [mtl.PairExample("oh", "no", label="no", raw_score=1.0)]
    classes = plain_of(checkpoint, "pair-classification", pairs)
    rows = classes.rows(pairs, training=True)
    assert [row.inputs["labels"] for row in rows] == [1, 0]  # by name: no, yes
    assert all({0, 1} == {*row.inputs["token_type_ids"]} for row in rows)
    said = classes.decode(pairs, rows, [torch.tensor([0.0, 2.0]), torch.tensor([1.0, 0.0])])
    assert [p.label for p in said] == ["yes", "no"]
    scores = plain_of(checkpoint, "regression", pairs)
    assert [row.inputs["labels"] for row in scores.rows(pairs, training=True)] == [4.5, 1.0]
    said = scores.decode(pairs, rows, [torch.tensor([4.0]), torch.tensor([1.5])])
    assert [p.score for p in said] == [4.0, 1.5]
    assert scores.task.score(pairs, said)["spearman"] == pytest.approx(1.0)


@pytest.fixture(scope="module")
def options(tmp_path_factory, checkpoint):
    """Toy files, and the command line that reads them."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "toy").mkdir()
    for split, of in (("train", "train"), ("dev", "test")):
        mtl.write_conll(mtl.toy.ner_examples(of, 40), folder / "toy" / f"{split}.conll")
        questions = mtl.toy.toy_dataset("unanswerable", 40, 0, 40).split(of)
        mtl.write_squad(questions, folder / "toy" / f"{split}.json")
    threads = str(torch.get_num_threads())
    return benchmark.parse([checkpoint, str(folder), "--threads", threads])


@pytest.mark.parametrize(
    ("ending", "kind", "metrics"),
    [("conll", "ner", {"entity_f1"}), ("json", "qa", {"token_f1", "no_answer_exact_match"})],
)
def test_both_sides_train_and_are_scored_alike(options, ending, kind, metrics):
    case = case_of(
        {"x": {"kind": kind}}, train=f"train.{ending}", dev=f"dev.{ending}", max_length=64
    )
    results = {side: run_side(side, case, options) for side in benchmark.SIDES}
    for result in results.values():
        assert metrics <= result["scores"]["x"].keys()
        assert result["train_seconds"] > 0
        assert result["predict_seconds"] > 0
        assert result["peak_mb"] > 50
        assert (result["train_examples"], result["test_examples"]) == (16, 9)
    lines = benchmark.table({"toy": {"budget": dataclasses.asdict(case), **results}})
    assert len(lines.splitlines()) == 2  # no metric of this case is to be shown


def test_the_parts_of_a_training_file_are_apart(options):
    case = case_of({"x": {"kind": "ner"}}, train="train.conll", dev="dev.conll", limit=30, test=0)
    (task,) = read_tasks(case, options.data / "toy", held_out=True)
    parts = [task.dataset.train, task.dataset.validation, task.dataset.test]
    texts = [{example.text for example in part} for part in parts]
    assert all(texts)
    assert len(set.union(*texts)) == sum(map(len, texts))
    (other,) = read_tasks(case, options.data / "toy")
    assert other.dataset.validation == task.dataset.validation
    assert other.dataset.test == mtl.read(options.data / "toy" / "dev.conll")


def test_the_table_has_a_line_for_each_metric():
    budget = {"metrics": {"inference": ("accuracy", "macro_f1")}}
    ours = {"scores": {"inference": {"accuracy": 0.5, "macro_f1": 0.25}}}
    ours |= {"train_seconds": 12.4, "predict_seconds": 1.6, "peak_mb": 700.2}
    lines = benchmark.table({"snli": {"budget": budget, "ours": ours}}).splitlines()
    assert [line.split() for line in lines[2:]] == [
        ["snli", "inference", "accuracy", "0.500", "12", "2", "700"],
        ["snli", "inference", "macro_f1", "0.250"],
    ]


def test_the_command_line_changes_the_budget_of_every_case():
    asked = benchmark.parse(
        ["bert", "data", "--only", "snli,stsb", "--limit", "7", "--rate", "0.1"]
    )
    found = benchmark.cases(asked)
    assert [*found] == ["snli", "stsb"]
    assert {(case.limit, case.rate) for case in found.values()} == {(7, 0.1)}
    assert found["snli"].epochs == CASES["snli"].epochs


def test_data_that_is_not_there_is_skipped(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tasks.py", "bert", str(tmp_path), "--only", "snli,stsb"])
    benchmark.main()
    said = capsys.readouterr()
    assert said.err.count("is skipped: there is no") == 2
    assert not said.out


@pytest.mark.parametrize("n", [60, 200, 5000])
def test_a_cropped_context_holds_its_answer(n):
    for question in mtl.toy.qa_examples("train", 20):
        long = dataclasses.replace(question, context=f"{question.context} {LONG}")
        short = cropped(long, n)  # an example checks that its answer is at its offset
        assert short.context in long.context
        assert len(short.context) <= n + 20
        assert short.context.split()[0] in long.context.split()
        assert len(short.answers) == 1


def test_a_question_without_an_answer_keeps_any_part_of_its_context():
    unanswered = [dataclasses.replace(QUESTIONS[1], id=str(i)) for i in range(20)]
    kept = [cropped(question, 30) for question in unanswered]
    assert all(short.answers == () and short.context in LONG for short in kept)
    assert len({short.context for short in kept}) > 1
