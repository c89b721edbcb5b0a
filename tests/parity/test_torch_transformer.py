"""Transformer blocks and attention against torch.nn on the same weights."""

import pytest
import torch
from torch import nn

from gradus.nn.attention import CrossAttention
from gradus.nn.transformer import TransformerBlock

PARTS = {
    "self_attn.in_proj_": "attention.qkv.", "self_attn.out_proj.": "attention.out.", "linear1.": "mlp.linear1.",
    "linear2.": "mlp.linear2.", "norm1.": "norm1.", "multihead_attn.out_proj.": "cross.out.",
}  # fmt: skip


def mapped(theirs: nn.Module) -> dict[str, torch.Tensor]:
    """Return the weights of torch's layer under our names."""
    found = {}
    decoder = hasattr(theirs, "multihead_attn")
    names = {**PARTS, **({"norm2.": "norm_source.", "norm3.": "norm2."} if decoder else {"norm2.": "norm2."})}
    for key, value in theirs.state_dict().items():
        if key.startswith("multihead_attn.in_proj_"):
            kind, width = key.removeprefix("multihead_attn.in_proj_"), len(value) // 3
            found[f"cross.query.{kind}"], found[f"cross.key_value.{kind}"] = value.split((width, 2 * width))
            continue
        start = next(start for start in names if key.startswith(start))
        found[names[start] + key.removeprefix(start)] = value
    return found


def shaken(module: nn.Module) -> nn.Module:
    """Give every parameter a random value, so that no zero or one hides a mistake."""
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn_like(p) / 3)
    return module.double().eval()


@pytest.mark.parametrize("pre", [True, False])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("causal", [False, True])
def test_encoder_layer(pre, activation, causal):
    torch.manual_seed(0)
    theirs = shaken(nn.TransformerEncoderLayer(12, 3, 20, activation=activation, norm_first=pre, batch_first=True))
    ours = TransformerBlock(12, 3, hidden=20, norm="pre" if pre else "post", activation=activation, eps=1e-5).double()
    ours.load_state_dict(mapped(theirs))
    x = torch.randn(2, 7, 12, dtype=torch.float64)
    there = torch.tensor([[True] * 7, [True] * 5 + [False] * 2])
    later = nn.Transformer.generate_square_subsequent_mask(7, dtype=torch.float64) if causal else None
    expected = theirs(x, src_mask=later, src_key_padding_mask=~there if not causal else None)
    found = ours(x, mask=None if causal else there[:, None, None], causal=causal)
    assert torch.allclose(found[there], expected[there], atol=1e-10)


@pytest.mark.parametrize("pre", [True, False])
def test_decoder_layer(pre):
    torch.manual_seed(0)
    theirs = shaken(nn.TransformerDecoderLayer(12, 3, 20, norm_first=pre, batch_first=True))
    norm = "pre" if pre else "post"
    ours = TransformerBlock(12, 3, hidden=20, norm=norm, activation="relu", source=12, eps=1e-5).double()
    ours.load_state_dict(mapped(theirs))
    x, memory = torch.randn(2, 5, 12, dtype=torch.float64), torch.randn(2, 7, 12, dtype=torch.float64)
    there = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    later = nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64)
    expected = theirs(x, memory, tgt_mask=later, memory_key_padding_mask=~there)
    found = ours(x, causal=True, source=memory, source_mask=there[:, None, None])
    assert torch.allclose(found, expected, atol=1e-10)
    assert ours.cross is not None
    again = ours(x, causal=True, source=memory, source_mask=there[:, None, None], projected=ours.cross.project(memory))
    assert torch.equal(again, found)


def test_cross_attention_to_a_source_of_another_width():
    torch.manual_seed(0)
    theirs = shaken(nn.MultiheadAttention(12, 3, kdim=8, vdim=8, batch_first=True))
    ours = CrossAttention(12, 3, source=8).double()
    w = theirs.state_dict()
    query_bias, other_bias = w["in_proj_bias"].split((12, 24))
    ours.load_state_dict({
        "query.weight": w["q_proj_weight"], "query.bias": query_bias,
        "key_value.weight": torch.cat([w["k_proj_weight"], w["v_proj_weight"]]), "key_value.bias": other_bias,
        "out.weight": w["out_proj.weight"], "out.bias": w["out_proj.bias"],
    })  # fmt: skip
    x, source = torch.randn(2, 5, 12, dtype=torch.float64), torch.randn(2, 7, 8, dtype=torch.float64)
    expected, _ = theirs(x, source, source, need_weights=False)
    assert torch.allclose(ours(x, source), expected, atol=1e-10)
