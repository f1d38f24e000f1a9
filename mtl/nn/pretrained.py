"""A Hugging Face checkpoint goes in; our encoder with its weights, and its tokenizer, come out.

No checkpoint is ever unpickled: weights are read from `model.safetensors` alone.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from os import PathLike
from pathlib import Path

import torch

from ..data.tokenizers.subwords import SubwordTokenizer
from ..data.tokenizers.whitespace import WhitespaceTokenizer
from ..errors import ConfigError, ModelError, missing_extra
from ..files import read_json, read_tensors
from .config import EncoderConfig
from .encoder import TransformerEncoder
from .families import FAMILIES
from .family import CONFIG, WEIGHTS, Family, Settings, Weights

logger = logging.getLogger(__name__)

PICKLE = "pytorch_model.bin"
# Of a checkpoint, and of a model that `MultiTaskModel.save_pretrained` wrote.
TOKENIZER_FILES = [
    *("tokenizer.json", "vocab.txt", "tokenizer_config.json"),
    WhitespaceTokenizer.file_name,
]
# Names from the time when BERT was written in TensorFlow.
OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


def load_pretrained(
    folder_or_name: str | Path,
    *,
    max_length: int | None = None,
    dropout: float | None = None,
    attention_dropout: float | None = None,
) -> tuple[TransformerEncoder, SubwordTokenizer]:
    """Our encoder with the weights of a Hugging Face checkpoint, and its tokenizer.

    Whatever is left out, such as the heads of the checkpoint's pretraining, is logged (INFO).

    Args:
        folder_or_name: a folder with `config.json`, `model.safetensors` and the tokenizer's files,
            or a name on the Hugging Face hub, which is then downloaded.
        max_length: most tokens in a row; further positions are left out. By default all stay.
        dropout: replaces the checkpoint's, also for the attention weights.
        attention_dropout: replaces that of the attention weights alone.

    Returns:
        the encoder, in evaluation mode, and the tokenizer.

    Raises:
        ModelError: no such folder or name, a model type we do not know, files that are missing,
            broken or do not match, tensors that are missing, unexpected or mis-shaped.
        ConfigError: a library that is not installed, or an impossible value.
    """
    folder = find_checkpoint(folder_or_name)
    theirs = read_json(folder / CONFIG)
    family = _family(theirs, folder)
    tensors, left_out = _read_weights(folder, family)
    config = _read_config(theirs, family, folder)
    tokenizer = SubwordTokenizer.load(folder)
    # Before any weight is moved: ids of another vocabulary would fetch the vectors of other words.
    _check_vocabulary(tokenizer, config, folder)
    weights = _to_ours(tensors, config, family, folder)
    config, weights = _cut_positions(config, weights, family.reserved, max_length)
    if config.n_types == 1:
        # A single segment (RoBERTa) tells nothing apart, and pairs would need a second.
        config, weights = _without_segments(config, weights)
    if dropout is not None:
        config = replace(config, dropout=dropout, attention_dropout=None)
    if attention_dropout is not None:
        config = replace(config, attention_dropout=attention_dropout)
    with torch.device("meta"):  # no fresh weights are drawn just to be thrown away
        encoder = TransformerEncoder(config)
    # assign: tensors on "meta" have no memory that values could be copied into.
    encoder.load_state_dict(weights, assign=True)
    encoder.compute_tables()  # those made on "meta" hold no numbers
    encoder.pretrained = Path(folder_or_name).absolute().name  # absolute, for "." has no name
    heads = ", ".join(f"{name} ({n} tensors)" for name, n in left_out.items()) or "nothing"
    logger.info("%s: %r; left out: %s", encoder.pretrained, encoder, heads)
    # As `transformers` does: anyone who only wants vectors must not get dropout.
    return encoder.eval(), tokenizer


def find_checkpoint(folder_or_name: str | Path) -> Path:
    """The folder of a checkpoint, or of a model of ours; a name on the hub is downloaded.

    Raises:
        ModelError: no such folder, and the name cannot be downloaded.
        ConfigError: the download needs a library that is not installed.
    """
    if not isinstance(folder_or_name, str | PathLike) or not str(folder_or_name):
        raise ModelError(
            "this is neither a model folder nor a name on the Hugging Face hub",
            found=repr(folder_or_name)[:80],
            fix="give the path of the folder, such as runs/practical7/1",
        )
    folder = Path(folder_or_name).expanduser()
    if folder.is_dir():
        return folder
    files = f"{CONFIG}, {WEIGHTS} and the tokenizer's file"
    name = str(folder_or_name)
    # A name on the hub is `name` or `owner/name`: a mistyped path is never looked for there.
    is_path = isinstance(folder_or_name, Path) or name.startswith((".", "/", "~"))
    if is_path or name.count("/") > 1 or folder.exists():
        raise ModelError(
            "there is no such model folder",
            path=folder_or_name,
            fix=f"give a folder with {files}, or a name on the Hugging Face hub such as "
            "distilbert-base-cased",
        )
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise missing_extra(
            "huggingface_hub", "pretrained", f"there is no folder {name!r}, and a download"
        ) from None
    try:
        # Only these files: a repository often holds the same weights in several forms.
        return Path(snapshot_download(name, allow_patterns=[CONFIG, WEIGHTS, *TOKENIZER_FILES]))
    except Exception as error:  # no network, no such name, no space: the library raises many kinds
        reason = (str(error).splitlines() or [""])[0].strip()
        raise ModelError(
            f"there is no folder {name!r}, and no such model could be downloaded from the "
            "Hugging Face hub",
            found=f"{type(error).__name__}: {reason[:120]}",
            fix="check the path; for a model of the hub, check its name and the network, or put "
            f"{files} into a folder and give its path",
        ) from None


def _family(theirs: Settings, folder: Path) -> Family:
    model_type = theirs.get("model_type")
    if model_type is None and "tasks" in theirs:
        raise ModelError(
            "this is a whole model of MultiTaskModel.save_pretrained, not an encoder alone",
            path=folder,
            found=f"a config with {', '.join(theirs)}",
            fix="model = mtl.MultiTaskModel.from_pretrained(FOLDER); it has model.encoder and "
            "model.tokenizer",
        )
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise ModelError(
            "the checkpoint is of a model type that is not supported",
            path=folder / CONFIG,
            found=f"model_type {model_type!r}",
            fix=f"use one of {', '.join(FAMILIES)}",
        )
    return FAMILIES[model_type]


def _read_config(theirs: Settings, family: Family, folder: Path) -> EncoderConfig:
    """Our config from theirs; for now with all their positions and segments."""
    wrong = _unlike_ours(theirs, family)
    if not wrong:
        ours = {field: theirs[key] for field, key in family.shape.items()}
        ours["activation"] = family.activations[ours["activation"]]
        ours["n_types"] = theirs.get("type_vocab_size", 2) if family.has_segments else 0
        try:
            return EncoderConfig(**ours | family.fixed | family.read(theirs))
        except ConfigError as error:
            wrong = [f"{fault.what}; {fault.found}" for fault in error.faults]
    raise ModelError(
        "the encoder cannot be built from the checkpoint's config",
        path=folder / CONFIG,
        found="; ".join(wrong),
        fix=f"use a checkpoint of {', '.join(FAMILIES)}; one of {theirs['model_type']} needs "
        f"{family.fixed['positions']} positions and an activation of "
        f"{', '.join(family.activations)}",
    )


def _unlike_ours(theirs: Settings, family: Family) -> list[str]:
    """What their config lacks, and what it asks for that our encoder does not support."""
    wrong = [f"no key {key!r}" for key in family.shape.values() if key not in theirs]
    # Relative positions would load as if they were absolute, and compute something else.
    positions = theirs.get("position_embedding_type", "absolute")
    if positions != "absolute":
        wrong.append(f"position_embedding_type {positions!r}")
    if theirs.get("is_decoder"):
        wrong.append("is_decoder true: each token sees only those before it")
    activation = theirs.get(family.shape["activation"])
    if activation is not None and activation not in list(family.activations):
        wrong.append(f"activation {activation!r}")
    # RoBERTa counts positions from the id of its padding.
    padding = theirs.get("pad_token_id", family.reserved - 1)
    if family.reserved and padding != family.reserved - 1:
        wrong.append(f"pad_token_id {padding!r}, which positions are counted from")
    return wrong


def _read_weights(folder: Path, family: Family) -> tuple[Weights, Counter[str]]:
    """Tensors by name, without prefix, and how many tensors of each head are left out."""
    if (folder / PICKLE).exists() and not (folder / WEIGHTS).exists():
        raise ModelError(
            f"the folder holds its weights only as a pickle ({PICKLE}), and a pickle can run any "
            "code when it is loaded: it is never opened",
            path=folder,
            fix=f"get the checkpoint's {WEIGHTS}, or convert the pickle on a machine you can lose",
        )
    tensors, left_out = {}, Counter()
    for name, tensor in read_tensors(folder / WEIGHTS).items():
        name = name.removeprefix(f"{family.prefix}.")
        for old, new in OLD_NAMES.items():
            name = name.replace(old, new)
        # Only known heads are left out. Anything unknown stays, and is then an error.
        head = next((head for head in family.heads if name.startswith(head)), None)
        if head:
            left_out[head.removesuffix(".")] += 1
        else:
            tensors[name] = tensor
    if not tensors:
        raise ModelError(
            "the checkpoint holds heads alone, and no encoder",
            path=folder / WEIGHTS,
            found=f"tensors of {', '.join(left_out) or 'nothing'}",
            fix="use the checkpoint that it was trained on, or one that holds the whole model",
        )
    return tensors, left_out


def _to_ours(tensors: Weights, config: EncoderConfig, family: Family, folder: Path) -> Weights:
    """Our names, float32. Raises ModelError with all that is missing, unexpected or mis-shaped."""
    with torch.device("meta"):
        wanted = TransformerEncoder(config).state_dict()
    names = family.tensor_names(wanted)
    expected = {part for parts in names.values() for part in parts}
    faults = [f"missing: {name}" for name in sorted(expected - tensors.keys())]
    faults += [f"unexpected: {name}" for name in sorted(tensors.keys() - expected)]
    weights = {}
    for ours, parts in names.items():
        first, *rest = wanted[ours].shape
        shape = [first // len(parts), *rest]
        present = [part for part in parts if part in tensors]
        faults += [
            f"mis-shaped: {part} is {list(tensors[part].shape)}, not {shape}"
            for part in present
            if list(tensors[part].shape) != shape
        ]
        # After a fault the weights are no longer used; the other faults are still collected.
        if not faults:
            # float(): some are in half precision. cat: our query, key and value are one matrix.
            weights[ours] = torch.cat([tensors[part].float() for part in parts])
    if faults:
        raise ModelError(
            f"the weights do not fit the checkpoint's config ({len(faults)} problems)",
            path=folder / WEIGHTS,
            found="; ".join(faults[:10]) + ("; ..." if len(faults) > 10 else ""),
            fix="copy the config and the weights from the same checkpoint",
        )
    return family.reorder(weights, config)


def _cut_positions(
    config: EncoderConfig, weights: Weights, reserved: int, max_length: int | None
) -> tuple[EncoderConfig, Weights]:
    """Only the positions that rows will use, beginning with the first token's."""
    most = config.max_length - reserved
    length = most if max_length is None else max_length
    if length > most:
        raise ConfigError(
            "encoder.max_length is more than the positions of the pretrained encoder",
            found=f"{length} tokens, {most} positions",
            fix=f"set encoder.max_length to at most {most}; longer texts are read in windows",
        )
    weights = dict(weights)
    if config.positions == "learned":  # the others have no table in the checkpoint
        table = weights["position_embedding.weight"]
        # clone, or the slice would keep the whole table in memory.
        weights["position_embedding.weight"] = table[reserved : reserved + length].clone()
    return replace(config, max_length=length), weights


def _without_segments(config: EncoderConfig, weights: Weights) -> tuple[EncoderConfig, Weights]:
    """The same encoder without its only segment: what it adds moves to the positions."""
    weights = dict(weights)
    segment = weights.pop("type_embedding.weight")  # (1, D)
    weights["position_embedding.weight"] = weights["position_embedding.weight"] + segment
    return replace(config, n_types=0), weights


def _check_vocabulary(tokenizer: SubwordTokenizer, config: EncoderConfig, folder: Path) -> None:
    """An embedding may have more rows than there are pieces (a round number), but never fewer."""
    if not 0 <= config.vocab_size - len(tokenizer) < 128:
        raise ModelError(
            "the tokenizer's vocabulary does not match the embedding",
            path=folder,
            found=f"{len(tokenizer):,} pieces, vocab_size {config.vocab_size:,}",
            fix="copy the weights and the tokenizer's files from the same checkpoint",
        )
