/* What the generated loop nests test before they take their fast version. */
#ifndef TN_NEST_H
#define TN_NEST_H

/* Whether the integers from low to high are all int32 values, so that 32-bit arithmetic on them does not wrap. */
TN_INLINE _Bool tn_fits32(int64_t low, int64_t high) { return low >= INT32_MIN && high <= INT32_MAX; }

/* The part of a sum over i in [first, last] that a term i * step adds at the least, and at the most. */
TN_INLINE int64_t tn_least(int64_t step, int64_t first, int64_t last) { return step < 0 ? step * last : step * first; }
TN_INLINE int64_t tn_most(int64_t step, int64_t first, int64_t last) { return step < 0 ? step * first : step * last; }

TN_INLINE _Bool tn_apart(const char *low_a, const char *high_a, const char *low_b, const char *high_b) {
    return (uintptr_t)high_a <= (uintptr_t)low_b || (uintptr_t)high_b <= (uintptr_t)low_a;
}

/* A bound of a loop: how far a mask lets it run. */
TN_INLINE int tn_clamp(int64_t x, int64_t low, int64_t high) { return (int)(x < low ? low : x > high ? high : x); }

/* tn_copy_run_<type>(to, from, n): few neighbours, in vectors that may overlap rather than one by one. */
#define TN_COPY_RUN(name, stored, computed, convert)                                                      \
    TN_INLINE void tn_copy_16_##name(computed *restrict to, const stored *restrict from) {                \
        for (int i = 0; i < 16; i++)                                                                      \
            to[i] = convert(from[i]);                                                                     \
    }                                                                                                     \
    TN_INLINE void tn_copy_8_##name(computed *restrict to, const stored *restrict from) {                 \
        for (int i = 0; i < 8; i++)                                                                       \
            to[i] = convert(from[i]);                                                                     \
    }                                                                                                     \
    TN_INLINE void tn_copy_run_##name(computed *restrict to, const stored *restrict from, int n) {        \
        if (n >= 16) {                                                                                    \
            for (int i = 0; i < n - 16; i += 16)                                                          \
                tn_copy_16_##name(to + i, from + i);                                                      \
            tn_copy_16_##name(to + n - 16, from + n - 16);                                                \
        } else if (n >= 8) {                                                                              \
            tn_copy_8_##name(to, from);                                                                   \
            tn_copy_8_##name(to + n - 8, from + n - 8);                                                   \
        } else {                                                                                          \
            for (int i = 0; i < n; i++)                                                                   \
                to[i] = convert(from[i]);                                                                 \
        }                                                                                                 \
    }
TN_COPY_RUN(f32, float, float, TN_SAME)
TN_COPY_RUN(f64, double, double, TN_SAME)
TN_COPY_RUN(bf16, bf16, float, tn_bf16_to_f32)
TN_COPY_RUN(f16, f16, float, tn_f16_to_f32)

/* Marks the version of a nest that is right in every case and seldom runs: kept small, so that it compiles fast. */
#define TN_SELDOM __asm__ volatile("")

#endif
