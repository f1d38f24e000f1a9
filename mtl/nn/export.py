"""Our encoder and its tokenizer go in; a folder that `transformers` can load comes out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from ..data.tokenizers.base import Tokenizer
from ..data.tokenizers.subwords import SETTINGS, SubwordTokenizer
from ..errors import ModelError
from ..files import write_atomically
from .config import EncoderConfig
from .encoder import TransformerEncoder
from .families import CONFIG, DISTILBERT_EPS, FAMILIES, ROBERTA, WEIGHTS, Family, tensor_names


def save_for_transformers(
    encoder: TransformerEncoder, tokenizer: SubwordTokenizer, folder: str | Path
) -> None:
    """Write a folder that `transformers` loads as a BertModel, DistilBertModel or RobertaModel.

    Args:
        encoder, tokenizer: as `load_pretrained` returned them; those of a trained model are
            `model.encoder` and `model.tokenizer`.
        folder: is created if it is missing.

    Raises:
        ModelError: an encoder or a tokenizer that fits none of the three.
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
            "the encoder is incomplete: some of its layers are private to the tasks of a model",
            found=f"{len(encoder.layers)} of {config.n_layers} layers",
            fix="MultiTaskModel.save_pretrained saves the whole model",
        )
    theirs = _to_their_config(config, model_type) | {"pad_token_id": tokenizer.pad_id}
    write_atomically(folder / CONFIG, json.dumps(theirs, indent=2))
    write_atomically(folder / WEIGHTS, save(_to_theirs(encoder, FAMILIES[model_type])))
    tokenizer.save(folder)
    inputs = ["input_ids", "attention_mask"]
    if model_type == "bert":  # the only one with segments
        inputs.insert(1, "token_type_ids")
    special = {f"{use}_token": token for use, token in tokenizer.special_tokens.items()}
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config.max_length,
        "model_input_names": inputs,
        **special,
    }
    write_atomically(folder / SETTINGS, json.dumps(settings, indent=2))


def _model_type(config: EncoderConfig, tokenizer: Tokenizer) -> str | None:
    """Which of their model types the encoder fits, if any."""
    is_like_theirs = config.norm == "post" and config.positions == "learned"
    if not is_like_theirs or not isinstance(tokenizer, SubwordTokenizer):
        return None
    # Only RoBERTa has two separators; it counts positions from the id of its padding.
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
        # BERT always has segments: one of zeros changes nothing.
        theirs |= {"type_vocab_size": config.n_types or 1}
    return {"model_type": model_type, "dtype": "float32"} | theirs


def _to_theirs(encoder: TransformerEncoder, family: Family) -> dict[str, Tensor]:
    """Under their names; what `load_pretrained` cut off or folded together is filled with 0."""
    weights = {name: t.detach().cpu() for name, t in encoder.state_dict().items()}
    positions = weights["position_embedding.weight"]
    reserved = positions.new_zeros(family.reserved, positions.shape[1])
    weights["position_embedding.weight"] = torch.cat([reserved, positions])
    if family.segments:
        weights.setdefault("type_embedding.weight", positions.new_zeros(1, positions.shape[1]))
    return {
        # safetensors writes contiguous tensors only.
        part: chunk.contiguous()
        for ours, parts in tensor_names(encoder.config, family).items()
        for part, chunk in zip(parts, weights[ours].chunk(len(parts)), strict=True)
    }
