"""README.md and docs/: their code runs as it stands, and README prints what it says."""

import re
from pathlib import Path

import pytest
from checkpoints import write_checkpoint

import mtl

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = ROOT / "docs"
TOUR = (DOCS / "python.md").read_text(encoding="utf-8")
DATA = (DOCS / "data.md").read_text(encoding="utf-8")
PRETRAINED = (DOCS / "pretrained.md").read_text(encoding="utf-8")
CODE = r"```python\n(.*?)```"
SIZES = ("toy_train", "toy_held_out")
LESS = {
    "practical7": [f"tasks.{t}.{key}=20" for t in ("ner", "qa") for key in SIZES],
    "sentence-embeddings": ["tasks.embedding.toy_train=40", "datasets.news.toy_train=40"],
}
RECORDS = """\
{"text": "a warm film", "label": "good"}
{"text": "a dull film", "label": "bad"}
"""


@pytest.fixture
def run_small(tmp_path, monkeypatch):
    """A function that runs blocks of code one after the other, on less data and for one epoch."""
    load, toy = mtl.load_recipe, mtl.toy_dataset

    def load_less(name, settings=()):
        return load(name, [*settings, *LESS[name], "train.epochs=1"])

    monkeypatch.setattr(mtl, "load_recipe", load_less)
    monkeypatch.setattr(mtl, "toy_dataset", lambda kind, n: toy(kind, 40, 10, 10))
    monkeypatch.chdir(tmp_path)

    def run(blocks, **names):
        for block in blocks:
            exec(block, names)
        return names

    return run


def test_readme_is_a_front_page():
    assert 8_000 <= len(README.encode()) <= 12_000


def test_the_lines_of_readme_run(run_small, capsys):
    (block,) = re.findall(CODE, README, re.DOTALL)
    assert len(block.strip().splitlines()) <= 12
    run_small([block])
    assert "Where is the home of Zelda?" in capsys.readouterr().out
    assert Path("my-model", "model.safetensors").exists()


def test_the_tour_runs_from_its_first_block_to_its_last(run_small, tmp_path):
    for name in ("train.jsonl", "validation.jsonl"):
        (tmp_path / name).write_text(RECORDS, encoding="utf-8")
    blocks = re.findall(CODE, TOUR, re.DOTALL)
    assert len(blocks) == 5
    names = run_small(blocks[:3])
    assert set(names["model"].tasks) == {"embedding", "topic", "ner", "mood"}
    assert Path("losses.png").exists()
    run_small(blocks[4:])  # its last line is an assertion: see also test_batches.py


def test_the_lines_about_a_pretrained_encoder_run(run_small, tmp_path):
    pytest.importorskip("transformers")
    write_checkpoint(tmp_path / "checkpoints" / "distilbert-base-cased", "DistilBertModel")
    for name in ("train.txt", "valid.txt"):
        (tmp_path / name).write_text("Ann\tB-PER\nleft\tO\n", encoding="utf-8")
    run_small(re.findall(CODE, PRETRAINED, re.DOTALL))
    assert Path("for-others", "config.json").exists()


@pytest.fixture
def model(build_model):
    """One that learns moods."""
    records = [{"text": label, "label": label} for label in ("good", "bad")]
    return build_model([mtl.ClassificationTask("mood", mtl.Dataset(train=records))])


def test_the_lines_about_tensorboard_run(run_small, model):
    pytest.importorskip("tensorboard")
    block = re.findall(CODE, TOUR, re.DOTALL)[3]
    run_small([block], mtl=mtl, model=model, config={"epochs": 1})
    assert list(Path("board").iterdir())


def test_the_lines_about_data_run(run_small, model):
    names = run_small(re.findall(CODE, DATA, re.DOTALL), mtl=mtl, model=model)
    assert names["task"].labels == ["bad", "good"]
