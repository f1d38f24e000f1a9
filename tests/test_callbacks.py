"""What is called during a training, and the curves that are written for TensorBoard then."""

import sys
from itertools import pairwise

import pytest
import recipes
import small_training
from small_training import FAST, TYPES

import mtl
from mtl.errors import ConfigError
from mtl.experiments.run import run_recipe
from mtl.training import TensorBoard
from mtl.training.loop import train

# pytest looks for a fixture by its name in this module.
tasks = small_training.tasks
shared = recipes.shared
staged = recipes.staged
write = recipes.write


@pytest.fixture
def validated(sentences):
    """A task of 2 batches, with validation data."""
    data = mtl.Dataset(train=sentences[:16], validation=sentences[16:20])
    return [mtl.NERTask("ner", data, types=TYPES)]


def curves(folder):
    """The points (step, value) of each curve that TensorBoard would draw of a folder."""
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reading.EventAccumulator(str(folder)).Reload()
    names = events.Tags()["scalars"]
    return {
        name: [(e.step, pytest.approx(e.value)) for e in events.Scalars(name)] for name in names
    }


def test_each_round_is_told_and_each_epoch_after_its_validation(build_model, validated):
    told = []

    def note(what):
        return lambda history: told.append((what, len(history.rounds), len(history.validation)))

    calls = {"on_round": note("round"), "on_epoch": note("epoch")}
    history = train(build_model(validated), config=FAST, **calls, progress=False)
    assert told == [
        *[("round", 1, 0), ("round", 2, 0), ("epoch", 2, 1)],
        *[("round", 3, 1), ("round", 4, 1), ("epoch", 4, 2)],
    ]
    assert history.rounds == train(build_model(validated), config=FAST, progress=False).rounds


@pytest.mark.parametrize("name", ["on_round", "on_epoch"])
@pytest.mark.parametrize("wrong", ["print", 3, [print], lambda: None, lambda history, more: None])
def test_what_cannot_be_called_with_a_history_is_refused_before_training(
    build_model, validated, name, wrong
):
    model = build_model(validated)
    before = small_training.weights_of(model)
    with pytest.raises(ConfigError, match=f"{name} cannot be called with the history alone"):
        train(model, config=FAST, **{name: wrong}, progress=False)
    assert small_training.same_weights(before, model.state_dict())


def test_an_error_of_a_callback_leaves_the_model_ready_for_use(build_model, validated):
    model = build_model(validated)
    with pytest.raises(ZeroDivisionError):
        train(model, config=FAST, on_round=lambda history: 1 / 0, progress=False)
    assert not model.training


def test_the_curves_are_the_history(build_model, validated, tmp_path):
    pytest.importorskip("tensorboard")
    with TensorBoard(tmp_path) as board:
        calls = {"on_round": board.on_round, "on_epoch": board.on_epoch}
        history = train(build_model(validated), config=FAST, **calls, progress=False)
    drawn = curves(tmp_path)
    steps = [r.step for r in history.rounds]
    assert drawn["loss/ner"] == list(zip(steps, history.losses("ner"), strict=True))
    assert drawn["loss/total"] == list(zip(steps, history.losses(), strict=True))
    assert drawn["grad_norm"] == [(r.step, r.grad_norm) for r in history.rounds]
    assert drawn["learning_rate"] == [(r.step, r.learning_rate) for r in history.rounds]
    assert drawn["weight/ner"] == [(step, 1.0) for step in steps]
    scores = [scores["ner"]["token_accuracy"] for scores in history.validation]
    assert drawn["validation/ner/token_accuracy"] == list(zip((2, 4), scores, strict=True))


def test_a_resumed_training_goes_on_with_its_curves(build_model, validated, tmp_path):
    pytest.importorskip("tensorboard")

    def run(stop_at=None):
        def on_round(history):
            board.on_round(history)
            if len(history.rounds) == stop_at:
                raise KeyboardInterrupt

        with TensorBoard(tmp_path / "board") as board:
            calls = {"on_round": on_round, "on_epoch": board.on_epoch}
            where = {"checkpoint": tmp_path / "state", "resume": True, "progress": False}
            return train(build_model(validated), config=FAST, **calls, **where)

    with pytest.raises(KeyboardInterrupt):
        run(stop_at=3)  # written to the board, and after the state of the first epoch
    history = run()
    drawn = curves(tmp_path / "board")["loss/ner"]
    assert drawn == [(r.step, r.losses["ner"]) for r in history.rounds]


def test_without_tensorboard_it_says_how_to_get_it(monkeypatch, tmp_path):
    # To `import`, a module that is None is not installed.
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match=r"needs the extra .*pip install tensorboard"):
        TensorBoard(tmp_path)
    recipe = mtl.load_recipe("practical7")
    with pytest.raises(ConfigError, match="pip install tensorboard"):  # before anything else
        run_recipe(recipe, tmp_path / "run", tensorboard=tmp_path / "board")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", ["file", "file/board"])
def test_a_folder_that_cannot_be_made_is_found_before_training(tmp_path, folder):
    pytest.importorskip("tensorboard")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="folder for TensorBoard cannot be made"):
        run_recipe(mtl.load_recipe("practical7"), tmp_path / "run", tensorboard=tmp_path / folder)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("no_curves")
def test_the_stages_of_a_recipe_have_a_folder_each(staged, tmp_path, mtl_):
    pytest.importorskip("tensorboard")
    board = tmp_path / "board"
    status, _, err = mtl_(
        "train", staged, "--output", tmp_path / "run", "--tensorboard", board, "--json"
    )
    assert status == 0, err
    drawn = [curves(board / stage) for stage in ("stage1", "stage2")]
    assert "loss/topic" in drawn[0]
    assert "loss/ner" not in drawn[0]
    assert "loss/ner" in drawn[1]
    for of_stage in drawn:
        assert all(one[0] < two[0] for one, two in pairwise(of_stage["loss/total"]))
