"""Draw the pictures of this folder from one training: python screenshots/make.py [RUN]

RUN is the folder of a run of practical7 with `--set train.conflict_every=75`; without it, one is
trained, which takes a few minutes. The description of each picture is printed, for its alt text.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from highlight import draw_highlights

import mtl
from mtl.reports.picture import Picture

HERE = Path(__file__).parent
TEXT = "Last year Zelda Fitzwilliam set up Moonbase in Reykjavik."
CONTEXT = "Zelda lives in Reykjavik. Zelda was born in Kingston. Rupert lives in Kampala."
QUESTION = "Where did Zelda grow up?"
NER_CODE = f'model.predict("{TEXT}")["ner"]'
QA_CODE = f"""context = "{CONTEXT}"
model.answer(question="{QUESTION}", context=context)"""
# Drawn by the run itself, and their names here.
OF_RUN = {"loss_curves.png": "loss_curves.png", "gradient_conflict.png": "conflict.png"}


def pictures(model: mtl.MultiTaskModel) -> Iterator[tuple[str, Picture]]:
    """Each picture that needs no training of its own, by name."""
    tagged = model.predict(TEXT)["ner"]
    answered = model.answer(question=QUESTION, context=CONTEXT)
    yield "highlights", draw_highlights([(NER_CODE, tagged), (QA_CODE, answered)])
    question = "Where is the home of Alice?"
    yield "forward_pass", mtl.plots.plot_forward_pass(model, "Alice lives in Oslo.", question)
    yield "architecture", mtl.plots.plot_architecture(model)
    yield "layer", mtl.plots.plot_layer(model.encoder.config)
    yield "rotary_positions", mtl.plots.plot_rotary_positions()
    summary, _ = mtl.experiments.summary.read_comparison()
    yield "comparison", mtl.plots.plot_comparison(summary)


def draw_all(run: Path) -> None:
    """Write every picture into this folder."""
    for name, here in OF_RUN.items():
        shutil.copy(run / name, HERE / here)
    for name, picture in pictures(mtl.MultiTaskModel.from_pretrained(run)):
        picture.savefig(HERE / f"{name}.png", dpi=120)
        print(f"{name}.png: {picture.alt}")


def main() -> None:
    if len(sys.argv) > 1:
        draw_all(Path(sys.argv[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "practical7"
        mtl.run_recipe(mtl.load_recipe("practical7", ["train.conflict_every=75"]), run)
        draw_all(run)


if __name__ == "__main__":
    main()
