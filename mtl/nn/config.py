"""The settings of an encoder go in, by name; a checked description of its shape comes out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import ConfigError, Fault
from ..settings import check, class_names_checked, setting

POSITIONS = ("sinusoidal", "learned", "rotary")
NORMS = ("pre", "post")
ACTIVATIONS = ("relu", "gelu", "geglu")


@class_names_checked
@dataclass(frozen=True)
class EncoderConfig:
    """Shape and kind of a `TransformerEncoder`.

    Args:
        vocab_size: V, the number of ids of the tokenizer.
        d_model: D, width of every hidden state.
        n_heads: H, attention heads; divides `d_model`.
        n_layers: encoder layers.
        d_ff: F, width of the feed-forward layer; 0 means `4 * d_model`.
        d_embedding: width of the embeddings; 0 means `d_model`. Others are projected to `d_model`,
            so that a large vocabulary needs fewer parameters (ELECTRA; Lan et al. 2020, section
            3.1).
        max_length: most tokens in a row, and the number of positions.
        positions: `sinusoidal` (Vaswani et al. 2017, section 3.5), `learned` (BERT), or `rotary`
            (Su et al. 2021, equation 34).
        rotary_heads: with rotary positions, how many heads rotate; the others do not see positions.
            0 means all.
        rotary_theta: with rotary positions, feature pair i turns by `rotary_theta^(-2i/K)` radians
            per position. The larger it is, the more slowly most of them turn, for longer texts.
        local_attention: in layers with local attention, a token sees half this many tokens on
            either side (Beltagy et al. 2020, section 3.1). 0 means that no layer is local.
        global_every: with local attention, every so many layers, from the first one on, a layer
            still sees all tokens (ModernBERT; Warner et al. 2024).
        local_rotary_theta: `rotary_theta` of the layers with local attention.
        norm: `pre` (before each sublayer, and once at the end) or `post` (after each sublayer, and
            once after the embeddings, as BERT).
        embedding_norm: with pre-norm, also a norm after the embeddings, which takes the place of
            that before the first attention (ModernBERT).
        activation: of the feed-forward layer, `relu`, `gelu`, or `geglu`, whose features are
            multiplied by a gate (Shazeer 2020, equation 6).
        bias: whether linear layers and norms add a bias.
        dropout: after embeddings, attention weights and each sublayer.
        attention_dropout: of the attention weights, if it differs. At 0, attention is one fused
            kernel on every device; a CPU has no fused kernel with dropout, and is slower.
        n_types: segments, 2 for question and context; 0 for none.
        match_heads: in heads that do not rotate, start the key projection as a copy of the query
            projection, so that a fresh head attends to words equal to its own (kin to Trockman and
            Kolter 2023).
        embedding_std: standard deviation of fresh token and position embeddings.
        type_std: standard deviation of fresh segment embeddings. If it is small compared with
            `embedding_std`, a word looks nearly the same in question and context.
        layer_norm_eps: added to the variance in layer norm.

    Raises:
        ConfigError: impossible values, all reported together; for an unknown kind the nearest known
            one is named.
    """

    vocab_size: int = setting(least=1)
    d_model: int = setting(64, least=1)
    n_heads: int = setting(4, least=1)
    n_layers: int = setting(2, least=1)
    d_ff: int = setting(0, least=0)
    max_length: int = setting(128, least=8)
    positions: str = setting("sinusoidal", choices=POSITIONS)
    rotary_heads: int = 0
    norm: str = setting("pre", choices=NORMS)
    activation: str = setting("gelu", choices=ACTIVATIONS)
    dropout: float = setting(0.1, least=0, below=1)
    attention_dropout: float | None = setting(None, least=0, below=1)
    n_types: int = setting(2, least=0)
    match_heads: bool = False
    # 0.02 is what BERT and GPT-2 start with.
    embedding_std: float = setting(0.02, least=0)
    type_std: float = setting(0.02, least=0)
    # PyTorch's default; BERT's is 1e-12, so a checkpoint's config decides.
    layer_norm_eps: float = setting(1e-5, least=0)
    d_embedding: int = setting(0, least=0)
    rotary_theta: float = setting(10_000.0, above=0)
    local_attention: int = setting(0, least=0)
    global_every: int = setting(3, least=1)
    local_rotary_theta: float = setting(10_000.0, above=0)
    embedding_norm: bool = False
    bias: bool = True

    def __post_init__(self) -> None:
        check(self, "encoder.")

    def contradictions(self, wrong: Collection[str]) -> Iterator[Fault]:
        """Settings that contradict each other; those that are `wrong` already are skipped."""
        fine = set(wrong).isdisjoint
        if fine(["norm", "embedding_norm"]) and self.embedding_norm and self.norm == "post":
            yield Fault(
                "encoder.embedding_norm is for pre-norm: post-norm has a norm after the embeddings",
                found='norm = "post", embedding_norm = true',
                fix="leave encoder.embedding_norm out",
            )
        # The checks below divide by them.
        if not fine(["d_model", "n_heads"]):
            return
        if self.d_model % self.n_heads:
            yield Fault(
                "encoder.d_model must be a multiple of encoder.n_heads",
                found=f"d_model {self.d_model}, n_heads {self.n_heads}",
            )
        # Rotation turns features in pairs, so none may be left over.
        elif self.positions == "rotary" and self.head_width % 2:
            yield Fault(
                "rotary positions need an even head width (d_model / n_heads)",
                found=str(self.head_width),
            )
        if not fine(["rotary_heads", "positions", "match_heads"]):
            return
        if not 0 <= self.rotary_heads <= self.n_heads:
            yield Fault(
                "encoder.rotary_heads must lie between 0 and encoder.n_heads",
                found=str(self.rotary_heads),
            )
        elif self.match_heads and self.n_rotating == self.n_heads:
            yield Fault(
                "encoder.match_heads needs a head that does not rotate",
                found=f"n_heads {self.n_heads}, rotary_heads {self.rotary_heads} (0 means all)",
                fix="set encoder.rotary_heads to at least 1 and below encoder.n_heads",
            )

    @property
    def head_width(self) -> int:
        """K."""
        return self.d_model // self.n_heads

    @property
    def n_rotating(self) -> int:
        """How many heads rotate, the first ones."""
        return (self.rotary_heads or self.n_heads) if self.positions == "rotary" else 0

    @property
    def feed_forward_width(self) -> int:
        """F."""
        # Four times the width, as in Vaswani et al. and in BERT.
        return self.d_ff or 4 * self.d_model

    def is_local(self, layer: int) -> bool:
        """Whether a token sees only the tokens around it in this layer; the first is 0."""
        return self.local_attention > 0 and layer % self.global_every != 0

    @property
    def embedding_width(self) -> int:
        """Of the embeddings, before they are projected to D."""
        return self.d_embedding or self.d_model

    @property
    def multiply_adds(self) -> int:
        """Those of the linear layers for one token.

        Per layer, four D x D and two D x F matrices, three with a gate.
        """
        # Attention's T x T products are left out: in short rows they are the smaller part.
        wide = 3 if self.activation == "geglu" else 2
        layer = self.d_model * (4 * self.d_model + wide * self.feed_forward_width)
        is_projected = self.embedding_width != self.d_model
        return self.n_layers * layer + is_projected * self.embedding_width * self.d_model

    def to_dict(self) -> dict:
        """Plain values, for `config.json`."""
        return asdict(self)


def as_encoder_config(config: EncoderConfig | Mapping[str, Any]) -> EncoderConfig:
    """A config unchanged, or one made from a dict; ConfigError if it is neither."""
    if isinstance(config, Mapping):
        return EncoderConfig(**config)
    if not isinstance(config, EncoderConfig):
        raise ConfigError(
            "an encoder is built from an EncoderConfig",
            found=repr(config)[:80],
            fix="mtl.TransformerEncoder(mtl.EncoderConfig(vocab_size=len(tokenizer)))",
        )
    return config
