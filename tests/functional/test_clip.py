"""functional.clip against torch.nn.utils: orders of norms, dtypes, layouts, what is empty, given twice, not finite."""

import copy
import math
import warnings

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tritonnet import Parameter, kernels
from tritonnet.errors import DtypeError, LayoutError, NonFiniteError, ShapeError
from tritonnet.functional.clip import clip_grad_norm_, clip_grad_value_, clip_grads_with_norm_, get_total_norm

theirs = torch.nn.utils
SHAPES = ((7, 5), (), (3, 0), (2, 3, 4, 5))
F16, BF16, F32, F64 = torch.float16, torch.bfloat16, torch.float32, torch.float64


def parameters(dtypes=(F32,), seed=0):
    """A parameter of each shape and dtype, one gradient missing, one channels_last, one with gaps."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for dtype in dtypes:
        for shape in SHAPES:
            p = torch.zeros(shape, dtype=dtype, requires_grad=True)
            p.grad = torch.randn(shape, generator=generator).to(dtype)
            made.append(p)
        made[-1].grad = made[-1].grad.to(memory_format=torch.channels_last)
        made[-4].grad = torch.randn(7, 10, generator=generator).to(dtype)[:, ::2]
        made.append(torch.zeros(3, dtype=dtype, requires_grad=True))
    return made


def grads(params):
    return [p.grad for p in params if p.grad is not None]


def assert_same(ours, others):
    for p, q in zip(ours, others, strict=True):
        torch.testing.assert_close(p.grad, q.grad, equal_nan=True)
        assert p.grad is None or p.grad.stride() == q.grad.stride()


@pytest.mark.parametrize("dtypes", [(F32,), (F64,), (BF16,), (F16,), (F16, BF16), (BF16, F32, F64)], ids=str)
@pytest.mark.parametrize("norm_type", [2, 1.0, "inf", 3.0, 0.0])
def test_clip_grad_norm(norm_type, dtypes):
    """Against torch in float64: in half precision it rounds the norm of each tensor, and their norm again."""
    for max_norm in (0.7, 1e4):
        params = parameters(dtypes)
        if norm_type == "inf":
            # torch knows no largest element of none.
            params = [p for p in params if p.numel()]
        exact = [torch.zeros_like(p, dtype=F64, requires_grad=True) for p in params]
        for p, q in zip(params, exact, strict=True):
            q.grad = None if p.grad is None else p.grad.to(F64, copy=True)
        norm_dtype = theirs.get_total_norm(grads(params), norm_type).dtype
        expected = theirs.clip_grad_norm_(exact, max_norm, norm_type)
        norm = clip_grad_norm_(params, max_norm, norm_type)
        assert norm.dtype == norm_dtype and not norm.requires_grad
        torch.testing.assert_close(norm, expected.to(norm_dtype))
        for p, q in zip(params, exact, strict=True):
            torch.testing.assert_close(p.grad, None if q.grad is None else q.grad.to(p.dtype))


def test_half_precision_is_rounded_once():
    params = parameters((BF16,))
    exact = torch.linalg.vector_norm(torch.cat([g.reshape(-1).double() for g in grads(params)]))
    assert get_total_norm(grads(params)) == exact.bfloat16()


def test_clip_grad_value_and_with_norm():
    for clip in ("clip_grad_value_", "clip_grads_with_norm_"):
        ours, others = parameters((F32, BF16)), parameters((F32, BF16))
        arguments = (0.3,) if clip == "clip_grad_value_" else (2.0, torch.tensor(5.0, dtype=F64))
        ours_clip = clip_grad_value_ if clip == "clip_grad_value_" else clip_grads_with_norm_
        assert ours_clip(iter(ours), *arguments) is getattr(theirs, clip)(iter(others), *arguments) is None
        assert_same(ours, others)


def test_one_tensor_none_and_a_generator_that_was_used_up():
    (p, *_), (q, *_) = parameters(), parameters()
    torch.testing.assert_close(clip_grad_norm_(p, 0.1), theirs.clip_grad_norm_(q, 0.1))
    torch.testing.assert_close(get_total_norm(p.grad, 1), theirs.get_total_norm(q.grad, 1))
    assert_same([p], [q])
    for nothing in ([], [torch.zeros(3, requires_grad=True)], iter([])):
        norm = clip_grad_norm_(nothing, 1.0)
        assert norm == 0 and norm.dtype == torch.float32
        clip_grad_value_(nothing, 1.0)
        clip_grads_with_norm_(nothing, 1.0, norm)
    assert get_total_norm([]) == get_total_norm(torch.ones(0)) == 0
    used_up = (p for p in ())
    with pytest.warns(
        UserWarning, match="`parameters` is an empty generator, no gradient clipping will occur."
    ) as said:
        clip_grad_norm_(used_up, 1.0)
    assert said[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert clip_grad_norm_((p for p in [p]), 0.05) == pytest.approx(0.1, rel=1e-4)


def test_a_parameter_given_twice_is_scaled_twice():
    (p, *_), (q, *_) = parameters(), parameters()
    torch.testing.assert_close(clip_grad_norm_([p, p], 1.0), theirs.clip_grad_norm_([q, q], 1.0))
    assert_same([p], [q])


def test_tritonnets_parameters():
    p = Parameter(torch.zeros(4))
    p.grad = torch.tensor([3.0, 0.0, 4.0, 0.0])
    assert clip_grad_norm_([p], 1.0) == 5
    torch.testing.assert_close(p.grad, torch.tensor([0.6, 0.0, 0.8, 0.0]))


def test_autograd_does_not_see_it_but_its_versions():
    w = torch.tensor([3.0, 4.0], requires_grad=True)
    (w.grad,) = torch.autograd.grad((w**3).sum(), w, create_graph=True)
    assert w.grad.requires_grad
    version = w.grad._version
    norm = clip_grad_norm_(w, 1.0)
    assert not norm.requires_grad and w.grad._version == version + 1
    torch.testing.assert_close(torch.linalg.vector_norm(w.grad.detach()), torch.tensor(1.0))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("norm_type", [2.0, math.inf])
def test_what_is_not_finite(value, norm_type):
    ours, others = [p for p in parameters() if p.numel()], [p for p in parameters() if p.numel()]
    for p in (ours[0], others[0]):
        p.grad[0, 0] = value
    before = copy.deepcopy(grads(ours))
    with pytest.raises(
        NonFiniteError, match=f"the norm of order {norm_type} is (nan|inf); to scale by it all the same"
    ):
        clip_grad_norm_(ours, 1.0, norm_type, error_if_nonfinite=True)
    with pytest.raises(RuntimeError):
        get_total_norm(grads(ours), norm_type, error_if_nonfinite=True)
    torch.testing.assert_close(grads(ours), before, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(
        clip_grad_norm_(ours, 1.0, norm_type), theirs.clip_grad_norm_(others, 1.0, norm_type), equal_nan=True
    )
    assert_same(ours, others)


def test_a_gradient_with_a_pending_sign():
    p = torch.zeros(2, requires_grad=True)
    p.grad = torch.conj(torch.complex(torch.zeros(2), torch.tensor([3.0, -4.0]))).imag
    assert p.grad.is_neg() and p.grad.tolist() == [-3, 4]
    assert clip_grad_norm_(p, 2.5) == 5
    clip_grad_value_(p, 1.8)
    torch.testing.assert_close(p.grad.resolve_neg(), torch.tensor([-1.5, 1.8]))


def test_what_cannot_be_clipped_changes_nothing():
    first = torch.zeros(3, requires_grad=True)
    first.grad = torch.ones(3)
    for dtype, grad, error, message in (
        (F64, torch.ones(1, dtype=F64).expand(4), ShapeError, "is expanded; clone"),
        (F64, torch.eye(4, dtype=F64).to_sparse(), LayoutError, "layout torch.sparse_coo"),
        (torch.complex64, torch.ones(4, dtype=torch.complex64), DtypeError, "clip: got complex64"),
    ):
        p = torch.zeros(grad.shape, dtype=dtype, requires_grad=True)
        p.grad = grad
        for clip in (
            lambda both: clip_grad_norm_(both, 0.1),
            lambda both: clip_grads_with_norm_(both, 0.1, torch.tensor(1.0)),
            lambda both: clip_grad_value_(both, 0.1),
        ):
            with pytest.raises(error, match=message):
                clip([first, p])
    with pytest.raises(DtypeError, match="clip: got int64"):
        get_total_norm([torch.ones(3), torch.ones(3, dtype=torch.int64)])
    assert torch.equal(first.grad, torch.ones(3))


def test_the_references_do_the_same():
    ours, others = parameters((F32, F64)), parameters((F32, F64))
    with kernels.use("reference"):
        norm = clip_grad_norm_(others, 0.5)
    torch.testing.assert_close(clip_grad_norm_(ours, 0.5), norm)
    assert_same(ours, others)


def test_tensors_without_memory():
    meta = torch.zeros(3, device="meta", requires_grad=True)
    meta.grad = torch.ones(3, device="meta")
    assert clip_grad_norm_(meta, 1.0).is_meta
    with FakeTensorMode():
        p = torch.zeros(3, requires_grad=True)
        p.grad = torch.ones(3)
        assert clip_grad_norm_(p, 1.0).shape == ()
        clip_grad_value_(p, 1.0)
