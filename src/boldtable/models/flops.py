"""How much arithmetic a model is, counted by PyTorch on tensors without memory."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch.utils.flop_counter import FlopCounterMode

from boldtable.models.brainlm import BrainLM
from boldtable.models.brainlm_vit import BrainLMImages
from boldtable.models.folder import StoredEncoder
from boldtable.models.semantoks import Semantoks
from boldtable.models.tokenizers import NetworkTokenizer, NetworkTokenizers


def forward_flops(encoder: StoredEncoder, n_frames: int | None = None) -> int:
    """Return the floating-point operations of one window through `encoder`, a multiplication and an addition each one.

    Matrix products, convolutions and attention of the model as it is defined, on all tokens, so that models and
    programs compare; `n_frames` is the length of the window, None that of the model's input.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        if isinstance(encoder, Semantoks):
            _semantoks(encoder, n_frames)
        else:
            shape = (1, len(encoder.spec.parcels), n_frames or encoder.spec.n_frames)
            with torch.device("meta"):
                model: Any = type(encoder).from_config(encoder.config.to_dict(), encoder.spec)  # type: ignore[attr-defined]
                x = torch.empty(shape)
                if isinstance(model, BrainLM | BrainLMImages):
                    model.encode(model.tokenize(x))  # embed spares the last layer all but the summary token
                else:
                    model.eval().embed(x)
    return int(counter.get_total_flops())


def _semantoks(encoder: Semantoks, n_frames: int | None) -> None:
    """Run a window through Semantoks, each branch of its tokenizer as a convolution of its own.

    The folded products that `NetworkTokenizer` runs instead are 3 % more in the published size. A training sample of
    two views costs up to eight times this: the student's forward and backward and the teacher's forward for each view.
    """
    config = encoder.config
    n_patches = -(-(n_frames or config.window_frames) // config.patch_frames)
    with torch.device("meta"):
        model = Semantoks(config, encoder.spec)
    if isinstance(model.tokenizer, NetworkTokenizers):
        for size, network in zip(model.tokenizer.sizes, model.tokenizer.networks, strict=True):
            patches = torch.empty(n_patches, size, config.patch_frames, device="meta")
            cast(NetworkTokenizer, network).definition(patches)
    else:
        model.tokenizer(torch.empty(1, n_patches, config.patch_frames, len(config.networks), device="meta"))
    model.encode(torch.empty(1, len(config.groups), n_patches, config.width, device="meta"))
