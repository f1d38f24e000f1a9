"""How long, and with how much memory, a model tags a very long text.

    python tests/benchmarks/long_text.py RUN [WORDS]

One text of 20,000, one of 40,000 and one of 80,000 words (or WORDS / 2, WORDS and 2 * WORDS) goes
through `mtl.predict`, each in a process of its own. Memory is the highest resident size beyond that
of the loaded model.
"""

import resource
import subprocess
import sys
import time

import mtl
from mtl.tables import format_table
from mtl.toy import ner_examples


def text_of(n_words: int) -> str:
    """So many words and marks of toy sentences."""
    words: list[str] = []
    sentences = ner_examples("train", 500)
    while len(words) < n_words:
        for sentence in sentences:
            words += sentence.tokens
    return " ".join(words[:n_words])


def most_memory() -> float:
    """The highest resident size so far, in MB."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / 2**20 if sys.platform == "darwin" else size / 2**10


def measure(run: str, n_words: int) -> None:
    model = mtl.MultiTaskModel.from_pretrained(run)
    mtl.predict(model, text_of(100), tasks="ner")
    text, before, started = text_of(n_words), most_memory(), time.perf_counter()
    prediction = mtl.predict(model, text, tasks="ner")["ner"]
    seconds = time.perf_counter() - started
    print(len(prediction.tags), seconds, most_memory() - before)


def main() -> None:
    run, n_words = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 40_000
    rows = []
    for n in (n_words // 2, n_words, 2 * n_words):
        command = [sys.executable, __file__, "--measure", run, str(n)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True)
        words, seconds, memory = map(float, printed.stdout.split())
        times = seconds / rows[-1][1] if rows else None
        rows.append([f"{words:,.0f} words", seconds, times, f"{memory:.0f} MB"])
    header = ["", "seconds", "times the one above", "memory over the model"]
    print(format_table(header, rows))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2], int(sys.argv[3]))
    else:
        main()
