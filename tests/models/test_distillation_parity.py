"""Losses, gradients, schedules and a short training run give the numbers of the authors' code."""

from __future__ import annotations

import pytest
import torch
from published_case import Stored, stored_encoder, stored_objective, tiny_config
from torch import Tensor

from boldtable.models.published import published_name
from boldtable.objectives import schedules
from boldtable.objectives.coding_rate import coding_rate
from boldtable.objectives.distillation import SelfDistillation

LOSS = {"atol": 5e-6, "rtol": 0.0}
CASES = ["masked", "unmasked", "unmasked_ttr"]


@pytest.fixture(scope="module")
def stored() -> Stored:
    return Stored("semantoks_losses.npz")


def run(stored: Stored, case: str, objective: SelfDistillation) -> dict[str, Tensor]:
    masks = [stored[f"input/mask{view}"] if case == "masked" else None for view in (1, 2)]
    weight = 0.0 if case == "unmasked" else 0.5
    return objective.losses(stored["input/view1"], stored["input/view2"], *masks, network_weight=weight)


def theirs(objective: SelfDistillation) -> dict[str, torch.nn.Parameter]:
    """Student and teacher parameters by the authors' names."""
    found = {}
    for role, encoder, head in (
        ("student", objective.student, objective.head),
        ("teacher", objective.teacher, objective.teacher_head),
    ):
        found |= {f"{role}_encoder.{published_name(name)}": p for name, p in encoder.named_parameters()}
        found |= {f"{role}_predictor.{name}": p for name, p in head.named_parameters()}
    return found


@pytest.mark.parametrize("case", CASES)
def test_losses(stored: Stored, case: str) -> None:
    found = run(stored, case, stored_objective(stored))
    pairs = {"total": "total", "cls": "cls_loss", "cls_compression": "cls_comp", "cls_expansion": "cls_expa"}
    if case != "unmasked":
        pairs |= {
            "network": "network_loss", "network_compression": "network_comp", "network_expansion": "network_expa"
        }  # fmt: skip
        unweighted = -found["network_compression"] - found["network_expansion"]
        torch.testing.assert_close(unweighted, stored[f"{case}/network_mcr_unweighted"], **LOSS)
    if case == "masked":
        pairs |= {"tokens": "mask_loss"}
        torch.testing.assert_close(found["tokens"].detach() / 0.5, stored[f"{case}/patch_loss_unweighted"], **LOSS)
    for ours, reference in pairs.items():
        torch.testing.assert_close(found[ours].detach(), stored[f"{case}/{reference}"], **LOSS, msg=ours)


@pytest.mark.parametrize("case", CASES)
def test_tokens_and_projections(stored: Stored, case: str) -> None:
    objective = stored_objective(stored)
    both = torch.cat([stored["input/view1"], stored["input/view2"]])
    hidden = torch.cat([stored["input/mask1"], stored["input/mask2"]])
    with torch.no_grad():
        outputs = {
            "student": (objective.student(both, hidden if case == "masked" else None), objective.head),
            "teacher": (objective.teacher(both), objective.teacher_head),
        }
        for role, (tokens, head) in outputs.items():
            expected = stored[f"{case}/{role}_tokens"].flatten(0, 1)
            torch.testing.assert_close(tokens, expected, atol=1e-5, rtol=0.0)
            cls = head(tokens[:, 0]).view(2, 4, -1)
            torch.testing.assert_close(cls, stored[f"{case}/{role}_cls_proj"], **LOSS)
            if case != "unmasked":
                networks = head(tokens[:, 1:].view(8, 9, 5, -1).mean(dim=2)).view(2, 36, -1)
                torch.testing.assert_close(networks, stored[f"{case}/{role}_net_proj"], **LOSS)
            for view in (1, 2) if case == "masked" else ():
                part = slice(4 * (view - 1), 4 * view)
                rows = head(tokens[part, 1:][hidden[part].flatten(1)])
                torch.testing.assert_close(rows, stored[f"{case}/{role}_mask_proj_view{view}"], **LOSS)


@pytest.mark.parametrize("case", CASES)
def test_gradients_of_all_parameters(stored: Stored, case: str) -> None:
    objective = stored_objective(stored)
    run(stored, case, objective)["total"].backward()
    parameters = theirs(objective)
    names = [str(name) for name in stored.arrays["grad_names"]]
    assert set(names) == {name for name in parameters if name.startswith("student")}
    norms, absent = stored[f"{case}/grad_l2"], stored.arrays[f"{case}/grad_is_none"]
    for name, norm, none in zip(names, norms, absent, strict=True):
        grad = parameters[name].grad
        assert (grad is None) == bool(none), name
        if grad is not None:
            torch.testing.assert_close(grad.double().norm(), norm, rtol=1e-4, atol=1e-9, msg=name)
    for name, full in stored.below(f"{case}/grad/").items():
        grad = parameters[name].grad
        assert grad is not None
        error = (grad.view(full.shape) - full).abs().max()
        assert error <= 1e-4 * full.abs().max(), name
    assert all(p.grad is None for name, p in parameters.items() if name.startswith("teacher"))


@pytest.mark.parametrize("suffix", ["", "_corr"])
def test_coding_rate_and_its_gradient(stored: Stored, suffix: str) -> None:
    student = stored[f"mcr/student{suffix}"].requires_grad_()
    rate = coding_rate(student, stored[f"mcr/teacher{suffix}"])
    rate.loss.backward()
    tolerance = {"atol": 2e-6, "rtol": 0.0}
    torch.testing.assert_close(rate.loss.detach(), stored[f"mcr/loss{suffix}"], **tolerance)
    torch.testing.assert_close(rate.expansion.detach(), stored[f"mcr/expa{suffix}"], **tolerance)
    for name in ("comp", "global_comp"):
        torch.testing.assert_close(rate.compression.detach(), stored[f"mcr/{name}{suffix}"], **tolerance)
    full = stored[f"mcr/grad_student{suffix}"]
    assert student.grad is not None
    assert (student.grad - full).abs().max() <= 1e-4 * full.abs().max()


def test_teacher_update(stored: Stored) -> None:
    objective = stored_objective(stored)
    momentum = schedules.ema_momentum(3, 10, base=0.9)
    assert momentum == pytest.approx(0.92061, abs=1e-5)
    objective.update_teacher(momentum)
    parameters = theirs(objective)
    for name, expected in stored.below("ema/after/").items():
        torch.testing.assert_close(parameters[name].view(expected.shape), expected, atol=1e-6, rtol=0.0, msg=name)


SCHEDULES = {
    "ema_momentum": lambda step: schedules.ema_momentum(step, 140, base=0.99),
    "network_loss_weight": lambda step: schedules.network_weight(step, 35),
    "network_loss_weight_linear": lambda step: schedules.network_weight(step, 35, shape="linear"),
    "network_loss_weight_delay2": lambda step: schedules.network_weight(step, 35, delay=14),
    "lr_factor": lambda step: schedules.learning_rate_factor(step, 140, 21),
    "weight_decay": lambda step: schedules.weight_decay(step, 140),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(stored: Stored, name: str) -> None:
    steps = stored.arrays["sched/step"]
    assert [SCHEDULES[name](int(step)) for step in steps] == pytest.approx(stored.arrays[f"sched/{name}"], abs=1e-12)


def test_eight_training_steps(stored: Stored) -> None:
    objective = stored_objective(stored)
    optimiser = torch.optim.AdamW(objective.student_parameters(), lr=1e-3)
    views = [stored["input/view1"], stored["input/view2"]]
    masks = [stored["input/mask1"], stored["input/mask2"]]
    record: dict[str, list[float]] = {name: [] for name in ("loss", "cls_loss", "network_loss", "mask_loss")}
    record |= {name: [] for name in ("grad_norm", "lr", "wd", "netw", "momentum")}
    for step in range(8):
        odd = step % 2 == 1
        group = optimiser.param_groups[0]
        group["lr"] = 1e-3 * schedules.learning_rate_factor(step, 8, 2)
        group["weight_decay"] = schedules.weight_decay(step, 8)
        weight = schedules.network_weight(step, 4)
        found = objective.losses(*(views[::-1] if odd else views), *([] if odd else masks), network_weight=weight)
        optimiser.zero_grad(set_to_none=True)
        found["total"].backward()
        norm = torch.nn.utils.clip_grad_norm_(list(objective.student_parameters()), 1.0)
        optimiser.step()
        momentum = schedules.ema_momentum(step, 8, base=0.9)
        objective.update_teacher(momentum)
        values = [found[name].item() for name in ("total", "cls", "network", "tokens")]
        values += [norm.item(), group["lr"], group["weight_decay"], weight, momentum]
        for name, value in zip(record, values, strict=True):
            record[name].append(value)
    for name in ("loss", "cls_loss", "network_loss", "mask_loss"):
        assert record[name] == pytest.approx(stored.arrays[f"traj/{name}"], abs=5e-5), name
    assert record["grad_norm"] == pytest.approx(stored.arrays["traj/grad_norm"], rel=1e-4)
    for name in ("lr", "wd", "netw", "momentum"):
        assert record[name] == pytest.approx(stored.arrays[f"traj/{name}"], abs=1e-12), name
    parameters = theirs(objective)
    for name, expected in stored.below("traj/final/").items():
        torch.testing.assert_close(parameters[name].view(expected.shape), expected, atol=1e-5, rtol=0.0, msg=name)
    with torch.no_grad():
        features = objective.teacher.embed(views[0])
    torch.testing.assert_close(features, stored["traj/final_teacher_cls_avg"], atol=1e-4, rtol=0.0)


def test_student_and_teacher_have_their_own_stored_weights(stored: Stored) -> None:
    student, teacher = (stored_encoder(stored, f"{role}_encoder.") for role in ("student", "teacher"))
    assert not torch.equal(student.cls_token, teacher.cls_token)
    assert student.config == tiny_config(stored)
