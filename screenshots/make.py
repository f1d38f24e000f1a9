"""Make the pictures of this folder from one real run: python screenshots/make.py [RUN]

Each terminal picture shows what the command in its first line really printed. RUN is the folder of
a run with pretrained weights, for the pictures of `validate` and `interactive`; without it these
stay as they are.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt

import mtl
from mtl.cli.interactive import interact

HERE = Path(__file__).parent
COLUMNS = 100
BACKGROUND, FOREGROUND, PROMPT = "#1e1e2e", "#e6e6e6", "#a6e3a1"


def run_mtl(*arguments: str, status: int = 0) -> tuple[str, str]:
    """Stdout and stderr of one `mtl` command that ends with `status`."""
    command = [sys.executable, "-m", "mtl", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != status:
        raise SystemExit(f"{command} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout, done.stderr


def show_command(*arguments: str) -> str:
    """The command as one types it."""
    return "mtl " + " ".join(f'"{a}"' if " " in a else a for a in arguments)


def draw_terminal(name: str, command: str, output: str) -> None:
    """Write `name`.png: a prompt with the command, and what it printed."""
    lines = [f"$ {command}", *output.rstrip().splitlines()]
    wrapped = [
        part
        for line in lines
        for part in textwrap.wrap(line, COLUMNS, drop_whitespace=False, subsequent_indent="    ")
        or [""]
    ]
    prompt_lines = len(textwrap.wrap(lines[0], COLUMNS, subsequent_indent="    "))
    height = 0.22 * len(wrapped) + 0.4
    figure = plt.figure(figsize=(COLUMNS * 0.088 + 0.4, height), facecolor=BACKGROUND)
    for i, line in enumerate(wrapped):
        y = 1 - (0.2 + 0.22 * (i + 0.5)) / height
        colour = PROMPT if i < prompt_lines else FOREGROUND
        figure.text(
            0.02,
            y,
            line.replace("$", r"\$"),
            family="monospace",
            fontsize=10,
            color=colour,
            va="center",
        )
    figure.savefig(HERE / f"{name}.png", dpi=110, facecolor=BACKGROUND)
    plt.close(figure)


def progress_lines(stderr: str) -> str:
    """What the terminal shows in the middle of training: set-up, some epochs, the bar."""
    lines = [line.strip() for line in re.split(r"[\r\n]", stderr) if line.strip()]
    bars = [i for i, line in enumerate(lines) if "round/s" in line]
    middle = bars[len(bars) * 2 // 3]
    text = [line for line in lines[:middle] if "round/s" not in line and "?round" not in line]
    return "\n".join([*text, lines[middle]])


def first_wrong_answer(model: mtl.MultiTaskModel) -> mtl.QAExample:
    """The first hand-made question that the model answers wrongly."""
    for example in mtl.toy.handmade_qa():
        said = mtl.answer(model, example.question, example.context).answer
        if not mtl.exact_match(said, [answer.text for answer in example.answers]):
            return example
    raise SystemExit("the model answers every hand-made question: choose harder ones")


def draw_sentence_tasks(folder: str) -> None:
    """A recipe with a class and tags, all its heads at once, and a file with faults."""
    run, shown = str(Path(folder) / "news"), "runs/news-ner/1"
    run_mtl("train", "news-ner", "--output", run)
    shutil.copy(Path(run) / "loss_curves.png", HERE / "loss_curves_news.png")
    text = "The minister Zelda Fitzwilliam won a vote in Reykjavik on 12 March."
    command = ("predict", run, "--task", "all", "--text", text)
    draw_terminal("all", show_command(*command).replace(run, shown), run_mtl(*command)[0])
    command = ("evaluate", run)
    draw_terminal("confusion", show_command(*command).replace(run, shown), run_mtl(*command)[0])
    path = Path(folder) / "my.jsonl"
    lines = [
        {"sentence": "Ann sang in Oslo.", "label": "art", "ner_tags": ["B-PER", "O", "O", "B-LOC"]},
        {"sentence": "John lives in New York.", "ner_tags": ["B-PER", "O", "O", "B-LOC"]},
        {"sentence": "A storm moved on.", "label": 3},
        {"sentence": "Bob paints.", "label": "art"},
    ]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    output, _ = run_mtl("check", str(path), status=1)
    draw_terminal("check", "mtl check my.jsonl", output.replace(str(path), "my.jsonl"))


def draw_balance(folder: str) -> None:
    """How the tasks' gradients lie to each other, and what sharing changed."""
    run = Path(folder) / "conflict"
    settings = ("train.sampling=joint", "train.conflict_every=20", "train.epochs=2")
    run_mtl("train", "practical7", "--output", str(run), "--set", *settings)
    shutil.copy(run / "gradient_conflict.png", HERE / "conflict.png")
    mtl.plots.plot_comparison(mtl.experiments.summary.read_comparison()[0]).savefig(
        HERE / "sharing.png", dpi=110
    )


def draw_pretrained(run: str) -> None:
    """The well-known facts, and the menu with what somebody typed."""
    shown = "runs/conll-squad/1"
    draw_terminal("validation", f"mtl validate {shown}", run_mtl("validate", run)[0])
    context = "The bridge was built by John Roebling between 1869 and 1883 in New York."
    sentence = "Angela Merkel met Barack Obama in Berlin."
    questions = ["2", "Who built the bridge?", context, "2", "When was the bridge built?", ""]
    typed = iter(["1", sentence, *questions, "q"])
    printed: list[str] = []

    def read(prompt: str) -> str:
        line = next(typed)
        printed.append(f"{prompt}{line}")
        return line

    interact(mtl.MultiTaskModel.from_pretrained(run), read, printed.append)
    draw_terminal("interactive", f"mtl interactive {shown}", "\n".join(printed))


def main() -> None:
    if len(sys.argv) > 1:
        draw_pretrained(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        train = ("train", "practical7", "--output", "runs/practical7/1")
        run = str(Path(folder) / "1")
        stdout, stderr = run_mtl(*train[:-1], run)
        stdout = stdout.replace(run, train[-1])
        draw_terminal("training", show_command(*train), progress_lines(stderr))
        draw_terminal("summary", show_command(*train), stdout)
        shutil.copy(Path(run) / "loss_curves.png", HERE / "loss_curves.png")
        model = mtl.MultiTaskModel.from_pretrained(run)
        mtl.plots.plot_architecture(model).savefig(HERE / "architecture.png", dpi=110)
        wrong = first_wrong_answer(model)
        context = "Zelda lives in Reykjavik. Zelda was born in Kingston. Rupert lives in Kampala."
        text = "Last year Zelda Fitzwilliam set up Moonbase in Reykjavik."
        question = ("--question", "Where is the home of Zelda?", "--context", context)
        pictures = {
            "evaluation": ("evaluate", run),
            "ner": ("predict", run, "--task", "ner", "--text", text),
            "qa": ("predict", run, "--task", "qa", *question),
            "wrong": (
                "predict",
                run,
                "--task",
                "qa",
                "--question",
                wrong.question,
                "--context",
                wrong.context,
            ),
        }
        for name, arguments in pictures.items():
            shown = show_command(*arguments).replace(run, train[-1])
            output, _ = run_mtl(*arguments)
            if name == "wrong":
                output += f"\n# the right answer would be: {wrong.answers[0].text}"
            draw_terminal(name, shown, output)
        draw_sentence_tasks(folder)
        draw_balance(folder)


if __name__ == "__main__":
    main()
