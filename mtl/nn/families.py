"""The checkpoints that fit our encoder: how each model type spells its config and its tensors.

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
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .config import EncoderConfig

WEIGHTS, CONFIG = "model.safetensors", "config.json"  # the files of a checkpoint

# position_ids are not a head but a buffer that old versions of transformers saved: 0, 1, 2, ...
HEADS = ("classifier.", "qa_outputs.", "pooler.", "score.", "embeddings.position_ids")


@dataclass(frozen=True)
class Family:
    """How one model type spells its config and its tensors.

    Attributes:
        shape: their key for each of our config's fields.
        layers: what the layers are called.
        layer: what the parts of a layer are called, by our names; three for queries, keys, values.
        segments: whether it has segment (type) embeddings.
        reserved: rows of the position table before that of the first token.
        heads: how the names of its heads' tensors begin; tasks bring their own heads.
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
# RoBERTa's first position is one past the id of its padding, which is 1.
ROBERTA = replace(BERT, reserved=2, heads=("lm_head.", *HEADS))
FAMILIES = {"bert": BERT, "distilbert": DISTILBERT, "roberta": ROBERTA}


def tensor_names(config: EncoderConfig, family: Family) -> dict[str, list[str]]:
    """Each of our tensors, with those of theirs that make it up: one, or three concatenated."""
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
