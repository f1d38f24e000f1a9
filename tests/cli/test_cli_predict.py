"""mtl predict and mtl interactive."""

import json

import pytest
from cli_files import save_untrained
from processes import Process

import mtl
from mtl.cli.main import main

TEXT = "Ann Lee, of Łódź, met\u00a0Ünal (twice) in Oslo."


def test_predict_entities(mtl_, run):
    status, out, _ = mtl_("predict", run, "--task", "ner", "--text", TEXT, "--json")
    (line,) = out.splitlines()
    prediction = json.loads(line)
    model = mtl.MultiTaskModel.from_pretrained(run)
    assert status == 0
    assert prediction == mtl.predict(model, TEXT)["ner"].to_dict()
    assert prediction["text"] == TEXT
    assert prediction["entities"], "an untrained head should find something"
    for entity in prediction["entities"]:
        assert entity.keys() == {"entity_group", "score", "word", "start", "end"}
        assert TEXT[entity["start"] : entity["end"]] == entity["word"]
        assert 0 < entity["score"] <= 1


def test_predict_entities_for_people(mtl_, run):
    status, out, _ = mtl_("predict", run, "--text", TEXT)  # one task reads texts: it is the one
    model = mtl.MultiTaskModel.from_pretrained(run)
    assert status == 0
    assert out == f"task: ner\ninput: {TEXT}\nprediction: {mtl.predict(model, TEXT)['ner']}\n\n"
    assert "[" in out


def test_predict_an_answer(mtl_, run):
    context = "Ann Lee lives in Łódź. Bo met\u00a0her."
    arguments = ("predict", run, "--question", "Where does Ann live?", "--context", context)
    status, out, _ = mtl_(*arguments, "--task", "qa", "--json")
    prediction = json.loads(out)
    assert status == 0
    assert prediction.keys() == {"answer", "score", "start", "end"}
    assert context[prediction["start"] : prediction["end"]] == prediction["answer"] != ""
    assert 0 <= prediction["score"] <= 1
    assert mtl_(*arguments, "--json")[1] == out  # one task reads pairs: it is the one
    for_people = mtl_(*arguments)[1]
    assert "Where does Ann live?" in for_people
    assert f"[{prediction['answer']} answer]" in for_people


def test_predict_many_lines(mtl_, run, stdin):
    texts = ["Ann ran.", "  Bob met Ünal in Oslo.\t", "Eve"]
    stdin("\r\n".join(texts))
    status, out, _ = mtl_("predict", run, "--task", "ner", "--json")
    predictions = [json.loads(line) for line in out.splitlines()]
    model = mtl.MultiTaskModel.from_pretrained(run)
    assert status == 0
    assert [prediction["text"] for prediction in predictions] == texts
    for text, prediction in zip(texts, predictions, strict=True):
        alone = mtl.predict(model, text)["ner"].to_dict()
        assert [(e["word"], e["start"]) for e in prediction["entities"]] == [
            (e["word"], e["start"]) for e in alone["entities"]
        ]


def test_predict_with_a_batch_size(mtl_, run, stdin):
    stdin("Ann left .\nBob came back .\n")
    status, out, _ = mtl_("predict", run, "--task", "ner", "--json", "--batch-size", 1)
    assert (status, out.count("\n")) == (0, 2)
    arguments = ("--question", "Who ?", "--context", "Ann left .")
    status, out, err = mtl_("predict", run, *arguments, "--batch-size", 0)
    assert (status, out) == (2, "")
    assert "batch_size must be a whole number, at least 1" in err


def test_predict_many_questions(mtl_, run, stdin):
    pairs = [
        {"question": "Who ran?", "context": "Bob ran. Ann sat."},
        {"context": "Łódź is a town in Poland, where Ünal lives.", "question": "Who lives there?"},
        {"question": "Who?", "context": "Bob.", "id": "other keys do not matter"},
    ]
    stdin("".join(json.dumps(pair) + "\n" for pair in pairs))
    status, out, _ = mtl_("predict", run, "--task", "qa", "--json")
    answers = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    for pair, answer in zip(pairs, answers, strict=True):
        assert pair["context"][answer["start"] : answer["end"]] == answer["answer"]


def test_a_text_longer_than_the_positions_is_read_to_its_end(mtl_, run):
    long = "Ann met Bob in Oslo. " * 60
    model = mtl.MultiTaskModel.from_pretrained(run)
    assert len(model.tokenizer.encode(long)) > 4 * model.encoder.config.max_length
    status, out, _ = mtl_("predict", run, "--task", "ner", "--text", long, "--json")
    entities = json.loads(out)["entities"]
    assert status == 0
    assert all(long[e["start"] : e["end"]] == e["word"] for e in entities)
    assert max(e["end"] for e in entities) > len(long) / 2
    status, out, _ = mtl_("predict", run, "--question", "Who?", "--context", long, "--json")
    answer = json.loads(out)
    assert status == 0
    assert long[answer["start"] : answer["end"]] == answer["answer"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--text", ""],
        ["--text", " \t "],
        ["--question", "", "--context", "Bob ran."],
        ["--question", "Who ran?", "--context", "  "],
    ],
)
def test_predict_an_empty_text(mtl_, run, arguments):
    status, out, err = mtl_("predict", run, *arguments)
    assert (status, out) == (1, "")
    assert "empty" in err
    assert "give at least one word" in err


def test_predict_a_question_too_long_for_the_positions(mtl_, run):
    arguments = ("--question", "who " * 70, "--context", "Bob ran.")
    status, _, err = mtl_("predict", run, *arguments)
    assert status == 1
    assert "70 tokens" in err
    assert "64 tokens" in err
    assert "shorten the question" in err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--question", "Who?"], "--question and --context go together"),
        (["--context", "Bob ran."], "--question and --context go together"),
        (["--text-pair", "x"], "--text-pair goes with --text"),
        (["--text-pair", "x", "--question", "Who?", "--context", "Bob."], "not both"),
        (["--text", "x", "--text-pair", "y", "--data", "z"], "--text, or --data, not both"),
        (["--text", "x", "--text-pair", "y", "--words"], "for tasks that read single texts"),
        (["--text", "x", "--question", "Who?", "--context", "Bob."], "not both"),
        (["--task", "ner", "--question", "Who?", "--context", "Bob."], "'ner' reads a --text"),
        (["--task", "qa", "--text", "Bob ran."], "--question and --context"),
        (["--task", "tagger", "--text", "Bob ran."], "use one of ner, qa"),
    ],
)
def test_predict_wrong_usage(mtl_, run, arguments, word):
    status, out, err = mtl_("predict", run, *arguments)
    assert (status, out) == (2, "")
    assert word in err


def test_no_line_on_stdin(mtl_, run, stdin):
    for task, options in (("ner", "a --text"), ("qa", "--question and --context")):
        stdin("")
        status, out, err = mtl_("predict", run, "--task", task)
        assert (status, out) == (1, "")
        assert "stdin: there is no input" in err
        assert f"give {options}, or lines of input" in err


def test_empty_lines_on_stdin_are_left_out_and_counted(mtl_, run, stdin):
    stdin("Ann ran.\n\nBob ran.\n \t\nEve ran.\n")
    status, out, err = mtl_("predict", run, "--task", "ner", "--json")
    assert status == 0
    assert [json.loads(line)["text"] for line in out.splitlines()] == [
        "Ann ran.",
        "Bob ran.",
        "Eve ran.",
    ]
    assert "empty lines are left out: 2 (line 2, 4)" in err


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_good_lines_are_answered_and_every_bad_one_is_named(mtl_, run, stdin, on_error):
    good = '{"question": "Who ran?", "context": "Bob ran."}'
    bad = ["{nope", '["Who?", "Bob."]', '{"question": "Who?"}', '{"question": 1, "context": 2}']
    bad += ['{"question": "Who?", "context": "  "}', "[" * 100_000]
    bad.append(json.dumps({"question": "who " * 70, "context": "Bob."}))
    stdin("\n".join([good, *bad, good]))
    status, out, err = mtl_("predict", run, "--task", "qa", "--json", "--on-error", on_error)
    assert [json.loads(line)["answer"] != "" for line in out.splitlines()] == [True, True]
    if on_error == "skip":
        assert status == 0
        assert "lines left out: 7. The first: stdin:2: the line is not JSON" in err
        return
    assert status == 1
    for number in range(2, 9):
        assert f"stdin:{number}: " in err
    assert "stdin:1: " not in err
    assert "stdin:9: " not in err
    assert "7 problems in all" in err
    assert 'write {"question": "...", "context": "..."}' in err


def test_stdin_that_is_not_utf8(mtl_, run, stdin):
    stdin(b"Ann ran.\nM\xfcller ran.\nEve ran.\n")
    status, out, err = mtl_("predict", run, "--task", "ner", "--json")
    assert status == 1
    assert [json.loads(line)["text"] for line in out.splitlines()] == ["Ann ran.", "Eve ran."]
    assert "stdin:2: the input is not UTF-8" in err


def test_a_line_is_answered_before_the_next_is_there(run):
    """Whoever writes a line into the pipe may wait for its answer."""
    process = Process(main, ["predict", str(run), "--task", "ner", "--json"])
    for text in ("Ann ran.", "Bob met Eve."):
        process.stdin.write(f"{text}\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["text"] == text
    assert process.finish()[0] == 0


@pytest.mark.parametrize(
    "line", ["Ann-Lee met U.S. envoys", '["Ann-Lee", "met", "U.S.", "envoys"]', "[sic] Ann-Lee"]
)
def test_predict_words(mtl_, run, stdin, line):
    words = json.loads(line) if line.startswith('["') else line.split()
    expected = mtl.predict(mtl.MultiTaskModel.from_pretrained(run), [words])[0]["ner"].to_dict()
    stdin(line)
    status, out, _ = mtl_("predict", run, "--task", "ner", "--words", "--json")
    assert status == 0
    assert json.loads(out) == expected
    status, out, _ = mtl_("predict", run, "--words", "--text", " ".join(words), "--json")
    assert json.loads(out) == expected


def test_predict_a_file_with_a_word_per_line(mtl_, run, tmp_path):
    sentences = [["Ann-Lee", "met", "#tag"], ["U.S.", "envoys"]]
    path = tmp_path / "words.txt"
    path.write_text("\n\n".join("\n".join(words) for words in sentences))
    status, out, _ = mtl_("predict", run, "--task", "ner", "--data", path, "--json")
    model = mtl.MultiTaskModel.from_pretrained(run)
    expected = [p["ner"].to_dict() for p in mtl.predict(model, sentences, ["ner"])]
    assert (status, [json.loads(line) for line in out.splitlines()]) == (0, expected)
    assert mtl_("predict", run, "--task", "qa", "--data", path)[0] == 2


def test_a_byte_order_mark_on_stdin_is_no_text(mtl_, run, stdin):
    """Some shells put one before whatever they pipe."""
    stdin(b"\xef\xbb\xbfAnn ran.\n")
    status, out, _ = mtl_("predict", run, "--task", "ner", "--json")
    assert status == 0
    assert json.loads(out)["text"] == "Ann ran."
    stdin(b'\xef\xbb\xbf{"question": "Who ran?", "context": "Bob ran."}\n')
    assert mtl_("predict", run, "--task", "qa", "--json")[0] == 0


def test_a_question_line_too_long_for_the_positions_is_named(mtl_, run, stdin):
    pairs = [{"question": "Who?", "context": "Bob."}, {"question": "who " * 70, "context": "Bob."}]
    stdin("\n".join(map(json.dumps, pairs)))
    status, _, err = mtl_("predict", run, "--task", "qa")
    assert status == 1
    assert "70 tokens" in err
    assert "stdin:2: " in err


def test_half_a_character_on_stdin_is_a_fault_not_a_traceback(mtl_, run, stdin):
    """JSON may spell half of a surrogate pair, which no output encoding can write."""
    stdin('{"question": "Who?", "context": "Bob \\ud83d ran."}\n')
    status, out, err = mtl_("predict", run, "--task", "qa")
    assert (status, out) == (1, "")
    assert "stdin:1: " in err


# --- mtl predict, with a model of many tasks ------------------------------------------------------

SENTENCE = "John lives in New York."


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """The folder of an untrained model with a task of every kind, and two of one kind."""
    tasks = [
        mtl.ClassificationTask("topic", labels=["sports", "politics"]),
        mtl.ClassificationTask("mood", labels=["glad", "sad", "angry"]),
        mtl.NERTask("ner", types=["PER", "LOC"]),
        mtl.EmbeddingTask("vectors", width=4),
        mtl.QATask("qa"),
    ]
    return save_untrained(tmp_path_factory.mktemp("many") / "model", tasks)


def test_predict_says_task_input_and_prediction(mtl_, staged_run):
    """By kind, as only one task has it; its own name comes first."""
    text = ("--text", SENTENCE)
    prediction = mtl.predict(mtl.MultiTaskModel.from_pretrained(staged_run), SENTENCE)
    status, out, err = mtl_("predict", staged_run, "--task", "classification", *text)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[:2] == ["task: topic (classification)", f"input: {SENTENCE}"]
    assert lines[2].startswith(f"prediction: {prediction['topic'].label} ")
    assert f"{prediction['topic'].score:.2f}" in lines[2]
    assert lines[3:] == [""]
    out = mtl_("predict", staged_run, "--task", "ner", *text)[1]
    assert out.startswith(f"task: tags (ner)\ninput: {SENTENCE}\nprediction: ")
    rows = [line.split() for line in out.splitlines()[3:-1]]
    assert [row[0] for row in rows] == ["John", "lives", "in", "New", "York", "."]
    assert [row[1] for row in rows] == prediction["tags"].tags
    out = mtl_("predict", staged_run, "--task", "embedding", *text)[1]
    assert out.startswith(f"task: embedding\ninput: {SENTENCE}\nprediction: [")


def test_predict_a_class_and_a_vector_as_json(mtl_, many):
    text = ("--text", SENTENCE, "--json")
    topic = json.loads(mtl_("predict", many, "--task", "topic", *text)[1])
    assert topic.keys() == {"label", "score", "scores"}
    assert topic["scores"].keys() == {"sports", "politics"}
    assert sum(topic["scores"].values()) == pytest.approx(1)
    assert topic["score"] == max(topic["scores"].values()) == topic["scores"][topic["label"]]
    vector = json.loads(mtl_("predict", many, "--task", "embedding", *text)[1])
    assert (vector["text"], len(vector["embedding"])) == (SENTENCE, 4)
    assert sum(x * x for x in vector["embedding"]) == pytest.approx(1, rel=1e-4)


def test_predict_all_tasks_in_one_pass(mtl_, many, monkeypatch):
    passes = []
    forward = mtl.TransformerEncoder.forward

    def counted(encoder, *arguments):
        passes.append(1)
        return forward(encoder, *arguments)

    monkeypatch.setattr(mtl.TransformerEncoder, "forward", counted)
    status, out, _ = mtl_("predict", many, "--task", "all", "--text", SENTENCE, "--json")
    (line,) = out.splitlines()
    assert (status, len(passes)) == (0, 1)
    assert list(json.loads(line)) == ["topic", "mood", "ner", "vectors"]  # what reads single texts
    for name, prediction in json.loads(line).items():
        alone = mtl_("predict", many, "--task", name, "--text", SENTENCE, "--json")[1]
        assert json.loads(alone) == prediction
    out = mtl_("predict", many, "--task", "all", "--text", SENTENCE)[1]
    tasks = [line for line in out.splitlines() if line.startswith("task: ")]
    kinds = ["topic (classification)", "mood (classification)", "ner", "vectors (embedding)"]
    assert tasks == [f"task: {kind}" for kind in kinds]
    assert out.count(f"input: {SENTENCE}\n") == 4


def test_predict_all_tasks_that_read_a_question(mtl_, many):
    question = ("--question", "Who lives there?", "--context", SENTENCE)
    status, out, _ = mtl_("predict", many, "--task", "all", *question, "--json")
    assert (status, json.loads(out).keys()) == (0, {"qa"})
    assert json.loads(out)["qa"]["answer"] in SENTENCE
    out = mtl_("predict", many, *question)[1]
    assert out.startswith(f"task: qa\ninput: Who lives there? | {SENTENCE}\nprediction: ")


@pytest.fixture(scope="module")
def only_questions(tmp_path_factory):
    """The folder of an untrained model with two tasks, both of which read questions."""
    tasks = [mtl.QATask("short", max_answer_tokens=1), mtl.QATask("long")]
    return save_untrained(tmp_path_factory.mktemp("questions") / "model", tasks)


def test_predict_all_of_several_tasks_that_read_a_question(mtl_, only_questions):
    question = ("--question", "Who lives there?", "--context", SENTENCE, "--json")
    status, out, _ = mtl_("predict", only_questions, "--task", "all", *question)
    assert status == 0
    together = json.loads(out)
    assert list(together) == ["short", "long"]
    for name, prediction in together.items():
        alone = mtl_("predict", only_questions, "--task", name, *question)[1]
        assert json.loads(alone) == prediction


def test_predict_all_where_no_task_reads_single_texts(mtl_, only_questions):
    status, out, err = mtl_("predict", only_questions, "--task", "all", "--text", SENTENCE)
    assert (status, out) == (2, "")
    assert "no task of the model reads a single text" in err
    assert "--question and --context" in err


@pytest.mark.parametrize("json_", [[], ["--json"]])
def test_predict_all_tasks_for_several_lines(mtl_, many, stdin, json_):
    texts = ["Bob ran.", SENTENCE, "Eve"]
    stdin("\n".join(texts))
    status, out, _ = mtl_("predict", many, "--task", "all", *json_)
    assert status == 0
    if json_:
        found = [json.loads(line) for line in out.splitlines()]
        assert [prediction["ner"]["text"] for prediction in found] == texts
        assert [prediction["vectors"]["text"] for prediction in found] == texts
    else:
        inputs = [line for line in out.splitlines() if line.startswith("input: ")]
        assert inputs == [f"input: {text}" for text in texts for _ in range(4)]


def test_predict_a_kind_that_several_tasks_have(mtl_, many):
    status, out, err = mtl_("predict", many, "--task", "classification", "--text", SENTENCE)
    assert (status, out) == (2, "")
    assert "several tasks are of this kind" in err
    assert "'classification'" in err
    assert "mood" in err
    assert "topic" in err


def test_predict_without_a_task_where_several_would_do(mtl_, many):
    status, out, err = mtl_("predict", many, "--text", SENTENCE)
    assert (status, out) == (2, "")
    assert "which task?" in err
    assert "topic, mood, ner, vectors, qa, all" in err


QUESTION = ("--task", "qa", "--question", "Who lives there?", "--context", SENTENCE)


def test_predict_the_best_answers(mtl_, many):
    model = mtl.MultiTaskModel.from_pretrained(many)
    best = mtl.answer(model, "Who lives there?", SENTENCE, n=3)
    status, out, err = mtl_("predict", many, *QUESTION, "--top", 3)
    assert (status, err) == (0, "")
    assert out.startswith(mtl_("predict", many, *QUESTION)[1].rstrip())
    ranks = [line for line in out.splitlines() if line.split(".")[0] in ("1", "2", "3")]
    for line, prediction in zip(ranks, best, strict=True):
        assert prediction.answer in line
        assert f"{prediction.score:.2f}" in line
    found = json.loads(mtl_("predict", many, *QUESTION, "--top", 3, "--json")[1])
    assert found.pop("alternatives") == [p.to_dict() for p in best[1:]]
    assert found == best[0].to_dict()
    assert found == json.loads(mtl_("predict", many, *QUESTION, "--json")[1])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([*QUESTION, "--top", 0], "must be from 1"),
        ([*QUESTION, "--top", -3], "must be from 1"),
        (["--task", "ner", "--text", SENTENCE, "--top", 2], "--top goes with a question"),
    ],
)
def test_predict_a_top_that_cannot_be(mtl_, many, arguments, words):
    status, out, err = mtl_("predict", many, *arguments)
    assert (status, out) == (2, "")
    assert words in err


# --- texts and pairs on stdin ---------------------------------------------------------------------

PAIR = {"question": "Who lives there?", "context": SENTENCE}


@pytest.mark.parametrize("task", [[], ["--task", "all"]])
def test_lines_of_texts_and_pairs_go_to_the_tasks_that_read_them(mtl_, run, stdin, task):
    """The model has one task of either kind: what a line holds says which of them is meant."""
    renamed = {"sentence1": PAIR["question"], "sentence2": PAIR["context"]}
    lines = [SENTENCE, json.dumps(PAIR), '"Ann ran."', json.dumps(renamed), "[1]"]
    stdin("\n".join(lines))
    status, out, _ = mtl_("predict", run, *task, "--json")
    model = mtl.MultiTaskModel.from_pretrained(run)
    found = mtl.predict(model, [SENTENCE, PAIR, '"Ann ran."', renamed, "[1]"])
    expected = [p.to_dict() for p in found]
    if not task:
        expected = [prediction for p in expected for prediction in p.values()]
    assert status == 0
    assert [json.loads(line) for line in out.splitlines()] == expected


@pytest.mark.parametrize("task", [[], ["--task", "all"]])
def test_a_broken_pair_among_texts_is_not_answered_as_a_text(mtl_, run, stdin, task):
    stdin(f"{json.dumps(PAIR)[:-1]}\n{SENTENCE}\n")
    status, out, err = mtl_("predict", run, *task, "--json")
    assert (status, len(out.splitlines())) == (1, 1)
    assert "stdin:1: the line is not JSON" in err


def test_a_json_object_is_no_text(mtl_, run, stdin):
    """Somebody gives JSONL to a task that reads plain lines; a text may well begin with a brace."""
    stdin('{"text": "Ann ran."}\n{Ann} ran.\n[1]\n')
    status, out, err = mtl_("predict", run, "--task", "ner", "--json")
    assert [json.loads(line)["text"] for line in out.splitlines()] == ["{Ann} ran.", "[1]"]
    assert status == 1
    assert "stdin:1: the line is a JSON object" in err


def test_words_and_pairs_on_stdin(mtl_, run, stdin):
    stdin(f'["Ann-Lee", "ran"]\n{json.dumps(PAIR)}\nAnn-Lee ran\n')
    status, out, _ = mtl_("predict", run, "--task", "all", "--words", "--json")
    one, two, three = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert list(two) == ["qa"]
    assert one == three
    model = mtl.MultiTaskModel.from_pretrained(run)
    assert one == mtl.predict(model, [["Ann-Lee", "ran"]])[0].to_dict()


def test_a_pair_without_known_names_on_stdin(mtl_, run, stdin):
    stdin(f'{{"Q": "Who?", "A": "Ann"}}\n{SENTENCE}\n')
    status, out, err = mtl_("predict", run, "--task", "all", "--json")
    assert status == 1
    assert len(out.splitlines()) == 1
    assert "stdin:1: the pair does not hold two texts under known names" in err
    assert "question and context" in err


def test_the_best_answers_to_pairs_among_texts(mtl_, run, stdin):
    stdin(f"{SENTENCE}\n{json.dumps(PAIR)}\n")
    status, out, _ = mtl_("predict", run, "--task", "all", "--top", 2, "--json")
    text, pair = map(json.loads, out.splitlines())
    assert status == 0
    assert "alternatives" not in text["ner"]
    assert len(pair["qa"]["alternatives"]) == 1


def test_a_question_may_also_be_given_as_two_texts(mtl_, run):
    question = mtl_("predict", run, "--question", "Who?", "--context", SENTENCE, "--json")
    assert mtl_("predict", run, "--text", "Who?", "--text-pair", SENTENCE, "--json") == question


# --- mtl interactive ----------------------------------------------------------------------------


def test_interactive_reads_a_pipe_to_its_end(many):
    """In a process of its own, as only there `input` reads what is piped."""
    typed = f"9\n3\n{SENTENCE}\n5\nWho lives there?\n{SENTENCE}\n3\n"
    status, out, err = Process(main, ["interactive", str(many)]).finish(typed)
    assert (status, err) == (0, "")
    model = mtl.MultiTaskModel.from_pretrained(many)
    assert "there is no such choice" in out
    assert str(mtl.predict(model, SENTENCE, ["ner"])) in out
    assert str(mtl.answer(model, "Who lives there?", SENTENCE)) in out


def test_interactive_input_that_is_not_utf_8(mtl_, many, stdin):
    stdin(b"3\n\xff\n")
    status, _, err = mtl_("interactive", many)
    assert status == 1
    assert "the input is not UTF-8" in err
