#!/usr/bin/env python3
"""Writes what tests/nn/import_test.cpp knows of torchvision's and DeiT's weights files.

    python3 tests/golden/make_torchvision.py

Needs PyTorch and torchvision (written with 2.15 and 0.29).

torchvision_names.txt    per network a line [name], then a line "tensor extent extent ..." per tensor
                         of its state dict, counters left out
torchvision_vit.pth      {state_dict, images, logits} of a transformer of two blocks of width 8
deit_vit.pth             {model}: the same weights by timm's names, in the form of DeiT's files
"""

from pathlib import Path

import torch
import torchvision

HERE = Path(__file__).resolve().parent
NETWORKS = ["resnet18", "resnet50", "mobilenet_v2", "vgg16", "vgg16_bn", "vit_b_16"]


def names():
    lines = []
    for network in NETWORKS:
        with torch.device("meta"):
            state = getattr(torchvision.models, network)(weights=None).state_dict()
        lines.append(f"[{network}]")
        lines += [" ".join(map(str, [n, *v.shape])) for n, v in state.items() if not n.endswith("num_batches_tracked")]
    (HERE / "torchvision_names.txt").write_text("\n".join(lines) + "\n")


def timm_state(state):
    """Written out, not mapped by the rules that are tested."""
    ours = {
        "cls_token": "class_token",
        "pos_embed": "encoder.pos_embedding",
        "patch_embed.proj.weight": "conv_proj.weight",
        "patch_embed.proj.bias": "conv_proj.bias",
        "norm.weight": "encoder.ln.weight",
        "norm.bias": "encoder.ln.bias",
        "head.weight": "heads.head.weight",
        "head.bias": "heads.head.bias",
    }
    for i in range(2):
        ours |= {
            f"blocks.{i}.attn.qkv.weight": f"encoder.layers.encoder_layer_{i}.self_attention.in_proj_weight",
            f"blocks.{i}.attn.qkv.bias": f"encoder.layers.encoder_layer_{i}.self_attention.in_proj_bias",
        }
        for kind in ("weight", "bias"):
            ours |= {
                f"blocks.{i}.norm1.{kind}": f"encoder.layers.encoder_layer_{i}.ln_1.{kind}",
                f"blocks.{i}.norm2.{kind}": f"encoder.layers.encoder_layer_{i}.ln_2.{kind}",
                f"blocks.{i}.attn.proj.{kind}": f"encoder.layers.encoder_layer_{i}.self_attention.out_proj.{kind}",
                f"blocks.{i}.mlp.fc1.{kind}": f"encoder.layers.encoder_layer_{i}.mlp.0.{kind}",
                f"blocks.{i}.mlp.fc2.{kind}": f"encoder.layers.encoder_layer_{i}.mlp.3.{kind}",
            }
    assert sorted(ours.values()) == sorted(state)
    return {name: state[theirs].clone() for name, theirs in ours.items()}


def transformer():
    torch.manual_seed(7)
    model = torchvision.models.VisionTransformer(
        image_size=8, patch_size=4, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=3
    ).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn_like(p) * 0.5)
        images = torch.randn(2, 3, 8, 8)
        content = {"state_dict": model.state_dict(), "images": images, "logits": model(images)}
    torch.save(content, HERE / "torchvision_vit.pth")
    torch.save({"model": timm_state(model.state_dict())}, HERE / "deit_vit.pth")


names()
transformer()
