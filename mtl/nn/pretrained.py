"""Pretrained weights: a Hugging Face checkpoint in, our encoder and tokenizer out; and back.

DistilBERT, BERT (MiniLM too) and RoBERTa are the same encoder as ours, post-norm with learned
positions; only the names of their tensors differ:

    theirs (BERT)                                 ours
    embeddings.word_embeddings                    token_embedding
    embeddings.LayerNorm                          norm
    encoder.layer.0.attention.self.{query,key,value}    layers.0.attention.query_key_value
    encoder.layer.0.attention.output.dense        layers.0.attention.output
    encoder.layer.0.attention.output.LayerNorm    layers.0.attention_norm
    encoder.layer.0.intermediate.dense            layers.0.feed_forward.expand
    encoder.layer.0.output.dense                  layers.0.feed_forward.contract
    encoder.layer.0.output.LayerNorm              layers.0.feed_forward_norm

No checkpoint is ever unpickled: weights are read from `model.safetensors` alone.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from ..data.tokenizers.base import Tokenizer
from ..data.tokenizers.subwords import SETTINGS, SubwordTokenizer
from ..errors import ConfigError, ModelError, missing_extra
from ..files import read_json, read_tensors, write_atomically
from .encoder import ACTIVATIONS, EncoderConfig, TransformerEncoder

logger = logging.getLogger(__name__)

WEIGHTS, CONFIG, PICKLE = "model.safetensors", "config.json", "pytorch_model.bin"
HUB_FILES = [CONFIG, WEIGHTS, "tokenizer.json", "vocab.txt", "tokenizer_config.json"]

HEADS = ("classifier.", "qa_outputs.", "pooler.", "score.", "embeddings.position_ids")
# Names from the time when BERT was written in TensorFlow.
OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


@dataclass(frozen=True)
class Family:
    """How one model type spells its config and its tensors.

    Attributes:
        shape: the key of each of our config's fields.
        layers: what the layers are called.
        layer: what the parts of a layer are called, by our names; three for queries, keys, values.
        segments: whether it has segment (type) embeddings.
        reserved: rows of the position table before that of the first token.
        heads: beginnings of the names of what belongs to its heads; tasks bring heads of their own.
    """

    shape: dict[str, str]
    layers: str
    layer: dict[str, list[str]]
    segments: bool
    reserved: int
    heads: tuple[str, ...]


BERT = Family(
    shape={
        "vocab_size": "vocab_size",
        "d_model": "hidden_size",
        "n_heads": "num_attention_heads",
        "n_layers": "num_hidden_layers",
        "d_ff": "intermediate_size",
        "max_length": "max_position_embeddings",
        "activation": "hidden_act",
        "dropout": "hidden_dropout_prob",
        "attention_dropout": "attention_probs_dropout_prob",
        "layer_norm_eps": "layer_norm_eps",
    },
    layers="encoder.layer",
    layer={
        "attention.query_key_value": [f"attention.self.{x}" for x in ("query", "key", "value")],
        "attention.output": ["attention.output.dense"],
        "attention_norm": ["attention.output.LayerNorm"],
        "feed_forward.expand": ["intermediate.dense"],
        "feed_forward.contract": ["output.dense"],
        "feed_forward_norm": ["output.LayerNorm"],
    },
    segments=True,
    reserved=0,
    heads=("cls.", *HEADS),
)
DISTILBERT = Family(
    shape={
        "vocab_size": "vocab_size",
        "d_model": "dim",
        "n_heads": "n_heads",
        "n_layers": "n_layers",
        "d_ff": "hidden_dim",
        "max_length": "max_position_embeddings",
        "activation": "activation",
        "dropout": "dropout",
        "attention_dropout": "attention_dropout",
    },
    layers="transformer.layer",
    layer={
        "attention.query_key_value": [f"attention.{x}_lin" for x in "qkv"],
        "attention.output": ["attention.out_lin"],
        "attention_norm": ["sa_layer_norm"],
        "feed_forward.expand": ["ffn.lin1"],
        "feed_forward.contract": ["ffn.lin2"],
        "feed_forward_norm": ["output_layer_norm"],
    },
    segments=False,
    reserved=0,
    heads=("vocab_transform.", "vocab_layer_norm.", "vocab_projector.", "pre_classifier.", *HEADS),
)
DISTILBERT_EPS = 1e-12  # of its layer norms; its config does not say
# RoBERTa counts positions from the id of its padding, which is 1, and one more.
ROBERTA = replace(BERT, reserved=2, heads=("lm_head.", *HEADS))
FAMILIES = {"bert": BERT, "distilbert": DISTILBERT, "roberta": ROBERTA}


def load_pretrained(
    folder_or_name: str | Path,
    *,
    max_length: int | None = None,
    dropout: float | None = None,
    attention_dropout: float | None = None,
) -> tuple[TransformerEncoder, SubwordTokenizer]:
    """Our encoder with the weights of a Hugging Face checkpoint, and its tokenizer.

    What of the checkpoint is left out, such as the heads of its pretraining, is logged (INFO).

    Args:
        folder_or_name: a folder with `config.json`, `model.safetensors` and the tokenizer's files,
            or a name on the Hugging Face hub, which is then downloaded.
        max_length: most tokens in a row; positions beyond are left out. By default all stay.
        dropout: another than the checkpoint's, also of the attention weights.
        attention_dropout: another of the attention weights alone.

    Returns:
        the encoder, in evaluation mode, and the tokenizer.

    Raises:
        ModelError: no such folder or name, a model type we do not know, files that are missing,
            broken or do not fit each other, tensors that are missing, unexpected or mis-shaped.
        ConfigError: a library that is not installed, or a value that cannot be.
    """
    folder = find_checkpoint(folder_or_name)
    theirs = read_json(folder / CONFIG)
    family = _family(theirs, folder)
    tensors, left_out = _read_weights(folder, theirs["model_type"], family)
    config = _read_config(theirs, family, folder)
    tokenizer = SubwordTokenizer.load(folder)
    _check_vocabulary(tokenizer, config, folder)
    weights = _to_ours(tensors, config, family, folder)
    config, weights = _cut_positions(config, weights, family.reserved, max_length)
    if config.n_types == 1:
        config, weights = _without_segments(config, weights)
    if dropout is not None:
        config = replace(config, dropout=dropout, attention_dropout=None)
    if attention_dropout is not None:
        config = replace(config, attention_dropout=attention_dropout)
    with torch.device("meta"):  # no fresh weights are drawn, only to be thrown away
        encoder = TransformerEncoder(config)
    encoder.load_state_dict(weights, assign=True)
    encoder.pretrained = Path(folder_or_name).absolute().name  # absolute, for "." has no name
    heads = ", ".join(f"{name} ({n} tensors)" for name, n in left_out.items()) or "nothing"
    logger.info("%s: %r; left out: %s", encoder.pretrained, encoder, heads)
    return encoder.eval(), tokenizer


def find_checkpoint(folder_or_name: str | Path) -> Path:
    """The folder itself, or that of a download from the Hugging Face hub.

    Raises:
        ModelError: no such folder, and the name cannot be downloaded.
        ConfigError: the download needs a library that is not installed.
    """
    folder = Path(folder_or_name).expanduser()
    if folder.is_dir():
        return folder
    name = str(folder_or_name)
    if name.count("/") > 1 or name.startswith((".", "/", "~")) or folder.exists():
        raise ModelError(
            "there is no such checkpoint folder",
            path=folder_or_name,
            fix="give a folder with config.json, model.safetensors and the tokenizer's files, or "
            "a name on the Hugging Face hub such as distilbert-base-cased",
        )
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise missing_extra(
            "huggingface_hub", "pretrained", f"there is no folder {name!r}, and a download"
        ) from None
    try:
        return Path(snapshot_download(name, allow_patterns=HUB_FILES))
    except Exception as error:  # no network, no such name, no space: the library has many kinds
        reason = (str(error).splitlines() or [""])[0].strip()
        raise ModelError(
            f"there is no folder {name!r}, and no such checkpoint could be downloaded from the "
            f"Hugging Face hub ({type(error).__name__}: {reason[:120]}); check the name and the "
            f"network, or put {', '.join(HUB_FILES[:3])} into a folder and give its path"
        ) from None


def _family(theirs: dict[str, Any], folder: Path) -> Family:
    model_type = theirs.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise ModelError(
            "the checkpoint is of a model type that is not supported",
            path=folder / CONFIG,
            found=f"model_type {model_type!r}",
            fix=f"use one of {', '.join(FAMILIES)}; MultiTaskModel.from_pretrained reads what "
            "MultiTaskModel.save_pretrained wrote",
        )
    return FAMILIES[model_type]


def _read_config(theirs: dict[str, Any], family: Family, folder: Path) -> EncoderConfig:
    """Our config from theirs; as yet with all their positions and segments."""
    try:
        ours: dict[str, Any] = {"layer_norm_eps": DISTILBERT_EPS}  # unless their config says it
        ours |= {field: theirs[key] for field, key in family.shape.items()}
        if theirs.get("position_embedding_type", "absolute") != "absolute":
            raise ValueError(f"position_embedding_type {theirs['position_embedding_type']!r}")
        if ours["activation"] not in ACTIVATIONS:
            raise ValueError(f"activation {ours['activation']!r}")
        padding = theirs.get("pad_token_id", family.reserved - 1)
        if family.reserved and padding != family.reserved - 1:
            raise ValueError(f"pad_token_id {padding!r}, which positions are counted from")
        return EncoderConfig(
            **ours,
            positions="learned",
            norm="post",
            n_types=theirs.get("type_vocab_size", 2) if family.segments else 0,
        )
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        lacks = "no key " if isinstance(error, KeyError) else ""
        raise ModelError(
            "the checkpoint's config is not one that the encoder can be built from",
            path=folder / CONFIG,
            found=lacks + str(error).replace("\n  found:", ";"),
            fix=f"use a checkpoint of {', '.join(FAMILIES)} with learned positions and an "
            f"activation of {', '.join(ACTIVATIONS)}",
        ) from None


def _read_weights(
    folder: Path, model_type: str, family: Family
) -> tuple[dict[str, Tensor], Counter[str]]:
    """Tensors by their names without prefix, and how many of which heads are left out."""
    if (folder / PICKLE).exists() and not (folder / WEIGHTS).exists():
        raise ModelError(
            f"the folder holds its weights only as a pickle ({PICKLE}), and a pickle can run any "
            "code when it is loaded: it is never opened",
            path=folder,
            fix=f"get the checkpoint's {WEIGHTS}, or convert the pickle on a machine you can lose",
        )
    tensors, left_out = {}, Counter()
    for name, tensor in read_tensors(folder / WEIGHTS).items():
        name = name.removeprefix(f"{model_type}.")
        for old, new in OLD_NAMES.items():
            name = name.replace(old, new)
        head = next((head for head in family.heads if name.startswith(head)), None)
        if head:
            left_out[head.removesuffix(".")] += 1
        else:
            tensors[name] = tensor
    return tensors, left_out


def tensor_names(config: EncoderConfig, family: Family) -> dict[str, list[str]]:
    """Each of our tensors, with theirs that it is made of: one, or three beside one another."""
    names = {
        "token_embedding.weight": ["embeddings.word_embeddings.weight"],
        "position_embedding.weight": ["embeddings.position_embeddings.weight"],
    }
    if family.segments:
        names["type_embedding.weight"] = ["embeddings.token_type_embeddings.weight"]
    for kind in ("weight", "bias"):
        names[f"norm.{kind}"] = [f"embeddings.LayerNorm.{kind}"]
        for i in range(config.n_layers):
            for ours, theirs in family.layer.items():
                parts = [f"{family.layers}.{i}.{part}.{kind}" for part in theirs]
                names[f"layers.{i}.{ours}.{kind}"] = parts
    return names


def _to_ours(
    tensors: dict[str, Tensor], config: EncoderConfig, family: Family, folder: Path
) -> dict[str, Tensor]:
    """Our names, float32. Raises ModelError with all that is missing, unexpected or mis-shaped."""
    names = tensor_names(config, family)
    with torch.device("meta"):
        wanted = TransformerEncoder(config).state_dict()
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
        if not faults:
            weights[ours] = torch.cat([tensors[part].float() for part in parts])
    if faults:
        raise ModelError(
            f"the weights do not fit the checkpoint's config ({len(faults)} problems)",
            path=folder / WEIGHTS,
            found="; ".join(faults[:10]) + ("; ..." if len(faults) > 10 else ""),
            fix="copy config and weights of the same checkpoint",
        )
    return weights


def _cut_positions(
    config: EncoderConfig, weights: dict[str, Tensor], reserved: int, max_length: int | None
) -> tuple[EncoderConfig, dict[str, Tensor]]:
    """Only the positions that rows will have, the first token's first."""
    most = config.max_length - reserved
    length = most if max_length is None else max_length
    if length > most:
        raise ConfigError(
            "encoder.max_length is more than the pretrained encoder has positions",
            found=f"{length} tokens, {most} positions",
            fix=f"set encoder.max_length to at most {most}; longer texts are read in windows",
        )
    positions = weights["position_embedding.weight"][reserved : reserved + length].clone()
    return replace(config, max_length=length), weights | {"position_embedding.weight": positions}


def _without_segments(
    config: EncoderConfig, weights: dict[str, Tensor]
) -> tuple[EncoderConfig, dict[str, Tensor]]:
    """The same encoder without its only segment: what every token adds goes to the positions."""
    weights = dict(weights)
    segment = weights.pop("type_embedding.weight")  # (1, D)
    weights["position_embedding.weight"] = weights["position_embedding.weight"] + segment
    return replace(config, n_types=0), weights


def _check_vocabulary(tokenizer: SubwordTokenizer, config: EncoderConfig, folder: Path) -> None:
    """An embedding may have some rows more than there are pieces, to a round number; never less."""
    if not 0 <= config.vocab_size - len(tokenizer) < 128:
        raise ModelError(
            "the tokenizer's vocabulary does not match the embedding",
            path=folder,
            found=f"{len(tokenizer):,} pieces, vocab_size {config.vocab_size:,}",
            fix="copy the weights and the tokenizer's files of the same checkpoint",
        )


def save_for_transformers(
    encoder: TransformerEncoder, tokenizer: SubwordTokenizer, folder: str | Path
) -> None:
    """Write a folder that `transformers` loads as a BertModel, DistilBertModel or RobertaModel.

    Raises:
        ModelError: an encoder or a tokenizer that none of the three can be.
    """
    config, folder = encoder.config, Path(folder)
    model_type = _model_type(config, tokenizer)
    if model_type is None:
        raise ModelError(
            "transformers has no encoder like this one",
            found=f"{config.norm}-norm, {config.positions} positions, {type(tokenizer).__name__} "
            f"with padding {tokenizer.pad_id}",
            fix="it takes post-norm, learned positions and a SubwordTokenizer (padding 1 if it is "
            "like RoBERTa's), as load_pretrained gives them; any other model is kept by "
            "MultiTaskModel.save_pretrained",
        )
    if len(encoder.layers) < config.n_layers:
        raise ModelError(
            "the encoder is not whole: some of its layers are private to the tasks of a model",
            found=f"{len(encoder.layers)} of {config.n_layers} layers",
            fix="MultiTaskModel.save_pretrained keeps the whole model",
        )
    theirs = _to_their_config(config, model_type) | {"pad_token_id": tokenizer.pad_id}
    write_atomically(folder / CONFIG, json.dumps(theirs, indent=2))
    write_atomically(folder / WEIGHTS, save(_to_theirs(encoder, FAMILIES[model_type])))
    tokenizer.save(folder)
    special = {f"{use}_token": token for use, token in tokenizer.special_tokens.items()}
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config.max_length,
        "model_input_names": [
            "input_ids",
            *(["token_type_ids"] if model_type == "bert" else []),
            "attention_mask",
        ],
        **special,
    }
    write_atomically(folder / SETTINGS, json.dumps(settings, indent=2))


def _model_type(config: EncoderConfig, tokenizer: Tokenizer) -> str | None:
    """Which of theirs the encoder can be, if any."""
    is_like_theirs = config.norm == "post" and config.positions == "learned"
    if not is_like_theirs or not isinstance(tokenizer, SubwordTokenizer):
        return None
    if len(tokenizer.pair_separator) == 2:
        return "roberta" if tokenizer.pad_id == ROBERTA.reserved - 1 else None
    is_distilbert = config.n_types == 0 and config.layer_norm_eps == DISTILBERT_EPS
    return "distilbert" if is_distilbert else "bert"


def _to_their_config(config: EncoderConfig, model_type: str) -> dict[str, Any]:
    family = FAMILIES[model_type]
    own = config.attention_dropout
    values = config.to_dict() | {
        "attention_dropout": config.dropout if own is None else own,
        "d_ff": config.feed_forward_width,
        "max_length": config.max_length + family.reserved,
    }
    theirs = {key: values[field] for field, key in family.shape.items()}
    if family.segments:
        theirs |= {"type_vocab_size": config.n_types or 1}
    return {"model_type": model_type, "dtype": "float32"} | theirs


def _to_theirs(encoder: TransformerEncoder, family: Family) -> dict[str, Tensor]:
    """Their names; what was cut off or folded together by `load_pretrained` is filled with 0."""
    weights = {name: t.detach().cpu() for name, t in encoder.state_dict().items()}
    positions = weights["position_embedding.weight"]
    reserved = positions.new_zeros(family.reserved, positions.shape[1])
    weights["position_embedding.weight"] = torch.cat([reserved, positions])
    if family.segments:
        weights.setdefault("type_embedding.weight", positions.new_zeros(1, positions.shape[1]))
    return {
        part: chunk.contiguous()
        for ours, parts in tensor_names(encoder.config, family).items()
        for part, chunk in zip(parts, weights[ours].chunk(len(parts)), strict=True)
    }
