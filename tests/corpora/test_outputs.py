"""The numbers that are linearised: margins of the correct class and of the next token."""

import pytest
import torch
from torch.func import grad, vmap
from torch.nn import functional as F

from selectlib.corpora._outputs import CausalLMMargin, CorrectClassMargin, NegativeLoss, OutputFunction, margin
from selectlib.seeding import generator


def logits_and_labels(seed, *shape, classes=7, dtype=torch.float64):
    draws = generator(seed)
    logits = 3 * torch.randn(*shape, classes, dtype=dtype, generator=draws)
    return logits, torch.randint(classes, shape, generator=draws)


def given(inputs):
    """A model whose logits are its inputs."""
    return inputs


class Table(torch.nn.Module):
    """A language model: logits of the next token by the present one and its place."""

    def __init__(self, vocab=5, length=6, seed=100):
        super().__init__()
        self.weight = torch.nn.Parameter(2 * torch.randn(vocab, length, vocab, generator=generator(seed)).double())

    def forward(self, tokens):
        return self.weight[tokens, torch.arange(tokens.shape[-1])]


@pytest.mark.oracle
def test_margin_is_the_log_odds_of_the_label():
    logits, labels = logits_and_labels(100, 50)
    p = logits.softmax(-1)[torch.arange(50), labels]
    torch.testing.assert_close(CorrectClassMargin()(given, logits, labels), (p / (1 - p)).log(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(CorrectClassMargin().weight(given, logits, labels), 1 - p, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_margin_is_finite_however_sure_the_model_is(dtype):
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0], [1e4, 1e4, -1e4]], dtype=dtype, requires_grad=True)
    found = margin(logits, torch.tensor([0, 0, 2]))
    torch.testing.assert_close(found, torch.tensor([1e4, -2e4, -2e4 - torch.tensor(2.0).log()], dtype=dtype))
    found.sum().backward()
    want = torch.tensor([[1, 0, -1], [1, -1, 0], [-0.5, -0.5, 1]], dtype=dtype)
    torch.testing.assert_close(logits.grad, want, rtol=1e-3, atol=1e-5)  # float32 tells 1e4 from 1e4 + 0.001


@pytest.mark.oracle
def test_gradient_of_the_margin_in_both_modes():
    logits, labels = logits_and_labels(101, 3, 4)
    assert torch.autograd.gradcheck(
        lambda x: margin(x, labels), (logits.requires_grad_(),), check_forward_ad=True, check_batched_grad=True
    )


@pytest.mark.oracle
def test_gradient_of_the_loss_is_the_weighted_gradient_of_the_margin():
    logits, labels = logits_and_labels(102, 200, dtype=torch.float32)
    of_loss = vmap(grad(lambda x, y: F.cross_entropy(x[None], y[None])))(logits, labels)
    of_margin = vmap(grad(lambda x, y: margin(x[None], y[None])[0]))(logits, labels)
    p = logits.softmax(-1)[torch.arange(200), labels]
    torch.testing.assert_close(of_loss, -(1 - p).unsqueeze(1) * of_margin, rtol=1e-5, atol=1e-6)


@pytest.mark.oracle
def test_a_constant_added_to_the_logits_changes_nothing():
    logits, labels = logits_and_labels(103, 40)
    for output in (CorrectClassMargin(), NegativeLoss(CorrectClassMargin())):
        torch.testing.assert_close(output(given, logits + 17, labels), output(given, logits, labels))


@pytest.mark.oracle
def test_language_margin_is_the_mean_over_counted_positions():
    model, draws = Table(), generator(104)
    tokens = torch.randint(5, (8, 7), generator=draws)
    mask = torch.rand(8, 7, generator=draws) < 0.6
    mask[:, 3] = True
    mask[:, 0] = True  # never counted, whatever the mask says
    for batch, counted in (((tokens, mask), mask), ((tokens,), torch.ones_like(mask))):
        outputs, weights, losses = [], [], []
        for row, counts in zip(tokens, counted, strict=True):
            p = torch.stack([model(row[:j])[-1].softmax(-1)[row[j]] for j in range(1, 7) if counts[j]])
            outputs.append((p / (1 - p)).log().mean())
            weights.append((1 - p).mean())
            losses.append(-p.log().mean())
        torch.testing.assert_close(CausalLMMargin()(model, *batch), torch.stack(outputs))
        torch.testing.assert_close(CausalLMMargin().weight(model, *batch), torch.stack(weights))
        loss = NegativeLoss(CausalLMMargin())
        torch.testing.assert_close(loss(model, *batch), -torch.stack(losses))
        assert loss.weight(model, *batch).tolist() == [1.0] * 8


def test_negative_loss_is_minus_the_cross_entropy():
    logits, labels = logits_and_labels(105, 60)
    found = NegativeLoss(CorrectClassMargin())(given, logits, labels)
    torch.testing.assert_close(found, -F.cross_entropy(logits, labels, reduction="none"))


def test_outputs_and_weights_from_one_run_are_those_of_two():
    model, tokens = Table(), torch.randint(5, (4, 7), generator=generator(106))
    runs = []

    def forward(inputs):
        runs.append(inputs.shape)
        return model(inputs)

    for output in (CausalLMMargin(), NegativeLoss(CausalLMMargin())):
        runs.clear()
        values, weights = output.with_weight(forward, tokens)
        assert runs == [(4, 6)]  # the last token is only predicted, never read
        torch.testing.assert_close(values, output(model, tokens))
        torch.testing.assert_close(weights, output.weight(model, tokens).to(weights.dtype))


def test_an_example_that_counts_nothing_has_no_gradient():
    model, tokens = Table(), torch.randint(5, (2, 7), generator=generator(107))
    mask = torch.zeros(2, 7, dtype=torch.bool)
    mask[:, 0] = True
    found = CausalLMMargin()(model, tokens, mask)
    assert found.tolist() == [0.0, 0.0]
    found.sum().backward()
    assert not model.weight.grad.any()


def test_outputs_work_an_example_at_a_time_under_vmap():
    model, tokens = Table(), torch.randint(5, (4, 7), generator=generator(108))
    mask = torch.rand(4, 7, generator=generator(109)) < 0.5
    each = vmap(lambda t, m: CausalLMMargin()(model, t[None], m[None])[0])(tokens, mask)
    torch.testing.assert_close(each, CausalLMMargin()(model, tokens, mask))


def test_ready_made_outputs_follow_the_protocol_and_name_themselves():
    for output, name in (
        (CorrectClassMargin(), "CorrectClassMargin()"),
        (CausalLMMargin(), "CausalLMMargin()"),
        (NegativeLoss(CausalLMMargin()), "NegativeLoss(CausalLMMargin())"),
    ):
        assert isinstance(output, OutputFunction)
        assert repr(output) == name


def test_what_does_not_fit_is_refused():
    logits, labels = logits_and_labels(110, 4)
    with pytest.raises(ValueError, match=r"examples for CorrectClassMargin\(\) must be \(inputs, labels\), got 1"):
        CorrectClassMargin()(given, logits)
    with pytest.raises(ValueError, match=r"\(tokens,\) or \(tokens, target_mask\), got 3"):
        CausalLMMargin()(given, labels, labels, labels)
    with pytest.raises(ValueError, match="at least 2 classes, got shape"):
        CorrectClassMargin()(given, logits[:, :1], labels)
    with pytest.raises(TypeError, match="output must be CorrectClassMargin"):
        NegativeLoss(NegativeLoss(CorrectClassMargin()))
