"""What the formulas are made of, exact to a few units in the last place for small and for large arguments.

Sums and exponentials alone, so that every device and Triton's interpreter compute them. The polynomials are minimax
fits of the named function, one for float32 and one for float64.
"""

import triton
import triton.language as tl


@triton.jit
def _polynomial(x, coefficients):
    """The highest power first."""
    y = x * coefficients[0] + coefficients[1]
    for i in tl.static_range(2, len(coefficients)):
        y = y * x + coefficients[i]
    return y


@triton.jit
def sigmoid(x):
    """1 / (1 + exp(-x))."""
    # exp of what is not positive: no overflow, and small values keep their digits.
    e = tl.exp(-tl.abs(x))
    larger = 1.0 / (1.0 + e)
    return tl.where(x >= 0, larger, e * larger)


@triton.jit
def sigmoid_rest(x):
    """1 - sigmoid(x), at the cost of a choice where that is computed too."""
    e = tl.exp(-tl.abs(x))
    larger = 1.0 / (1.0 + e)
    return tl.where(x >= 0, e * larger, larger)


@triton.jit
def expm1(x):
    """exp(x) - 1; near zero x + x^2 q(x)."""
    if x.dtype == tl.float64:
        q = _polynomial(
            x,
            (
                1.6069700325187958e-10, 2.096990346907126e-09, 2.5052303656719026e-08, 2.7557029232399463e-07,
                2.755731841720392e-06, 2.4801587733554647e-05, 0.00019841269842468383, 0.0013888888888577745,
                0.008333333333332603, 0.041666666666667615, 0.16666666666666669, 0.5,
            ),
        )  # fmt: skip
    else:
        q = _polynomial(x, (1.9860426e-04, 1.3996561e-03, 8.333549e-03, 4.166535e-02, 1.6666664e-01, 5.0000006e-01))
    return tl.where(tl.abs(x) < 0.5, x * x * q + x, tl.exp(x) - 1.0)


@triton.jit
def log1p(x):
    """log(1 + x) for 0 <= x <= 1: 2 atanh(s) = 2 s + s z p(z), where s = x / (2 + x), z = s^2 and 2 s = x - s x."""
    s = x / (2.0 + x)
    z = s * s
    if x.dtype == tl.float64:
        p = _polynomial(
            z,
            (
                0.17060060016850334, 0.08315689574657423, 0.12112246709762564, 0.13300102957239943,
                0.15386635405788943, 0.18181739790825902, 0.2222222411165581, 0.28571428544927635,
                0.400000000001903, 0.6666666666666613,
            ),
        )  # fmt: skip
    else:
        p = _polynomial(z, (0.2817833, 0.27960607, 0.4002491, 0.66666317))
    return x - s * (x - z * p)


@triton.jit
def tanh(x):
    """Near zero x + x^3 q(x^2), else 1 - 2 / (1 + exp(2 |x|)) with the sign of x."""
    z = x * x
    if x.dtype == tl.float64:
        q = _polynomial(
            z,
            (
                6.071511453779732e-06, -3.025763246118694e-05, 9.163341327942679e-05, -0.00023705785802282517,
                0.0005894699016110298, -0.0014557306763489444, 0.00359211483159929, -0.008863234410051529,
                0.021869488476068205, -0.053968253966392356, 0.13333333333330538, -0.3333333333333332,
            ),
        )  # fmt: skip
    else:
        q = _polynomial(z, (-5.7049743e-03, 2.0639079e-02, -5.3739715e-02, 1.3331442e-01, -3.333328e-01))
    far = 1.0 - 2.0 / (1.0 + tl.exp(2.0 * tl.abs(x)))
    return tl.where(tl.abs(x) < 0.625, x * z * q + x, tl.where(x < 0, -far, far))


@triton.jit
def log1p_exp(x):
    """log(1 + exp(x))."""
    return tl.maximum(x, 0.0) + log1p(tl.exp(-tl.abs(x)))


@triton.jit
def normal_tail(a):
    """exp(a^2 / 2) times what the standard normal distribution has beyond a >= 0: p(t), where t = (a - c) / (a + c)."""
    # Where p is steep, near a = 0, 2 a / (a + c) has no error to speak of; at infinity it would be NaN.
    a = tl.minimum(a, 1024.0)
    if a.dtype == tl.float64:
        p = _polynomial(
            2.0 * a / (a + 5.0) - 1.0,
            (
                -2.3100697743626438e-10, -5.681037765939655e-10, 1.8241817472568434e-09, 5.6847373216343315e-09,
                -1.0994099339352877e-08, -3.916270403545524e-08, 7.710725029790825e-08, 2.43343469821861e-07,
                -6.750786933425551e-07, -1.2700747965525418e-06, 6.644421212452436e-06, 9.6130609577704e-07,
                -6.0427482763768756e-05, 0.0001342768432578495, 0.00021955073761316656, -0.0023788443566565105,
                0.008991370550591033, -0.02341390048769582, 0.04785535228416998, -0.08088387726412725,
                0.11606881188600329, -0.14345755526401197, 0.07691930497500629,
            ),
        )  # fmt: skip
    else:
        p = _polynomial(
            2.0 * a / (a + 4.0) - 1.0,
            (
                -6.5283624e-05, -1.6782322e-04, 6.5776333e-04, 5.025496e-04, -0.008497918, 0.0308655,
                -0.07170674, 0.1243792, -0.17039774, 0.09441064,
            ),
        )  # fmt: skip
    return p


@triton.jit
def normal(x):
    """The standard normal distribution at x, without a difference that would cancel."""
    a = tl.abs(x)
    tail = tl.exp(-0.5 * a * a) * normal_tail(a)
    return tl.where(x >= 0, 1.0 - tail, tail)


@triton.jit
def normal_density(x):
    a = tl.abs(x)
    return 0.3989422804014327 * tl.exp(-0.5 * a * a)
