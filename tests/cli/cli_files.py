"""Files and folders that several tests of the command line make or read."""

from pathlib import Path

import mtl

MODEL_FILES = {"config.json", "model.safetensors", "whitespace_tokenizer.json"}
GOOD_SENTENCES = "".join(f"Bob{i}\tB-PER\nran\tO\n\n" for i in range(20))
NOT_UTF8 = GOOD_SENTENCES.encode() + b"M\xfcller\tB-PER\n"


def contents(folder):
    """Every file below a folder, byte for byte."""
    files = (path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def save_untrained(folder, tasks):
    tokenizer = mtl.WhitespaceTokenizer.train(["John lives in New York.", "Who lives there?"])
    config = mtl.EncoderConfig(len(tokenizer), d_model=8, n_heads=2, n_layers=1)
    mtl.MultiTaskModel(mtl.TransformerEncoder(config), tokenizer, tasks).save_pretrained(folder)
    return folder
