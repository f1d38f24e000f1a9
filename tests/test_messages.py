"""Messages are log records: shown on stderr to those who have not set up logging, and only once."""

import logging
import sys

import pytest
from tqdm import tqdm

import mtl
from mtl.messages import LOGGER, shown

MESSAGE = "epoch 1  validation: ner entity_f1 0.500"
logger = logging.getLogger("mtl.training.loop")


@pytest.fixture
def train(build_model, sentences):
    """A function that trains for one epoch, and says so or not."""

    def call(progress):
        task = mtl.NERTask("ner", mtl.Dataset(train=sentences[:8], validation=sentences[8:12]))
        config = mtl.TrainConfig(epochs=1, device="cpu")
        mtl.train(build_model([task]), [task], config, progress=progress)

    return call


@pytest.fixture
def application(monkeypatch):
    """The lines of an application that listens to the root logger, at the level INFO."""
    lines = []

    class Collector(logging.Handler):
        def emit(self, record):
            lines.append((record.name, record.getMessage()))

    monkeypatch.setattr(logging.root, "handlers", [Collector()])
    level = logging.root.level
    logging.root.setLevel(logging.INFO)
    yield lines
    logging.root.setLevel(level)


def test_a_training_tells_those_who_set_up_nothing(train, capsys):
    train(progress=True)
    out, err = capsys.readouterr()
    lines = err.replace("\r", "\n").splitlines()
    assert out == ""
    assert sum(line.startswith("encoding 12 examples") for line in lines) == 1
    assert sum(line.startswith("cpu, ") and "an epoch is" in line for line in lines) == 1
    assert sum(line.startswith("epoch 1  validation: ner entity_f1") for line in lines) == 1


def test_an_application_gets_the_records_and_they_are_not_shown_twice(train, application, capsys):
    train(progress=True)
    names = [name for name, _ in application]
    assert names[0] == "mtl.training.preflight"
    assert "mtl.training.loop" in names
    assert any(line.startswith("epoch 1  validation:") for _, line in application)
    assert "epoch 1 " not in capsys.readouterr().err


def test_without_progress_nothing_is_said_to_anyone(train, application, capsys):
    train(progress=False)
    assert application == []
    assert capsys.readouterr() == ("", "")


def test_without_progress_nothing_is_shown(train, capsys):
    train(progress=False)
    assert capsys.readouterr() == ("", "")


def test_a_handler_of_the_package_is_the_applications(capsys):
    handler = logging.NullHandler()
    LOGGER.addHandler(handler)  # what libraries do; it takes nothing
    try:
        with shown(True):
            logger.info(MESSAGE)
        assert capsys.readouterr().err == f"{MESSAGE}\n"
        LOGGER.addHandler(own := logging.StreamHandler(sys.stdout))
        with shown(True):
            logger.info(MESSAGE)
        assert capsys.readouterr() == ("", "")  # its level is the application's too
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.removeHandler(own)


def test_an_application_can_silence_the_package(capsys):
    LOGGER.setLevel(logging.WARNING)
    try:
        with shown(True):
            logger.info(MESSAGE)
    finally:
        LOGGER.setLevel(logging.NOTSET)
    assert capsys.readouterr().err == ""


def test_handlers_that_are_for_warnings_do_not_hide_the_messages(application, capsys):
    """Some notebooks bring along a root handler; its logger's level is WARNING."""
    logging.root.setLevel(logging.WARNING)
    with shown(True):
        logger.info(MESSAGE)
    assert capsys.readouterr().err == f"{MESSAGE}\n"
    assert application == []


def test_a_part_without_progress_is_silent_within_a_whole_with_it(capsys):
    with shown(True):
        with shown(False):
            logger.info("of the part")
        with shown(True):
            logger.info("of the whole")
    assert capsys.readouterr().err == "of the whole\n"


def test_all_is_as_before_afterwards():
    def state():
        return list(LOGGER.handlers), LOGGER.level, LOGGER.propagate

    before = state()
    for progress in (True, False):
        with pytest.raises(ZeroDivisionError), shown(progress):
            raise ZeroDivisionError
        assert state() == before


def test_a_bar_is_not_torn(capsys):
    """The bar is wiped, the message has the line for itself, and the bar is drawn again below."""
    with shown(True), tqdm(total=10, mininterval=0, file=sys.stderr) as bar:
        bar.update()
        logger.info(MESSAGE)
    lines = capsys.readouterr().err.split("\n")
    at = next(i for i, line in enumerate(lines) if MESSAGE in line)
    assert lines[at].split("\r")[-1] == MESSAGE
    assert "1/10" in lines[at + 1]
