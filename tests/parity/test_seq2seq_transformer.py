"""The Transformer of translation against torch.nn.Transformer on the same weights."""

import math

import pytest
import torch
from torch import nn

from gradus.nn.positions import sinusoids
from gradus.sequence.translation.transformer import TransformerTranslator
from parity.test_torch_transformer import mapped, shaken

WIDTH, HEADS, HIDDEN, LAYERS = 12, 3, 20, 2


def peer(pre: bool, activation: str) -> nn.Transformer:
    """Return torch's Transformer; behind post-norm blocks it has no further norm, as the paper has none."""
    how = {"activation": activation, "norm_first": pre, "batch_first": True, "dropout": 0.0}
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, **how), LAYERS, nn.LayerNorm(WIDTH) if pre else None,
        enable_nested_tensor=False,
    )  # fmt: skip
    decoder = nn.TransformerDecoder(
        nn.TransformerDecoderLayer(WIDTH, HEADS, HIDDEN, **how), LAYERS, nn.LayerNorm(WIDTH) if pre else None
    )
    return nn.Transformer(
        WIDTH, HEADS, custom_encoder=encoder, custom_decoder=decoder, batch_first=True, norm_first=pre
    )


def joined(theirs: nn.Transformer) -> dict[str, torch.Tensor]:
    """Return torch's weights under our names, embeddings and bias aside."""
    found = {}
    for side, ours in ((theirs.encoder, "encode"), (theirs.decoder, "decode")):
        for i, layer in enumerate(side.layers):
            found |= {f"{ours}r.{i}.{name}": value for name, value in mapped(layer).items()}
        if side.norm is not None:
            found |= {f"{ours}d.{name}": value for name, value in side.norm.state_dict().items()}
    return found


@pytest.mark.parametrize("pre", [True, False])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("dtype, bar", [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_encoder_decoder(pre, activation, dtype, bar):
    torch.manual_seed(0)
    theirs = shaken(peer(pre, activation)).to(dtype)
    ours = TransformerTranslator(
        17, 13, width=WIDTH, heads=HEADS, layers=LAYERS, hidden=HIDDEN, norm="pre" if pre else "post",
        activation=activation, dropout=0.0,
    ).to(dtype).eval()  # fmt: skip
    missing, unexpected = ours.load_state_dict(joined(theirs), strict=False)
    assert not unexpected
    assert set(missing) == {"source.weight", "target.weight", "bias"}
    with torch.no_grad():
        ours.bias.normal_()
    lengths = torch.tensor([7, 4, 1])
    source, target = torch.randint(17, (3, 7)), torch.randint(13, (3, 5))
    there = torch.arange(7) < lengths[:, None]

    def embedded(table: nn.Embedding, tokens: torch.Tensor) -> torch.Tensor:
        positions = sinusoids(torch.arange(tokens.shape[1]), WIDTH).to(dtype)
        return table(tokens) * math.sqrt(WIDTH) + positions

    expected = theirs(
        embedded(ours.source_embedding, source), embedded(ours.target, target), src_key_padding_mask=~there,
        memory_key_padding_mask=~there, tgt_mask=nn.Transformer.generate_square_subsequent_mask(5, dtype=dtype),
    )  # fmt: skip
    found = ours(source, lengths, target)
    assert float((found - (expected @ ours.target.weight.T + ours.bias)).detach().abs().max()) < bar * max(
        1.0, float(found.detach().abs().max())
    )


def test_the_alignment_is_torchs_mean_over_heads():
    torch.manual_seed(0)
    theirs = shaken(peer(False, "relu"))
    ours = TransformerTranslator(
        17, 13, width=WIDTH, heads=HEADS, layers=LAYERS, hidden=HIDDEN, norm="post", dropout=0.0
    ).double().eval()  # fmt: skip
    ours.load_state_dict(joined(theirs), strict=False)
    lengths = torch.tensor([7, 4])
    source, target = torch.randint(17, (2, 7)), torch.randint(13, (2, 5))
    memory = ours.encode(source, lengths)
    x = ours._placed(ours.target, target)
    layer = theirs.decoder.layers[0]
    later = nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64)
    x = layer.norm1(x + layer.self_attn(x, x, x, attn_mask=later, need_weights=False)[0])
    _, wanted = layer.multihead_attn(
        x, memory.values, memory.values, key_padding_mask=torch.arange(7) >= lengths[:, None]
    )
    assert torch.allclose(ours.attention(memory, target), wanted, atol=1e-10)
