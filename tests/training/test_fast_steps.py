"""What makes steps on a CPU fast: masks of few random bits, which a seed decides, and memory that is kept."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import dropout, scaled_dot_product_attention

from llmkit.training.loop import allocator
from llmkit.training.loop.allocator import kept_memory
from llmkit.training.loop.dropout import draw_mask, quick_masks


def mask(p=0.9, shape=(301, 333), dtype=torch.bfloat16):
    return torch.empty(shape, dtype=dtype).bernoulli_(p)


def test_a_mask_holds_ones_with_their_probability_and_a_seed_decides_it():
    with quick_masks():
        torch.manual_seed(1)
        first = mask()
        state = torch.get_rng_state()
        second = mask()
        torch.set_rng_state(state)  # as a resumed run does
        again = mask()
    assert set(first.unique().tolist()) == {0.0, 1.0}
    assert first.float().mean().item() == pytest.approx(0.9, abs=0.005)
    assert not first.equal(second)
    assert second.equal(again)


def test_neighbours_do_not_depend_on_one_another():
    torch.manual_seed(0)
    drawn = draw_mask(torch.empty(400, 1000), 0.5) - 0.5
    for shift in (1, 2, 3, 4, 8):
        assert (drawn[:, shift:] * drawn[:, :-shift]).mean().abs() < 0.002


@pytest.mark.parametrize(("p", "share"), [(0.0, 0.0), (1.0, 1.0), (1 - 1e-9, 1.0)])
def test_nothing_and_everything_are_exact(p, share):
    assert draw_mask(torch.empty(7, 3), p).mean() == share


def test_a_mask_of_another_layout_is_filled_too():
    rows = torch.zeros(4000, 2).t()
    draw_mask(rows, 0.5)
    assert 0.4 < rows[0].mean() < 0.6
    assert not rows[0].equal(rows[1])


def test_dropout_and_attention_draw_so_inside_alone():
    torch.manual_seed(3)
    before = dropout(torch.ones(40), 0.5)
    query = torch.ones(1, 2, 5, 4)
    torch.manual_seed(3)
    with quick_masks():
        inside = dropout(torch.ones(40), 0.5)
        attended = scaled_dot_product_attention(query, query, query, dropout_p=0.5)
    torch.manual_seed(3)
    assert before.equal(dropout(torch.ones(40), 0.5))
    assert not before.equal(inside)
    assert set(inside.tolist()) == {0.0, 2.0}
    assert not attended.equal(query)


def test_gradients_go_through_a_mask():
    inputs = torch.ones(50, requires_grad=True)
    with quick_masks():
        out = dropout(inputs, 0.5)
        out.sum().backward()
    assert inputs.grad.equal(out.detach())


def test_memory_is_kept_and_given_back(monkeypatch):
    calls = []
    monkeypatch.setattr(allocator, "_mallopt", lambda: lambda name, value: calls.append((name, value)))
    for name in [name for name in allocator.os.environ if name.startswith("MALLOC_")]:
        monkeypatch.delenv(name)
    with kept_memory():
        assert calls == [(allocator.MMAP_MAX, 0), (allocator.TRIM_THRESHOLD, -1)]
        calls.clear()
    assert calls[0] == (allocator.MMAP_MAX, allocator.MMAP_MAX_BEFORE)


def test_what_the_user_sets_stays(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "100000")
    monkeypatch.setattr(allocator, "_mallopt", lambda: pytest.fail("it was asked"))
    with kept_memory():
        pass
