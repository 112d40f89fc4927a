"""What must hold for the objective beyond the stored numbers: switches, missing data, collapse, many processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from published_case import make_spec
from torch import Tensor, distributed, multiprocessing

from boldtable.errors import SettingsError
from boldtable.models.semantoks import Semantoks, semantoks_config
from boldtable.objectives.coding_rate import coding_rate
from boldtable.objectives.distillation import SelfDistillation, distillation_config, hidden_token_loss
from boldtable.objectives.masks import slice_masks
from boldtable.objectives.monitors import effective_rank, token_similarity

NETWORKS = ("vis", "som", "vis", "dmn", "som", "dmn", "dmn", "lim")
BATCH = 6


def build(**weights: float) -> SelfDistillation:
    torch.manual_seed(0)
    encoder = Semantoks(semantoks_config("tiny", NETWORKS, window_frames=60), make_spec(NETWORKS, 60))
    return SelfDistillation(encoder, distillation_config("tiny", **weights))


def batch() -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(1)
    views = {f"view{view}": torch.randn(BATCH, 8, 60, generator=g) for view in (1, 2)}
    return views | {f"mask{view}": slice_masks(BATCH, 4, 3, g) for view in (1, 2)}


def gaps() -> dict[str, Tensor]:
    parcels = torch.ones(BATCH, 8, dtype=torch.bool)
    parcels[0, 7] = parcels[1, 2] = False
    frames = torch.ones(2, BATCH, 60, dtype=torch.bool)
    frames[0, 2, 40:] = frames[1, 2, 50:] = False
    return {"parcel_mask": parcels, "frame_mask1": frames[0], "frame_mask2": frames[1]}


def test_total_is_the_sum_of_its_parts_and_weights_scale_them() -> None:
    once, twice = build().losses(**batch(), network_weight=0.5), build(cls_weight=2, mask_weight=1).losses(
        **batch(), network_weight=1.0
    )  # fmt: skip
    for name in ("cls", "network", "tokens"):
        torch.testing.assert_close(twice[name], 2 * once[name])
        assert once[name] != 0
    torch.testing.assert_close(once["total"], once["cls"] + once["network"] + once["tokens"])
    assert all(value.shape == () and torch.isfinite(value) for value in once.values())


def test_losses_can_be_switched_off() -> None:
    off = build(cls_weight=0, mask_weight=0).losses(**batch(), network_weight=0.5)
    assert off["cls"] == 0
    assert off["tokens"] == 0
    assert off["total"] == off["network"]
    assert "cls_compression" not in off
    no_masks = build().losses(batch()["view1"], batch()["view2"])
    assert no_masks["tokens"] == 0
    assert no_masks["network"] == 0
    with pytest.raises(ValueError, match="both views"):
        build().losses(batch()["view1"], batch()["view2"], batch()["mask1"])


def test_everything_present_equals_no_masks() -> None:
    everything = {name: torch.ones_like(mask) for name, mask in gaps().items()}
    plain = build().losses(**batch(), network_weight=0.5, monitor=True)
    given = build().losses(**batch(), **everything, network_weight=0.5, monitor=True)
    for name, value in plain.items():
        torch.testing.assert_close(given[name], value, atol=2e-5, rtol=1e-5, msg=name)


def test_absent_values_do_not_reach_losses_or_gradients() -> None:
    results = []
    for junk in (0.0, float("nan")):
        objective, data, absent = build(), batch(), gaps()
        for view in (1, 2):
            data[f"view{view}"][~absent["parcel_mask"]] = junk
            data[f"view{view}"].transpose(1, 2)[~absent[f"frame_mask{view}"]] = junk
        found = objective.losses(**data, **absent, network_weight=0.5, monitor=True)
        found["total"].backward()
        grads = [p.grad for p in objective.student_parameters()]
        results.append([*found.values(), *grads])
    for clean, spoiled in zip(*results, strict=True):
        assert torch.equal(clean, spoiled)
        assert torch.isfinite(spoiled).all()


def test_rows_left_out_of_the_coding_rate_do_not_count() -> None:
    g = torch.Generator().manual_seed(2)
    student, teacher = (torch.nn.functional.normalize(torch.randn(2, 20, 8, generator=g), dim=-1) for _ in range(2))
    present = torch.arange(20) < 13
    some, all_of_them = coding_rate(student, teacher, present), coding_rate(student[:, :13], teacher[:, :13])
    for left, right in zip(some, all_of_them, strict=True):
        torch.testing.assert_close(left, right)


def test_hidden_token_loss_averages_windows_first() -> None:
    units = torch.nn.functional.one_hot(torch.tensor([[0, 1, 0], [0, 0, 0]]), 2).float()
    other = torch.tensor([1.0, 0.0]).expand(2, 3, 2)
    hidden = torch.tensor([[True, True, False], [True, False, False]])
    assert hidden_token_loss(units, other, hidden).item() == pytest.approx(-(0.5 + 1.0) / 2)
    assert hidden_token_loss(units, other, torch.zeros_like(hidden)).item() == 0


def test_collapse_monitors() -> None:
    g = torch.Generator().manual_seed(3)
    direction, spread = torch.randn(64, generator=g), torch.randn(30, 12, 64, generator=g)
    assert token_similarity(direction.expand(30, 12, 64)).item() == pytest.approx(1.0, abs=1e-5)
    assert abs(token_similarity(spread).item()) < 0.02
    half = torch.arange(12).expand(30, 1, 12) < 6
    expected = token_similarity(spread[:, :6])
    torch.testing.assert_close(token_similarity(spread, half), expected)
    assert effective_rank(torch.randn(500, 8, generator=g)).item() == pytest.approx(8, abs=0.3)
    assert effective_rank(torch.randn(500, 1, generator=g) * direction).item() == pytest.approx(1, abs=0.01)
    assert effective_rank(direction.expand(500, 64)).item() == pytest.approx(1, abs=0.01)


def test_the_coding_rate_falls_when_views_collapse() -> None:
    g = torch.Generator().manual_seed(4)
    spread = torch.nn.functional.normalize(torch.randn(1, 64, 16, generator=g), dim=-1).expand(2, -1, -1)
    flat = spread[:, :1].expand(2, 64, 16)
    assert coding_rate(flat, flat).expansion < 0.3 * coding_rate(spread, spread).expansion
    assert coding_rate(spread, spread).compression.item() == pytest.approx(1.0, abs=1e-5)


def test_teacher_starts_as_the_student_never_trains_and_keeps_its_buffers() -> None:
    objective = build()
    for (name, ours), theirs in zip(
        objective.student.state_dict().items(), objective.teacher.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name
    assert not any(p.requires_grad for p in [*objective.teacher.parameters(), *objective.teacher_head.parameters()])
    with torch.no_grad():
        for p in objective.student_parameters():
            p.add_(1.0)
        objective.student.tokenizer.networks[0].long.norm.add_(1.0)
    before = objective.teacher.cls_token.clone()
    norm = objective.teacher.tokenizer.networks[0].long.norm.clone()
    objective.update_teacher(0.75)
    torch.testing.assert_close(objective.teacher.cls_token, before + 0.25)
    assert torch.equal(objective.teacher.tokenizer.networks[0].long.norm, norm)
    objective.update_teacher(1.0)
    torch.testing.assert_close(objective.teacher.cls_token, before + 0.25)


def train(steps: int) -> tuple[list[float], Tensor]:
    objective, data = build(), batch()
    optimiser = torch.optim.AdamW(objective.student_parameters(), lr=1e-3)
    values = []
    for _ in range(steps):
        loss = objective.losses(**data, network_weight=0.2)["total"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        objective.update_teacher(0.9)
        values.append(loss.item())
    return values, objective.teacher.network_embedding.detach()


def test_training_is_deterministic_and_lowers_the_loss() -> None:
    first, again = train(8), train(8)
    assert first[0] == again[0]
    assert torch.equal(first[1], again[1])
    assert first[0][-1] < first[0][0] - 0.1


def test_autocast_keeps_losses_in_float32_and_close() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        low = build().losses(**batch(), network_weight=0.5)
    high = build().losses(**batch(), network_weight=0.5)
    for name in ("total", "cls", "network", "tokens"):
        assert low[name].dtype == torch.float32
        torch.testing.assert_close(low[name], high[name], atol=0.02, rtol=0.02)


def test_unknown_size_is_refused() -> None:
    with pytest.raises(SettingsError, match="unknown size 'huge'"):
        distillation_config("huge")


def double_batch() -> dict[str, Tensor]:
    return {name: t.double() if t.is_floating_point() else t for name, t in (batch() | gaps()).items()}


def gradients(rank: int, world: int, folder: str) -> None:
    """Losses and averaged gradients of this process's share of the batch, in float64; process 0 stores them."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=world)
    share = slice(rank * BATCH // world, (rank + 1) * BATCH // world)
    objective = build().double()
    found = objective.losses(**{name: t[share] for name, t in double_batch().items()}, network_weight=0.5)
    found["total"].backward()
    for parameter in objective.student_parameters():
        assert parameter.grad is not None
        distributed.all_reduce(parameter.grad)
        parameter.grad /= world
    if rank == 0:
        losses = {name: found[name].detach() for name in ("total", "cls", "network", "tokens")}
        torch.save((losses, [p.grad for p in objective.student_parameters()]), f"{folder}/result.pt")
    distributed.destroy_process_group()


def test_two_processes_with_half_the_batch_equal_one_with_all(tmp_path: Path) -> None:
    multiprocessing.spawn(gradients, args=(2, str(tmp_path)), nprocs=2)
    losses, grads = torch.load(tmp_path / "result.pt", weights_only=True)
    objective = build().double()
    alone = objective.losses(**double_batch(), network_weight=0.5)
    alone["total"].backward()
    for name, value in losses.items():
        torch.testing.assert_close(value, alone[name].detach(), atol=1e-10, rtol=1e-10, msg=name)
    expected = [parameter.grad for parameter in objective.student_parameters()]
    assert len(expected) == len(grads)
    for ours, theirs in zip(grads, expected, strict=True):
        assert theirs is not None
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-8)
