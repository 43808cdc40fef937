/* exp, exp2, log, log2, tanh and erf of a float, inlined: vectorised by any compiler on any machine, the same bits in a
 * vector's lane and in a scalar, and a loop keeps its registers, which a call would cost. At most 2 units in the last
 * place, with subnormals, infinities and NaN. The polynomials are minimax fits of the named function. Choices are made
 * on bits (see tn_mask).
 */
#ifndef TN_ELEMENTARY_H
#define TN_ELEMENTARY_H

/* x with a magnitude of at most `limit`; a NaN stays one. */
TN_INLINE float tn_clamp_magnitude(float x, float limit) {
    uint32_t u = tn_u32_of_f32(x), magnitude = u & 0x7fffffff, most = tn_u32_of_f32(limit);
    uint32_t clamped = (magnitude < most ? magnitude : most) | (tn_mask(magnitude > 0x7f800000) & 0x7fc00000);
    return tn_f32_of_u32(clamped | (u & 0x80000000));
}

/* Adding it leaves the nearest integer in the low bits of a float, and subtracting it again leaves that integer. */
#define TN_ROUNDER 0x1.8p23f

/* y * 2^n, also where the result is subnormal or infinite; n is in the low bits of `shifted`. */
TN_INLINE float tn_scale(float y, float shifted) {
    int32_t n = (int32_t)(tn_u32_of_f32(shifted) - tn_u32_of_f32(TN_ROUNDER)), half = n >> 1;
    float first = tn_f32_of_u32((uint32_t)(half + 127) << 23);
    return y * first * tn_f32_of_u32((uint32_t)(n - half + 127) << 23);
}

/* exp(r) for |r| <= log(2) / 2: 1 + r + r^2 q(r). */
TN_INLINE float tn_exp_reduced(float r) {
    float q = 0x1.6a1a72p-10f;
    q = q * r + 0x1.123fc6p-7f;
    q = q * r + 0x1.555916p-5f;
    q = q * r + 0x1.55548ap-3f;
    q = q * r + 0x1.fffffcp-2f;
    return r * r * q + r + 1.0f;
}

/* n = x / log(2), rounded; log(2) in two parts, the first short enough for n times it to be exact. */
TN_INLINE float tn_exp_f32(float x) {
    float clamped = tn_clamp_magnitude(x, 110.0f);
    float shifted = clamped * 0x1.715476p0f + TN_ROUNDER, n = shifted - TN_ROUNDER;
    float r = clamped - n * 0x1.62e4p-1f - n * 0x1.7f7d1cp-20f;
    return tn_scale(tn_exp_reduced(r), shifted);
}

/* 2^r = 1 + r q(r) for |r| <= 1/2. */
TN_INLINE float tn_exp2_f32(float x) {
    float clamped = tn_clamp_magnitude(x, 160.0f);
    float shifted = clamped + TN_ROUNDER, r = clamped - (shifted - TN_ROUNDER);
    float q = 0x1.41f62p-13f;
    q = q * r + 0x1.5f4704p-10f;
    q = q * r + 0x1.3b2d68p-7f;
    q = q * r + 0x1.c6aed8p-5f;
    q = q * r + 0x1.ebfbdcp-3f;
    q = q * r + 0x1.62e43p-1f;
    return tn_scale(q * r + 1.0f, shifted);
}

/* x = 2^k (1 + f) with 1 + f between sqrt(1/2) and sqrt(2), log(1 + f) = f - f^2 / 2 + f^3 q(f). Subnormals are scaled
 * by 2^23 first. */
TN_INLINE float tn_log_reduced(float x, float *k) {
    uint32_t tiny = tn_u32_of_f32(x) < 0x00800000, root = 0x3f3504f3;
    uint32_t u = tn_u32_of_f32(x * tn_f32_of_u32(0x3f800000 + tiny * 0x0b800000)) + (0x3f800000 - root);
    *k = (float)((int32_t)(u >> 23) - (int32_t)(127 + tiny * 23));
    float f = tn_f32_of_u32((u & 0x7fffff) + root) - 1.0f;
    float q = 0x1.145736p-4f;
    q = q * f - 0x1.de660cp-4f;
    q = q * f + 0x1.e70714p-4f;
    q = q * f - 0x1.fc1d46p-4f;
    q = q * f + 0x1.2335b0p-3f;
    q = q * f - 0x1.555c5cp-3f;
    q = q * f + 0x1.99a4cap-3f;
    q = q * f - 0x1.000006p-2f;
    q = q * f + 0x1.555548p-2f;
    return f * f * (f * q - 0.5f) + f;
}

/* What to add to a logarithm: 0; -inf for x = 0, NaN for x < 0, x itself for inf and NaN. */
TN_INLINE float tn_log_special(float x) {
    uint32_t u = tn_u32_of_f32(x);
    uint32_t zero = (u & 0x7fffffff) == 0, negative = u > 0x80000000, unbounded = u - 0x7f800000 < 0x00800000;
    return tn_f32_of_u32((tn_mask(zero) & 0xff800000) | (tn_mask(negative) & 0x7fc00000) | (tn_mask(unbounded) & u));
}
TN_INLINE float tn_log_f32(float x) {
    float k, y = tn_log_reduced(x, &k);
    return k * 0x1.62e4p-1f + (k * 0x1.7f7d1cp-20f + y) + tn_log_special(x);
}
TN_INLINE float tn_log2_f32(float x) {
    float k, y = tn_log_reduced(x, &k);
    return y * 0x1.1d94aep-14f + y * 0x1.715p0f + k + tn_log_special(x);
}

/* x + x^3 q(x^2) near zero, else 1 - 2 / (exp(2 |x|) + 1). */
TN_INLINE float tn_tanh_f32(float x) {
    float a = fabsf(x), z = x * x;
    float q = 0x1.12501ap-9f;
    q = q * z - 0x1.0a2d80p-7f;
    q = q * z + 0x1.633044p-6f;
    q = q * z - 0x1.b9e65ep-5f;
    q = q * z + 0x1.11103ep-3f;
    q = q * z - 0x1.555554p-2f;
    float small = q * z * a + a;
    float large = 1.0f - 2.0f / (tn_exp_f32(a + a) + 1.0f);
    return copysignf(tn_choose_f32(tn_u32_of_f32(a) < 0x3f200000, small, large), x);
}

/* x + x q(x^2) near zero, else 1 - exp(a p(a)), where a p(a) is log(erfc(a)) up to 4, beyond which erf is 1. */
TN_INLINE float tn_erf_f32(float x) {
    float a = fabsf(x), z = x * x;
    float q = 0x1.5cd4b2p-14f;
    q = q * z - 0x1.aa3f30p-11f;
    q = q * z + 0x1.54c7f6p-8f;
    q = q * z - 0x1.b80e90p-6f;
    q = q * z + 0x1.ce2e0ap-4f;
    q = q * z - 0x1.812742p-2f;
    q = q * z + 0x1.06eba8p-3f;
    float small = q * a + a, b = tn_clamp_magnitude(a, 4.0f);
    float p = -0x1.637aa0p-18f;
    p = p * b + 0x1.a2ef94p-15f;
    p = p * b + 0x1.cc3d22p-16f;
    p = p * b - 0x1.780f7ap-9f;
    p = p * b + 0x1.71e0f2p-6f;
    p = p * b - 0x1.aec632p-4f;
    p = p * b - 0x1.4576f4p-1f;
    p = p * b - 0x1.20e818p0f;
    float large = 1.0f - tn_exp_f32(p * b);
    return copysignf(tn_choose_f32(tn_u32_of_f32(a) < 0x3f700000, small, large), x);
}

#undef TN_ROUNDER
#endif
