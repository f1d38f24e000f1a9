"""The checkpoints that fit our encoder: how each model type spells its config and its tensors.

BERT (MiniLM too), DistilBERT and RoBERTa are the same encoder as ours, post-norm with learned
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

XLM-RoBERTa and CamemBERT are RoBERTa's encoder with another vocabulary; ELECTRA is BERT's encoder,
but its embeddings may be narrower, and are then projected (`embeddings_project`). ModernBERT has a
file of its own.
"""

from __future__ import annotations

from dataclasses import replace

from .config import EncoderConfig
from .family import HEADS, Family, Settings
from .modernbert import MODERNBERT

LIKE_BERT = {"positions": "learned", "norm": "post", "bias": True, "local_attention": 0}
BERT = Family(
    prefix="bert",
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
    activations={"relu": "relu", "gelu": "gelu"},
    fixed=LIKE_BERT | {"d_embedding": 0},
    parts={
        "token_embedding": "embeddings.word_embeddings",
        "position_embedding": "embeddings.position_embeddings",
        "type_embedding": "embeddings.token_type_embeddings",
        "norm": "embeddings.LayerNorm",
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
    heads=("cls.", *HEADS),
)
DISTILBERT = Family(
    prefix="distilbert",
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
    activations=BERT.activations,
    # Its config does not say what its layer norms add to the variance.
    fixed=BERT.fixed | {"n_types": 0, "layer_norm_eps": 1e-12},
    parts={name: part for name, part in BERT.parts.items() if name != "type_embedding"},
    layers="transformer.layer",
    layer={
        "attention.query_key_value": [f"attention.{x}_lin" for x in "qkv"],
        "attention.output": ["attention.out_lin"],
        "attention_norm": ["sa_layer_norm"],
        "feed_forward.expand": ["ffn.lin1"],
        "feed_forward.contract": ["ffn.lin2"],
        "feed_forward_norm": ["output_layer_norm"],
    },
    heads=("vocab_transform.", "vocab_layer_norm.", "vocab_projector.", "pre_classifier.", *HEADS),
)
# RoBERTa's first position is one past the id of its padding, which is 1.
ROBERTA = replace(BERT, prefix="roberta", reserved=2, heads=("lm_head.", *HEADS))


def _read_embedding_size(theirs: Settings) -> Settings:
    width = theirs.get("embedding_size", theirs["hidden_size"])
    return {"d_embedding": 0 if width == theirs["hidden_size"] else width}


def _write_embedding_size(config: EncoderConfig) -> Settings:
    return {"embedding_size": config.embedding_width}


ELECTRA = replace(
    BERT,
    prefix="electra",
    fixed=LIKE_BERT,
    parts=BERT.parts | {"embedding_projection": "embeddings_project"},
    heads=(
        *("discriminator_predictions.", "generator_predictions.", "generator_lm_head."),
        *("sequence_summary.", *HEADS),
    ),
    read=_read_embedding_size,
    write=_write_embedding_size,
)
# By model type. An encoder is saved as the first that it fits: a DistilBERT is a BERT without
# segments, and a BERT is an ELECTRA whose embeddings are not projected.
FAMILIES = {
    "distilbert": DISTILBERT,
    "bert": BERT,
    "electra": ELECTRA,
    "modernbert": MODERNBERT,
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
    "camembert": ROBERTA,
}
