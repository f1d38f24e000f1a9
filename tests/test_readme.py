"""README.md and docs/: their code runs as it stands, and README prints what it says."""

import re
import runpy
from pathlib import Path

import pytest
from checkpoints import write_checkpoint
from processes import Process

import mtl

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = ROOT / "docs"
TOUR = (DOCS / "python.md").read_text(encoding="utf-8")
PRETRAINED = (DOCS / "pretrained.md").read_text(encoding="utf-8")
CODE = r"```python\n(.*?)```"
LESS = {
    "practical7": [f"tasks.{task}.toy_train=40" for task in ("ner", "qa")],
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
    less = "train.epochs=1"
    monkeypatch.setattr(mtl, "load_recipe", lambda name: load(name, [*LESS[name], less]))
    monkeypatch.setattr(mtl, "toy_dataset", lambda kind, n: toy(kind, 40, 10, 10))
    monkeypatch.chdir(tmp_path)

    def run(blocks):
        names = {}
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


def run_script(script):
    runpy.run_path(str(script))


@pytest.mark.slow
def test_readme_shows_what_its_lines_print(tmp_path):
    code, shown = re.search(CODE + r"\s+```text\n(.*?)```", README, re.DOTALL).groups()
    script = tmp_path / "lines.py"
    script.write_text(code, encoding="utf-8")
    status, out, err = Process(run_script, script, cwd=tmp_path).finish(timeout=600)
    assert status == 0, err
    score = r"\d\.\d\d"  # another machine may round the last digit otherwise
    assert re.sub(score, "", out) == re.sub(score, "", shown)
    pairs = zip(re.findall(score, out), re.findall(score, shown), strict=True)
    assert all(abs(float(got) - float(said)) < 0.05 for got, said in pairs)


def test_the_tour_runs_from_its_first_block_to_its_last(run_small, tmp_path):
    for name in ("train.jsonl", "validation.jsonl"):
        (tmp_path / name).write_text(RECORDS, encoding="utf-8")
    blocks = re.findall(CODE, TOUR, re.DOTALL)
    assert len(blocks) == 3
    names = run_small(blocks)
    assert set(names["model"].tasks) == {"embedding", "topic", "ner", "mood"}
    assert Path("losses.png").exists()


def test_the_lines_about_a_pretrained_encoder_run(run_small, tmp_path):
    pytest.importorskip("transformers")
    write_checkpoint(tmp_path / "checkpoints" / "distilbert-base-cased", "DistilBertModel")
    for name in ("train.txt", "valid.txt"):
        (tmp_path / name).write_text("Ann\tB-PER\nleft\tO\n", encoding="utf-8")
    run_small(re.findall(CODE, PRETRAINED, re.DOTALL))
    assert Path("for-others", "config.json").exists()
