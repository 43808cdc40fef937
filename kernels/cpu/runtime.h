/* What the generated C of a kernel is written in: types, conversions, guarded and NaN-exact arithmetic, vector math.
 *
 * Everything here is meant to be inlined into a loop that the compiler vectorises, and to be right without any flag
 * that lets it reorder, contract or assume: NaN, infinities, signed zeros and the order of operations are the kernel's.
 */
#ifndef TN_RUNTIME_H
#define TN_RUNTIME_H

#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define TN_INLINE static inline __attribute__((always_inline, unused))
#define TN_STATIC static __attribute__((noinline, unused))

/* Before a loop of a few constant steps over an array of vectors, so that the array stays in registers. */
#if defined(__clang__)
#define TN_UNROLL _Pragma("clang loop unroll(full)")
#else
#define TN_UNROLL _Pragma("GCC unroll 16")
#endif

/* One argument of a kernel: integers are sign-extended, floats of any width arrive as double. */
typedef union {
    int64_t i;
    double f;
    char *p;
} tn_slot;

/* 16-bit floats are stored as their bits and computed in float. */
typedef uint16_t bf16;
typedef uint16_t f16;
/* Where a conversion is asked for and there is none. */
#define TN_SAME(x) (x)

#define TN_BITS(name, to, from)            \
    TN_INLINE to name(from x) {            \
        to y;                              \
        __builtin_memcpy(&y, &x, sizeof y); \
        return y;                          \
    }
TN_BITS(tn_u32_of_f32, uint32_t, float)
TN_BITS(tn_f32_of_u32, float, uint32_t)
TN_BITS(tn_u64_of_f64, uint64_t, double)
TN_BITS(tn_f64_of_u64, double, uint64_t)
#undef TN_BITS

/* All ones where the condition is 1, else 0. A choice made on bits stays vectorisable: what only one branch of `?:`
 * needs the compiler moves into that branch, where floating point, which might trap, keeps a loop from being one. */
TN_INLINE uint32_t tn_mask(uint32_t condition) { return 0 - condition; }
TN_INLINE uint32_t tn_choose_u32(uint32_t condition, uint32_t yes, uint32_t no) {
    return (yes & tn_mask(condition)) | (no & ~tn_mask(condition));
}
TN_INLINE uint64_t tn_choose_u64(uint64_t condition, uint64_t yes, uint64_t no) {
    return (yes & (0 - condition)) | (no & ~(0 - condition));
}
TN_INLINE float tn_choose_f32(uint32_t condition, float yes, float no) {
    return tn_f32_of_u32(tn_choose_u32(condition, tn_u32_of_f32(yes), tn_u32_of_f32(no)));
}
TN_INLINE double tn_choose_f64(uint64_t condition, double yes, double no) {
    return tn_f64_of_u64(tn_choose_u64(condition, tn_u64_of_f64(yes), tn_u64_of_f64(no)));
}

TN_INLINE float tn_bf16_to_f32(bf16 x) { return tn_f32_of_u32((uint32_t)x << 16); }

/* Round to nearest even; a NaN stays a NaN (made quiet). */
TN_INLINE bf16 tn_f32_to_bf16(float x) {
    uint32_t u = tn_u32_of_f32(x);
    uint32_t rounded = u + 0x7fff + (u >> 16 & 1);
    return (bf16)((x != x ? u | 0x400000 : rounded) >> 16);
}

/* Shifted into a float's place, the half's exponent is 112 too small; scaling normalises subnormals too. */
TN_INLINE float tn_f16_to_f32(f16 x) {
    uint32_t magnitude = x & 0x7fff;
    uint32_t u = tn_u32_of_f32(tn_f32_of_u32(magnitude << 13) * 0x1p112f);
    u = tn_choose_u32(magnitude >= 0x7c00, magnitude << 13 | 0x7f800000, u);
    return tn_f32_of_u32(u | (uint32_t)(x & 0x8000) << 16);
}

/* Round to nearest even. Adding 0.5 aligns a result that is subnormal in half precision: the addition rounds it. */
TN_INLINE f16 tn_f32_to_f16(float x) {
    uint32_t u = tn_u32_of_f32(x), magnitude = u & 0x7fffffff;
    uint32_t normal = (magnitude + (0xc8000fffu + (magnitude >> 13 & 1))) >> 13;
    uint32_t subnormal = tn_u32_of_f32(tn_f32_of_u32(magnitude) + 0.5f) - 0x3f000000;
    uint32_t half = tn_choose_u32(magnitude < 0x38800000, subnormal, normal);
    half = tn_choose_u32(magnitude >= 0x477ff000, 0x7c00, half);
    half = tn_choose_u32(magnitude > 0x7f800000, 0x7e00, half);
    return (f16)(half | (u >> 16 & 0x8000));
}

/* The float that a narrower rounding may start from: truncated, with a sticky last bit (round to odd). */
TN_INLINE float tn_f64_to_f32_odd(double x) {
    float nearest = (float)x;
    double back = (double)nearest;
    uint32_t u = tn_u32_of_f32(nearest);
    uint32_t odd = fabs(back) > fabs(x) ? u - 1 : u;
    return x != x || back == x ? nearest : tn_f32_of_u32(odd | 1);
}
TN_INLINE bf16 tn_f64_to_bf16(double x) { return tn_f32_to_bf16(tn_f64_to_f32_odd(x)); }
TN_INLINE f16 tn_f64_to_f16(double x) { return tn_f32_to_f16(tn_f64_to_f32_odd(x)); }

/* The value of a 16-bit operation that was computed in float. */
TN_INLINE float tn_round_bf16(float x) { return tn_bf16_to_f32(tn_f32_to_bf16(x)); }
TN_INLINE float tn_round_f16(float x) { return tn_f16_to_f32(tn_f32_to_f16(x)); }

/* Division that cannot trap: lanes that are masked off divide too. x / 0 and x % 0 are 0, the most negative / -1 wraps.
 * 32 bits go through double, exact and vectorisable, but for a literal divisor, which the compiler does better. */
#define TN_DIVISION(bits, signed_t, unsigned_t)                                                                      \
    TN_INLINE signed_t tn_sdiv_i##bits(signed_t a, signed_t b) {                                                     \
        return b == 0 ? 0 : b == -1 ? (signed_t)(0 - (unsigned_t)a) : (signed_t)(a / b);                             \
    }                                                                                                                \
    TN_INLINE signed_t tn_srem_i##bits(signed_t a, signed_t b) { return b == 0 || b == -1 ? 0 : (signed_t)(a % b); } \
    TN_INLINE unsigned_t tn_udiv_i##bits(unsigned_t a, unsigned_t b) { return b == 0 ? 0 : (unsigned_t)(a / b); }    \
    TN_INLINE unsigned_t tn_urem_i##bits(unsigned_t a, unsigned_t b) { return b == 0 ? 0 : (unsigned_t)(a % b); }
TN_DIVISION(8, int8_t, uint8_t)
TN_DIVISION(16, int16_t, uint16_t)
TN_DIVISION(64, int64_t, uint64_t)
#undef TN_DIVISION

TN_INLINE int32_t tn_sdiv_i32(int32_t a, int32_t b) {
    if (__builtin_constant_p(b))
        return b == 0 ? 0 : b == -1 ? (int32_t)(0 - (uint32_t)a) : a / b;
    uint32_t zero = b == 0, negate = b == -1;
    int32_t whole = (int32_t)((double)a / (double)(b + (int32_t)(zero + 2 * negate)));
    return (int32_t)((((uint32_t)whole ^ tn_mask(negate)) + negate) & ~tn_mask(zero));
}
TN_INLINE uint32_t tn_udiv_i32(uint32_t a, uint32_t b) {
    if (__builtin_constant_p(b))
        return b == 0 ? 0 : a / b;
    uint32_t zero = b == 0;
    return (uint32_t)((double)a / (double)(b + zero)) & ~tn_mask(zero);
}
TN_INLINE int32_t tn_srem_i32(int32_t a, int32_t b) {
    uint32_t rest = (uint32_t)a - (uint32_t)tn_sdiv_i32(a, b) * (uint32_t)b;
    return (int32_t)(rest & tn_mask(b != 0));
}
TN_INLINE uint32_t tn_urem_i32(uint32_t a, uint32_t b) {
    return (a - tn_udiv_i32(a, b) * b) & tn_mask(b != 0);
}

/* maximum, minimum: a NaN wins, +0 is larger than -0. maxnum, minnum: a number wins over a NaN. */
#define TN_MINMAX(name, type, bits_t, to_bits, of_bits)                                                  \
    TN_INLINE type tn_maximum_##name(type a, type b) {                                                   \
        type larger = a > b ? a : b;                                                                     \
        type equal = of_bits(to_bits(a) & to_bits(b));                                                   \
        return a != a ? a : a == b ? equal : larger;                                                     \
    }                                                                                                    \
    TN_INLINE type tn_minimum_##name(type a, type b) {                                                   \
        type smaller = a < b ? a : b;                                                                    \
        type equal = of_bits(to_bits(a) | to_bits(b));                                                   \
        return a != a ? a : a == b ? equal : smaller;                                                    \
    }                                                                                                    \
    TN_INLINE type tn_maxnum_##name(type a, type b) {                                                    \
        type larger = b > a ? b : a;                                                                     \
        return a != a ? b : larger;                                                                      \
    }                                                                                                    \
    TN_INLINE type tn_minnum_##name(type a, type b) {                                                    \
        type smaller = b < a ? b : a;                                                                    \
        return a != a ? b : smaller;                                                                     \
    }
TN_MINMAX(f32, float, uint32_t, tn_u32_of_f32, tn_f32_of_u32)
TN_MINMAX(f64, double, uint64_t, tn_u64_of_f64, tn_f64_of_u64)
#undef TN_MINMAX

#include "mathlib.h"
#include "fold.h"
#include "linked.h"

#endif
