"""The recipe `intents`: from files of one's own to intent and slots.

That it learns toy commands is in tests/test_practical7.py: the notebook trains it.
"""

import json

import pytest

from mtl.cli.main import main
from mtl.model import MultiTaskModel
from mtl.toy.intents import intents

SMALL = ["train.epochs=1", "encoder.n_layers=1", "encoder.d_model=16", "encoder.d_ff=16"]


def write_parallel(folder, commands):
    """Files as SNIPS and ATIS have them."""
    folder.mkdir(parents=True)
    lines = {
        "seq.in": [" ".join(command.tokens) for command in commands],
        "seq.out": [" ".join(command.tags) for command in commands],
        "label": [command.label for command in commands],
    }
    for name, of_file in lines.items():
        (folder / name).write_text("".join(f"{line}\n" for line in of_file), encoding="utf-8")


@pytest.mark.usefixtures("no_curves")
def test_a_folder_of_ones_own_is_trained_tested_once_and_used(tmp_path, capsys):
    data, run = tmp_path / "data", tmp_path / "run"
    train, dev = intents("train", 100), intents("test", 30)
    write_parallel(data / "train", train)
    write_parallel(data / "dev", dev)
    given = ["--data", f"train={data}/train", f"test={data}/dev"]
    line = ["train", "intents", *given, "--output", str(run), "--json", "--set", *SMALL]
    assert main(line) == 0
    metrics = json.loads(capsys.readouterr().out)
    for split in ("validation", "test"):
        assert metrics[split]["intent"].keys() >= {"accuracy", "macro_f1"}
        assert metrics[split]["slots"].keys() >= {"entity_f1", "token_accuracy"}
    # The whole dev file is the test, and none of it is chosen on.
    predicted = (run / "intent_predictions.txt").read_text(encoding="utf-8").splitlines()
    assert [row.split("\t")[3] for row in predicted] == [command.text for command in dev]
    model = MultiTaskModel.from_pretrained(run)
    assert set(model.task("intent").labels) == {command.label for command in train}
    text = "Play Amber Valley"
    assert main(["predict", str(run), "--task", "all", "--text", text, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["intent"]["label"] in model.task("intent").labels
    assert [word["word"] for word in said["slots"]["words"]] == text.split()
