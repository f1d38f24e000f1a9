"""The benchmark beside other libraries: all of it that does not need them, on toy data."""

import json
import os
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from checkpoints import write_checkpoint

import mtl

pytest.importorskip("transformers")
# Where the script finds its package, and a peer's script its runner; last, since a file there may
# be called like one here.
sys.path.append(str(Path(__file__).parent / "benchmarks"))
sys.path.append(str(Path(__file__).parent / "benchmarks" / "beside" / "peers"))

import peers as benchmark
import run_transformers as plain
from beside import environments, exchange
from beside.cases import Case
from beside.comparisons import COMPARISONS, REQUIREMENTS, TORCH, Comparison
from beside.environments import UnavailableError

LONG = "One plays in Paris. " * 9
SETTINGS = {"epochs": 1, "batch_size": 4, "max_length": 24, "overlap": 6}
SETTINGS |= {"rate": 1e-3, "seed": 0}
TEXTS = Case(
    *("texts", "train", "dev"),
    tasks={"intent": {"kind": "classification"}, "slots": {"kind": "ner"}},
    metrics={"intent": ("accuracy",), "slots": ("entity_f1",)},
    limit=40,
    test=9,
    epochs=1,
    batch_size=8,
    max_length=24,
)
SENTENCES = Case(
    *("sentences", "train.conll", "dev.conll"),
    tasks={"ner": {"kind": "ner"}},
    metrics={"ner": ("entity_f1",)},
)
TOGETHER = Comparison("flair", (TEXTS,))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    write_checkpoint(folder, "BertModel", max_position_embeddings=64)
    return str(folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Texts with a class and tags, as SNIPS is distributed, and tagged sentences."""
    folder = tmp_path_factory.mktemp("data")
    for split, of in (("train", "train"), ("dev", "test")):
        texts = mtl.toy.toy_dataset("intents", 60, 0, 20).split(of)
        columns = {
            "seq.in": [" ".join(text.tokens) for text in texts],
            "seq.out": [" ".join(text.tags) for text in texts],
            "label": [text.label for text in texts],
        }
        own = folder / "texts" / split
        own.mkdir(parents=True)
        for name, lines in columns.items():
            (own / name).write_text("\n".join(lines) + "\n")
        (folder / "sentences").mkdir(exist_ok=True)
        mtl.write_conll(mtl.toy.ner_examples(of, 40), folder / "sentences" / f"{split}.conll")
    return folder


@pytest.fixture
def options(checkpoint, data, tmp_path):
    threads = str(torch.get_num_threads())
    output = str(tmp_path / "results.json")
    return benchmark.parse([checkpoint, str(data), "--threads", threads, "--output", output])


def said_by_heart(tasks):
    """What a peer that has learned the labels of the test examples by heart would answer."""
    return {
        "intent": [example.label for example in tasks[0].dataset.test],
        "slots": [example.tags for example in tasks[1].dataset.test],
    }


def test_every_peer_has_a_script_and_pinned_packages():
    assert {comparison.peer for comparison in COMPARISONS.values()} == REQUIREMENTS.keys()
    for peer, requirements in REQUIREMENTS.items():
        assert (benchmark.SCRIPTS / f"run_{peer}.py").is_file()
        assert all("==" in requirement for requirement in requirements)
        assert TORCH in requirements


def test_the_scripts_of_peers_import_nothing_of_ours():
    for script in benchmark.SCRIPTS.glob("*.py"):
        lines = script.read_text().splitlines()
        imports = [line for line in lines if line.startswith(("import ", "from "))]
        assert not [line for line in imports if "mtl" in line or "beside" in line]


def test_the_command_line_changes_the_budget_of_every_case():
    asked = ["--only", "ner-qa-plain", "--limit", "7", "--rate", "0.1", "--peer-rate", "0.2"]
    (found,) = benchmark.comparisons(benchmark.parse(["bert", "data", *asked])).values()
    assert {(case.limit, case.rate, case.plain_rate) for case in found.cases} == {(7, 0.1, 0.2)}
    was = COMPARISONS["ner-qa-plain"]
    assert [case.epochs for case in found.cases] == [case.epochs for case in was.cases]
    assert found.metrics.keys() == {"ner", "qa"}


def test_tasks_of_one_file_share_a_dataset_without_validation(options):
    both = Comparison("flair", (TEXTS, SENTENCES))
    intent, slots, ner = benchmark.tasks_of(both, options)
    assert intent.dataset is slots.dataset is not ner.dataset
    assert (len(intent.dataset.train), len(intent.dataset.test)) == (40, 9)
    assert not any(task.dataset.validation for task in (intent, slots, ner))
    assert ner.dataset.test == mtl.read(options.data / "sentences" / "dev.conll")


def test_with_held_out_the_dev_file_is_not_read(options, data):
    options.held_out = True
    (ner,) = benchmark.tasks_of(Comparison("flair", (SENTENCES,)), options)
    of_file = {example.text for example in mtl.read(data / "sentences" / "train.conll")}
    train, test = ({e.text for e in part} for part in (ner.dataset.train, ner.dataset.test))
    assert test
    assert test <= of_file
    assert not test & train


def test_a_peer_is_told_the_labels_of_training_examples_alone(options):
    question = mtl.QAExample("1", "Who?", "Em plays.", [mtl.Answer("Em", 0)])
    pair = mtl.PairExample("so", "it works", score=0.4)
    tasks = benchmark.tasks_of(TOGETHER, options)
    others = mtl.Dataset([question], test=[question]), mtl.Dataset([pair], test=[pair])
    datasets = [tasks[0].dataset, *others]
    budget = json.loads(json.dumps(exchange.budget_for(TEXTS, datasets, "bert", seed=3)))
    assert (budget["checkpoint"], budget["seed"], budget["rate"]) == ("bert", 3, TEXTS.plain_rate)
    texts, questions, pairs = budget["datasets"]
    assert [text["label"] for text in texts["train"]] == [e.label for e in tasks[0].dataset.train]
    assert questions["train"][0]["answers"] == [{"text": "Em", "start": 0}]
    assert pairs["train"][0]["score"] == 0.4
    assert all(text.keys() == {"text", "tokens"} for text in texts["test"])
    assert questions["test"][0].keys() == {"id", "question", "context", "candidates"}
    assert pairs["test"] == [{"first": "so", "second": "it works", "negative": None}]


def test_what_a_peer_says_is_scored_by_our_tasks(options):
    tasks = benchmark.tasks_of(TOGETHER, options)
    said = json.loads(json.dumps(said_by_heart(tasks)))
    said["intent"][0] = "no such intent"
    said["slots"][1:] = [["O"] * len(tags) for tags in said["slots"][1:]]
    intent, slots = (
        task.score(task.dataset.test, exchange.predictions_of(task, said[task.name]))
        for task in tasks
    )
    assert intent["accuracy"] == pytest.approx(8 / 9)
    counts = [sum(tag.startswith("B-") for tag in e.tags) for e in tasks[1].dataset.test]
    assert slots["entity_precision"] == 1.0
    assert slots["entity_recall"] == pytest.approx(counts[0] / sum(counts))


def test_vectors_are_scored_by_their_cosines():
    pairs = [mtl.PairExample("a", f"{i}", score=i / 5) for i in range(1, 5)]
    task = mtl.EmbeddingTask("similarity", mtl.Dataset(test=pairs))
    angles = torch.tensor([0.1, 0.3, 0.7, 1.2])  # the larger, the less similar
    said = [[[1.0, 0.0], [a.cos().item(), a.sin().item()]] for a in angles]
    assert task.score(pairs, exchange.predictions_of(task, said))["spearman"] == pytest.approx(-1)


def test_answers_are_scored_by_their_characters():
    question = mtl.QAExample("1", "Who?", "Em plays.", [mtl.Answer("Em", 0)])
    task = mtl.QATask("qa", mtl.Dataset(test=[question, question]))
    predictions = exchange.predictions_of(task, [[0, 2], [3, 8]])
    assert [prediction.answer for prediction in predictions] == ["Em", "plays"]
    assert task.score([question] * 2, predictions)["exact_match"] == 0.5


SENTENCE = {"tokens": ["the", "game", "in", "Paris"], "tags": ["O", "O", "O", "B-LOC"]}


def plain_model(checkpoint, sentences=(SENTENCE,), questions=()):
    """The plain side, and rows with labels of what it learns from."""
    datasets = [
        {"train": list(sentences), "test": list(sentences)},
        {"train": list(questions), "test": list(questions)},
    ]
    budget = SETTINGS | {"checkpoint": checkpoint, "datasets": datasets}
    return plain.build(budget), budget


def by_heart(n, rows):
    """Logits `(T, n)` of a model that has learned the labels of the rows, with a padded token."""
    for row in rows:
        logits = torch.zeros(len(row["input_ids"]) + 1, n)
        if "places" in row:
            for column, position in enumerate(row["labels"]):
                logits[position, column] = 9.0
            logits[-1] = 10.0
        else:
            for piece, label in enumerate(row["labels"]):
                logits[piece, max(label, 0)] = 9.0
        yield logits


def test_the_plain_side_reads_back_the_tags_it_learns(checkpoint):
    words = ["Players", "unworking", "in", "Paris", "!"] * 5
    tags = ["O", "B-LOC", "I-LOC", "O", "B-PER"] * 5
    sentences = [{"tokens": words, "tags": tags}, {"tokens": ["Paris"], "tags": ["B-LOC"]}]
    model, budget = plain_model(checkpoint, sentences)
    rows = plain.sentence_rows(model, sentences, budget)
    assert len(rows) > 2  # the first is read in windows
    outputs = list(by_heart(len(model.tags), rows))
    assert plain.tags_of(model, sentences, rows, outputs) == [tags, ["B-LOC"]]


def test_the_plain_side_reads_back_the_answers_it_learns(checkpoint):
    context = f"{LONG}Unworkable Em plays."
    questions = [
        {"question": "Who?", "context": context, "answers": [{"text": "Unworkable", "start": 180}]},
        {"question": "Who?", "context": "Em", "answers": [{"text": "Em", "start": 0}]},
    ]
    model, budget = plain_model(checkpoint, questions=questions)
    rows = plain.question_rows(model, questions, budget)
    outputs = list(by_heart(2, rows))
    for row in rows:  # only windows that hold the whole answer point at it
        places = [place for place in row["places"] if place]
        start = questions[row["example"]]["answers"][0]["start"]
        end = start + len(questions[row["example"]]["answers"][0]["text"])
        held = places[0][0] <= start and any(p[0] == start for p in places)
        held = held and any(p[1] == end for p in places)
        assert (row["labels"] != (plain.CLS, plain.CLS)) == held
    found = plain.answers_of(questions, rows, outputs)
    texts = [q["context"][start:end] for q, (start, end) in zip(questions, found, strict=True)]
    assert texts == ["Unworkable", "Em"]


def test_the_plain_side_takes_the_best_pair_of_start_and_end():
    row = {"example": 0, "places": [None, (0, 2), (3, 8), None]}
    logits = torch.tensor([[5.0, 9.0], [1.0, 8.0], [4.0, 3.0], [9.0, 9.0]])  # (T, 2)
    # The best start comes after the best end, and special tokens are no answer.
    assert plain.answers_of([{}], [row], [logits]) == [(0, 2)]
    logits[1, 1] = 5.0
    assert plain.answers_of([{}], [row], [logits]) == [(3, 8)]


def test_the_plain_losses_are_those_of_transformers():
    torch.manual_seed(0)
    logits, spans = torch.randn(3, 7, 2), torch.tensor([[1, 4], [0, 0], [2, 6]])
    starts, ends = logits.unbind(-1)  # (B, T) each, as in BertForQuestionAnswering
    right = (F.cross_entropy(starts, spans[:, 0]) + F.cross_entropy(ends, spans[:, 1])) / 2
    assert plain.loss_of("qa", logits, spans) == pytest.approx(right)
    tags = torch.tensor([[0, -100], [-100, 1]])
    right = F.cross_entropy(torch.stack([logits[0, 0], logits[1, 1]]), torch.tensor([0, 1]))
    assert plain.loss_of("ner", logits[:2, :2], tags) == pytest.approx(right)


def test_the_plain_side_trains_everything_and_answers_everything(checkpoint):
    question = {"question": "Who?", "context": "Em plays."}
    learned = question | {"answers": [{"text": "Em", "start": 0}]}
    model, budget = plain_model(checkpoint, [SENTENCE] * 9, [learned] * 5)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    steps = []
    model.register_forward_pre_hook(lambda _, arguments: steps.append(arguments[0]))
    plain.train(model, budget)
    # In turn; as many rounds as the sentences have batches: the questions begin anew.
    assert steps == ["ner", "qa"] * 3
    same = [name for name, weight in model.named_parameters() if weight.equal(before[name])]
    assert not [name for name in same if "embeddings" not in name]  # of absent tokens
    sentences, questions = budget["datasets"]
    sentences["test"], questions["test"] = [{"tokens": SENTENCE["tokens"]}] * 9, [question] * 5
    said = plain.predict(model, budget)
    assert [len(tags) for tags in said["ner"]] == [4] * 9
    assert len(said["qa"]) == 5
    assert all(0 <= start < end <= len("Em plays.") for start, end in said["qa"])
    json.dumps(said)


def test_our_side_trains_and_is_scored(options):
    result = benchmark.run_ours(TOGETHER, options)
    assert {"accuracy", "macro_f1"} <= result["scores"]["intent"].keys()
    assert "entity_f1" in result["scores"]["slots"]
    assert result["train_seconds"] > 0
    assert (result["train_examples"], result["test_examples"]) == (40, 9)
    budget = {"metrics": TOGETHER.metrics}
    lines = benchmark.table({"toy": {"budget": budget, "ours": result}}, benchmark.SIDES)
    header, _, *rows = lines.splitlines()
    assert header.split()[:4] == ["dataset", "metric", "ours", "peer"]
    assert [row.split()[1:3] for row in rows] == [["intent", "accuracy"], ["slots", "entity_f1"]]


PEER = """
import json, os
from runner import run

def train(model, budget):
    print("what a peer says")

def predict(model, budget):
    assert "PYTHONPATH" not in os.environ and os.environ["OMP_NUM_THREADS"] == budget["threads"]
    return json.loads({answers!r})

run(lambda budget: budget.setdefault("threads", {threads!r}), train, predict)
"""


@pytest.fixture
def script(tmp_path, options, monkeypatch):
    """A peer that knows the answers; a function that replaces what it does."""
    source = (benchmark.SCRIPTS / "runner.py").read_text()
    (tmp_path / "runner.py").write_text(source)
    answers = json.dumps(said_by_heart(benchmark.tasks_of(TOGETHER, options)))
    own = tmp_path / "run_flair.py"
    own.write_text(PEER.format(answers=answers, threads=str(options.threads)))
    monkeypatch.setattr(benchmark, "SCRIPTS", tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    return own


def test_a_peer_runs_in_a_process_of_its_own(script, options, capfd):
    result = benchmark.run_peer(Path(sys.executable), TOGETHER, options)
    assert result["scores"]["intent"]["accuracy"] == 1.0
    assert result["scores"]["slots"]["entity_f1"] == 1.0
    assert result["predict_seconds"] > 0
    assert 1 < result["peak_mb"] < 200  # its own, without torch
    said = capfd.readouterr()
    assert not said.out  # nothing but the table goes there
    assert "what a peer says" in said.err


def test_a_peer_that_fails_is_unavailable(script, options, capfd):
    script.write_text("raise SystemExit('no more memory')")
    with pytest.raises(UnavailableError, match=r"run_flair\.py failed"):
        benchmark.run_peer(Path(sys.executable), TOGETHER, options)
    assert "no more memory" in capfd.readouterr().err


def test_an_environment_is_made_once(tmp_path, monkeypatch):
    commands = []

    def command(arguments):
        commands.append([str(argument) for argument in arguments])
        (tmp_path / "peer").mkdir(exist_ok=True)

    monkeypatch.setattr(environments, "command", command)
    python = environments.interpreter(tmp_path / "peer", ["one==1", "two==2"])
    assert python == tmp_path / "peer" / "bin" / "python"
    make, install = commands
    assert make[1:3] == ["-m", "venv"]
    assert install[:4] == [str(python), "-m", "pip", "install"]
    assert install[-2:] == ["one==1", "two==2"]
    assert environments.interpreter(tmp_path / "peer", ["one==1", "two==2"]) == python
    assert len(commands) == 2
    environments.interpreter(tmp_path / "peer", ["one==1", "two==3"])  # another version
    assert len(commands) == 4


def test_half_an_environment_is_made_anew(tmp_path, monkeypatch):
    def command(arguments):
        (tmp_path / "peer").mkdir(exist_ok=True)
        if "pip" in arguments:
            raise UnavailableError("no such version")

    monkeypatch.setattr(environments, "command", command)
    for _ in range(2):
        with pytest.raises(UnavailableError, match="no such version"):
            environments.interpreter(tmp_path / "peer", ["one==1"])


def test_the_reason_of_a_failure_is_its_last_line():
    says = "import sys; sys.exit('at first this\\nERROR: No matching distribution\\n')"
    with pytest.raises(UnavailableError) as caught:
        environments.command([sys.executable, "-c", says])
    assert str(caught.value) == "ERROR: No matching distribution"
    with pytest.raises(UnavailableError, match="no-such-program"):
        environments.command(["no-such-program"])


def run_main(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["peers.py", *map(str, arguments)])
    benchmark.main()


def test_data_that_is_not_there_is_skipped(tmp_path, capsys, monkeypatch):
    run_main(monkeypatch, "bert", tmp_path)
    said = capsys.readouterr()
    assert said.err.count("is skipped: there is no") == len(COMPARISONS)
    assert not said.out


def test_peers_that_cannot_be_had_are_skipped_and_the_others_written(tmp_path, capsys, monkeypatch):
    def interpreter(folder, requirements):
        if folder.name == "flair":
            raise UnavailableError("ERROR: No matching distribution")
        return folder

    def run_peer(python, comparison, options):
        if comparison.peer == "sentence_transformers":
            raise UnavailableError("run_sentence_transformers.py failed")
        return side(0.25)

    def side(accuracy):
        scores = {"intent": {"accuracy": accuracy, "macro_f1": 0.1}, "slots": {"entity_f1": 0.2}}
        return {"scores": scores, "train_seconds": 3, "predict_seconds": 1, "peak_mb": 700}

    monkeypatch.setattr(benchmark, "interpreter", interpreter)
    monkeypatch.setattr(benchmark, "run_peer", run_peer)
    monkeypatch.setattr(benchmark, "in_its_own_process", lambda *_: side(0.75))
    for folder in ("snips", "stsb"):
        (tmp_path / folder).mkdir()
    output = tmp_path / "results.json"
    run_main(monkeypatch, "bert", tmp_path, "--output", output)
    said = capsys.readouterr()
    assert "snips-flair is skipped: ERROR: No matching distribution\n" in said.err
    assert "sentence-transformers is skipped: run_sentence_transformers.py failed\n" in said.err
    assert "ner-qa-plain is skipped: there is no" in said.err
    written = json.loads(output.read_text())
    assert [*written] == ["snips-spacy"]
    assert written["snips-spacy"]["requirements"] == [*REQUIREMENTS["spacy"]]
    first = said.out.splitlines()[2].split()
    assert first == ["snips-spacy", "intent", "accuracy", "0.750", "0.250", *"3311", "700", "700"]
