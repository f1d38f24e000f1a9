"""Our encoder and its tokenizer go in; a folder that `transformers` can load comes out."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save

from ..data.tokenizers.base import Tokenizer
from ..data.tokenizers.subwords import SETTINGS, SubwordTokenizer
from ..errors import ModelError
from ..files import write_atomically
from .config import EncoderConfig
from .encoder import TransformerEncoder
from .families import FAMILIES
from .family import CONFIG, WEIGHTS, Family, Settings, Weights


def save_for_transformers(
    encoder: TransformerEncoder, tokenizer: SubwordTokenizer, folder: str | Path
) -> None:
    """Write a folder that `transformers` loads as a model of the family that the encoder is of.

    Args:
        encoder, tokenizer: as `load_pretrained` returned them; those of a trained model are
            `model.encoder` and `model.tokenizer`.
        folder: is created if it is missing.

    Raises:
        ModelError: an encoder or a tokenizer that fits no family (see `mtl.nn.families`).
    """
    write_checkpoint(encoder, tokenizer, folder, model_type_of(encoder, tokenizer))


def model_type_of(encoder: TransformerEncoder, tokenizer: Tokenizer) -> str:
    """Which of the model types of `transformers` an encoder is saved as.

    Raises:
        ModelError: an encoder or a tokenizer that fits no family (see `mtl.nn.families`).
    """
    config = encoder.config
    model_type = _model_type(config, tokenizer)
    if model_type is None:
        raise ModelError(
            "transformers has no encoder like this one",
            found=f"{config.norm}-norm, {config.positions} positions, {type(tokenizer).__name__} "
            f"with padding {tokenizer.pad_id}",
            fix="it takes an encoder and a SubwordTokenizer as load_pretrained gives them (with "
            "padding 1 if it is like RoBERTa); MultiTaskModel.save_pretrained saves any model",
        )
    if len(encoder.layers) < config.n_layers:
        raise ModelError(
            "the encoder is incomplete: some of its layers are private to the tasks of a model",
            found=f"{len(encoder.layers)} of {config.n_layers} layers",
            fix="MultiTaskModel.save_pretrained saves the whole model",
        )
    return model_type


def write_checkpoint(
    encoder: TransformerEncoder,
    tokenizer: SubwordTokenizer,
    folder: str | Path,
    model_type: str,
    settings: Settings | None = None,
    head: Weights | None = None,
) -> None:
    """Write the config, the weights and the tokenizer of a checkpoint of one model type.

    Args:
        model_type: one that the encoder fits, such as the one that `model_type_of` gives.
        settings: keys of their config for the head.
        head: the weights of a head beside the encoder, under their names.
    """
    config, family, folder = encoder.config, FAMILIES[model_type], Path(folder)
    theirs = _to_their_config(config, model_type) | {"pad_token_id": tokenizer.pad_id}
    weights = _to_theirs(encoder, family)
    if head is not None:
        beside = {f"{family.prefix}.{name}": tensor for name, tensor in weights.items()}
        weights = beside | {name: t.detach().cpu().contiguous() for name, t in head.items()}
    write_atomically(folder / CONFIG, json.dumps(theirs | (settings or {}), indent=2))
    write_atomically(folder / WEIGHTS, save(weights))
    tokenizer.save(folder)
    inputs = ["input_ids", "attention_mask"]
    # The segments of RoBERTa's tokenizers, which have two separators, are always 0.
    if config.n_types and len(tokenizer.pair_separator) == 1:
        inputs.insert(1, "token_type_ids")
    special = {f"{use}_token": token for use, token in tokenizer.special_tokens.items()}
    of_tokenizer = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config.max_length,
        "model_input_names": inputs,
        **special,
    }
    write_atomically(folder / SETTINGS, json.dumps(of_tokenizer, indent=2))


def _model_type(config: EncoderConfig, tokenizer: Tokenizer) -> str | None:
    """Which of their model types the encoder fits, if any."""
    if not isinstance(tokenizer, SubwordTokenizer):
        return None
    fitting = [name for name, family in FAMILIES.items() if _fits(config, tokenizer, family)]
    if "roberta" in fitting:
        return _kin_of_roberta(tokenizer)
    return fitting[0] if fitting else None


def _fits(config: EncoderConfig, tokenizer: SubwordTokenizer, family: Family) -> bool:
    if any(getattr(config, field) != value for field, value in family.fixed.items()):
        return False
    if config.activation not in family.activations.values():
        return False
    # Only RoBERTa has two separators; it counts positions from the id of its padding.
    if len(tokenizer.pair_separator) == 2:
        return tokenizer.pad_id == family.reserved - 1
    return family.reserved == 0


def _kin_of_roberta(tokenizer: SubwordTokenizer) -> str:
    """Those that have RoBERTa's encoder are told apart by their vocabulary."""
    if tokenizer.backend.token_to_id("<s>NOTUSED") is not None:
        return "camembert"
    is_unigram = type(tokenizer.backend.model).__name__ == "Unigram"
    return "xlm-roberta" if is_unigram else "roberta"


def _to_their_config(config: EncoderConfig, model_type: str) -> Settings:
    family = FAMILIES[model_type]
    own = config.attention_dropout
    names = {ours: theirs for theirs, ours in family.activations.items()}
    values = config.to_dict() | {
        "activation": names[config.activation],
        "attention_dropout": config.dropout if own is None else own,
        "d_ff": config.feed_forward_width,
        "max_length": config.max_length + family.reserved,
    }
    theirs = {key: values[field] for field, key in family.shape.items()}
    if family.has_segments:
        # BERT always has segments: one of zeros changes nothing.
        theirs |= {"type_vocab_size": config.n_types or 1}
    return {"model_type": model_type, "dtype": "float32"} | theirs | family.write(config)


def _to_theirs(encoder: TransformerEncoder, family: Family) -> Weights:
    """Under their names; what `load_pretrained` cut off or folded together is filled with 0."""
    weights = {name: t.detach().cpu() for name, t in encoder.state_dict().items()}
    weights = family.restore(weights, encoder.config)
    if "position_embedding.weight" in weights:
        positions = weights["position_embedding.weight"]
        reserved = positions.new_zeros(family.reserved, positions.shape[1])
        weights["position_embedding.weight"] = torch.cat([reserved, positions])
    if family.has_segments:
        tokens = weights["token_embedding.weight"]
        weights.setdefault("type_embedding.weight", tokens.new_zeros(1, tokens.shape[1]))
    return {
        # safetensors writes contiguous tensors only.
        part: chunk.contiguous()
        for ours, parts in family.tensor_names(weights).items()
        for part, chunk in zip(parts, weights[ours].chunk(len(parts)), strict=True)
    }
