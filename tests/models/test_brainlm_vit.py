"""The image classes: the image itself, and the transformer against Hugging Face's ViT-MAE on a random configuration."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from brainlm_case import make_spec
from torch import Tensor

from boldtable.errors import InputError, SettingsError
from boldtable.models.brainlm_published import from_published
from boldtable.models.brainlm_vit import SCALE, BrainLMImages, ImageConfig, square_positions
from boldtable.objectives.masked_autoencoding import Masking, reconstruct

# 10 parcels and 8 frames in 16 x 16 pixels: rows 3 to 12, columns 4 to 11; 16 patches of 4 x 4.
CONFIG = ImageConfig(10, 16, 4, 24, 2, 3, 40, 16, 2, 2, 24)


def little_images(**changes: Any) -> BrainLMImages:
    torch.manual_seed(1)
    places = torch.randn(10, 3) * 30
    config = ImageConfig(**{**CONFIG.to_dict(), **changes})
    return BrainLMImages(config, make_spec(10, 8), places).eval()


def signal(batch: int = 2, n_frames: int = 8) -> Tensor:
    return torch.randn(batch, 10, n_frames, generator=torch.Generator().manual_seed(3))


def test_the_image_is_sorted_scaled_and_padded() -> None:
    model, x = little_images(), signal()
    image = model.image(x)
    assert image.shape == (2, 16, 16)
    y = model.coordinates[:, 1]
    assert torch.equal(y[model.order], y.sort().values)
    torch.testing.assert_close(image[:, 3:13, 4:12], x[:, y.argsort()] / SCALE)
    margin = torch.ones(16, 16, dtype=torch.bool)
    margin[3:13, 4:12] = False
    assert (image[:, margin] == -1).all()
    torch.testing.assert_close(model._signal(image, 8) * SCALE, x)


def test_parcels_in_another_order_give_the_same_features() -> None:
    model, x = little_images(), signal()
    order = torch.randperm(10, generator=torch.Generator().manual_seed(5))
    other = little_images()
    other.coordinates.copy_(model.coordinates[order])
    with torch.no_grad():
        torch.testing.assert_close(other.embed(x[:, order]), model.embed(x))
        assert (model.embed(x[:, order]) - model.embed(x)).abs().max() > 1e-3


@pytest.mark.parametrize("pooling", ["cls", "avg", "cls_avg"])
def test_what_is_absent_has_no_influence(pooling: str) -> None:
    model, x = little_images(pooling=pooling), signal()
    parcels, frames = torch.ones(2, 10, dtype=torch.bool), torch.ones(2, 8, dtype=torch.bool)
    parcels[0, model.order[:5]] = False
    parcels[1, 3] = False
    frames[:, 5:] = False
    other = x.clone()
    other[~parcels] = torch.nan
    other[:, :, 5:] = 1e6
    with torch.no_grad():
        found = model.embed(x, parcels, frames)
        torch.testing.assert_close(model.embed(other, parcels, frames), found, rtol=0, atol=0)
        assert (found - model.embed(x)).abs().max() > 1e-3
        whole = model.embed(x, torch.ones_like(parcels), torch.ones_like(frames))
        torch.testing.assert_close(whole, model.embed(x))
    assert found.shape == (2, model.n_features)


def test_patches_without_data_are_not_read_and_those_of_the_margin_are() -> None:
    model = little_images()
    parcels = torch.ones(1, 10, dtype=torch.bool)
    parcels[0, model.order[1:5]] = False  # the second row of patches, rows 4 to 7
    read = model.present(parcels, None, 8)
    assert read is not None
    assert read.view(4, 4).tolist() == [[True] * 4, [True, False, False, True], [True] * 4, [True] * 4]
    tokens = model.tokenize(signal(1), parcels)
    changed = torch.where(read[..., None], tokens, tokens + 1)
    with torch.no_grad():
        torch.testing.assert_close(model.encode(changed, read, 1), model.encode(tokens, read, 1), rtol=0, atol=0)


def test_the_reconstruction_comes_back_in_the_order_and_scale_of_the_signal() -> None:
    """With a decoder that says one number per patch, every value gets that of its own patch."""
    model, x = little_images(), signal()
    noise = torch.rand(2, 16, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        model.decoder.pixels.weight.zero_()
        model.decoder.pixels.bias.copy_(torch.arange(48) // 3)
        found = reconstruct(model, x, noise, Masking(0.5, "shuffled"))
    inside = torch.arange(16).view(4, 4).repeat(4, 4)[3:13, 4:12].float() * SCALE
    torch.testing.assert_close(found.signal[0][model.order], inside)
    assert found.counted.shape == x.shape
    assert 0 < found.counted.sum() < x.numel()
    hidden = found.counted[:, model.order].float()
    assert torch.equal(hidden[:, 1:5, 0:4], hidden[:, 1:2, 0:1].expand(2, 4, 4))


def test_positions_are_column_then_row_sines_before_cosines() -> None:
    found = square_positions(3, 8)
    assert found.shape == (10, 8)
    assert not found[0].any()
    for row, column in ((0, 2), (2, 1)):
        angles = [place * rate for place in (column, row) for rate in (1.0, 0.01)]
        expected = [math.sin(a) for a in angles[:2]] + [math.cos(a) for a in angles[:2]]
        expected += [math.sin(a) for a in angles[2:]] + [math.cos(a) for a in angles[2:]]
        torch.testing.assert_close(found[1 + 3 * row + column], torch.tensor(expected))


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="17 frames does not fit into an image of 16 columns"):
        little_images().embed(signal(n_frames=17))
    with pytest.raises(SettingsError, match="image_size 18 is no multiple of patch 4"):
        little_images(image_size=18)
    with pytest.raises(InputError, match="mean 0 and variance 1"):
        reconstruct(little_images(norm_pixels=True), signal(), torch.rand(2, 16), Masking(0.5, "shuffled"))


@pytest.fixture(scope="module")
def theirs() -> Any:
    transformers = pytest.importorskip("transformers", reason="no transformers here: pip install 'boldtable[test]'")
    torch.manual_seed(7)
    config = transformers.ViTMAEConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40, image_size=16, patch_size=4,
        decoder_hidden_size=16, decoder_num_hidden_layers=2, decoder_num_attention_heads=2,
        decoder_intermediate_size=24, mask_ratio=0.75,
    )  # fmt: skip
    model = transformers.ViTMAEForPreTraining(config).eval()
    for name, parameter in model.named_parameters():
        if "position_embeddings" not in name and "pos_embed" not in name:
            parameter.data.add_(0.2 * torch.randn_like(parameter))
    # Its version 5 leaves them zero where a model is not read from a file.
    model.vit.embeddings.position_embeddings.data[:] = square_positions(4, 24)
    model.decoder.decoder_pos_embed.data[:] = square_positions(4, 16)
    return model


# Names of transformers 5 → those of 4, which the published checkpoints have.
RENAMED = (
    (r"^vit\.layers\.", "vit.encoder.layer."),
    (r"\.attention\.q_proj\.", ".attention.attention.query."),
    (r"\.attention\.k_proj\.", ".attention.attention.key."),
    (r"\.attention\.v_proj\.", ".attention.attention.value."),
    (r"\.attention\.o_proj\.", ".attention.output.dense."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
)


def published(theirs: Any) -> dict[str, Tensor]:
    found = {}
    for name, tensor in theirs.state_dict().items():
        for pattern, older in RENAMED:
            name = re.sub(pattern, older, name)
        found[name] = tensor
    return found


def ours(theirs: Any) -> BrainLMImages:
    model = little_images()
    state = from_published(published(theirs), CONFIG)
    model.load_state_dict({**state, "coordinates": model.coordinates})
    return model


def test_the_transformer_is_that_of_vit_mae(theirs: Any) -> None:
    model, x = ours(theirs), signal()
    image = model.image(x)[:, None].expand(-1, 3, -1, -1)
    noise = torch.rand(2, 16, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        found = reconstruct(model, x, noise, Masking(0.75, "shuffled"))
        expected = theirs(image, noise=noise)
        latent = theirs.vit(image, noise=noise)
        places = noise.argsort(dim=1)[:, :4]
        pixels = model.pixels(found.latent, places)
    torch.testing.assert_close(found.latent, latent.last_hidden_state, rtol=0, atol=1e-5)
    torch.testing.assert_close(pixels, expected.logits, rtol=0, atol=1e-5)
    channel_mean = theirs.unpatchify(expected.logits).mean(dim=1)[:, 3:13, 4:12]
    torch.testing.assert_close(found.signal[:, model.order] / SCALE, channel_mean, rtol=0, atol=1e-5)
    hidden = theirs.unpatchify(expected.mask[..., None].expand(-1, -1, 48))[:, 0, 3:13, 4:12]
    assert torch.equal(found.counted[:, model.order].float(), hidden)


def test_features_are_those_of_vit_mae_with_nothing_hidden(theirs: Any) -> None:
    model, x = ours(theirs), signal()
    theirs.vit.embeddings.config.mask_ratio = 0.0
    image = model.image(x)[:, None].expand(-1, 3, -1, -1)
    with torch.no_grad():
        expected = theirs.vit(image, noise=torch.arange(16.0).expand(2, 16)).last_hidden_state[:, 0]
        torch.testing.assert_close(model.embed(x), expected, rtol=0, atol=1e-5)
    theirs.vit.embeddings.config.mask_ratio = 0.75
