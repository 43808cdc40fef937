/* What the generated loop nests test before they take their fast version. */
#ifndef TN_NEST_H
#define TN_NEST_H

/* Whether the integers from low to high are all int32 values, so that 32-bit arithmetic on them does not wrap. */
TN_INLINE _Bool tn_fits32(int64_t low, int64_t high) { return (low >= INT32_MIN) & (high <= INT32_MAX); }

/* The part of a sum over i in [first, last] that a term i * step adds at the least, and at the most. */
TN_INLINE int64_t tn_least(int64_t step, int64_t first, int64_t last) { return step < 0 ? step * last : step * first; }
TN_INLINE int64_t tn_most(int64_t step, int64_t first, int64_t last) { return step < 0 ? step * first : step * last; }

TN_INLINE _Bool tn_apart(const char *low_a, const char *high_a, const char *low_b, const char *high_b) {
    return ((uintptr_t)high_a <= (uintptr_t)low_b) | ((uintptr_t)high_b <= (uintptr_t)low_a);
}

/* A bound of a loop: how far a mask lets it run. */
TN_INLINE int tn_clamp(int64_t x, int64_t low, int64_t high) { return (int)(x < low ? low : x > high ? high : x); }

TN_INLINE int64_t tn_floor(int64_t a, int64_t positive) { return a / positive - (a % positive < 0); }

/* Runs of consecutive numbers in `places`: where each begins, and its first number; returns how many there are. */
#define TN_FIND_RUNS(name, type)                                                                           \
    TN_STATIC int tn_find_runs_##name(const type *places, int n, int32_t *first, int64_t *place) {         \
        int runs = 0;                                                                                      \
        for (int i = 0; i < n; i++)                                                                        \
            if (i == 0 || (int64_t)places[i] != (int64_t)places[i - 1] + 1)                                \
                first[runs] = i, place[runs++] = places[i];                                                \
        return runs;                                                                                       \
    }
TN_FIND_RUNS(i32, int32_t)
TN_FIND_RUNS(i64, int64_t)
#undef TN_FIND_RUNS

/* tn_copy_run_<type>(to, from, n): few neighbours, in vectors that may overlap rather than one by one.
 * tn_copy_lanes_<type>(to, from, n, lanes): the same where lanes[i] is not 0; 0 elsewhere, and nothing is read. */
#define TN_COPY(name, stored, computed, value, lanes_t, lanes, plus)                                           \
    TN_INLINE void name##_16(computed *restrict to, const stored *restrict from lanes_t) {                     \
        TN_ROLLED for (int i = 0; i < 16; i++)                                                                         \
            to[i] = value;                                                                                     \
    }                                                                                                          \
    TN_INLINE void name##_8(computed *restrict to, const stored *restrict from lanes_t) {                      \
        TN_ROLLED for (int i = 0; i < 8; i++)                                                                          \
            to[i] = value;                                                                                     \
    }                                                                                                          \
    TN_INLINE void name##_4(computed *restrict to, const stored *restrict from lanes_t) {                      \
        TN_ROLLED for (int i = 0; i < 4; i++)                                                                          \
            to[i] = value;                                                                                     \
    }                                                                                                          \
    TN_INLINE void name(computed *restrict to, const stored *restrict from, int n lanes_t) {                   \
        if (n >= 16) {                                                                                         \
            for (int i = 0; i < n - 16; i += 16)                                                               \
                name##_16(to + i, from + i plus(i));                                                           \
            name##_16(to + n - 16, from + n - 16 plus(n - 16));                                                \
        } else if (n >= 8) {                                                                                   \
            name##_8(to, from lanes);                                                                          \
            name##_8(to + n - 8, from + n - 8 plus(n - 8));                                                    \
        } else if (n >= 4) {                                                                                   \
            name##_4(to, from lanes);                                                                          \
            name##_4(to + n - 4, from + n - 4 plus(n - 4));                                                    \
        } else {                                                                                               \
            for (int i = 0; i < n; i++)                                                                        \
                to[i] = value;                                                                                 \
        }                                                                                                      \
    }
#define TN_ROLLED _Pragma("GCC unroll 1")
#define TN_COMMA ,
#define TN_NO_LANES(i)
#define TN_LANES(i) , lanes + (i)
#define TN_COPY_RUN(name, stored, computed, convert)                                                           \
    TN_COPY(tn_copy_run_##name, stored, computed, convert(from[i]), , , TN_NO_LANES)                           \
    TN_COPY(tn_copy_lanes_##name, stored, computed, lanes[i] ? convert(from[i]) : 0,                           \
            TN_COMMA const int32_t *restrict lanes, TN_COMMA lanes, TN_LANES)
TN_COPY_RUN(f32, float, float, TN_SAME)
TN_COPY_RUN(f64, double, double, TN_SAME)
TN_COPY_RUN(bf16, bf16, float, tn_bf16_to_f32)
TN_COPY_RUN(f16, f16, float, tn_f16_to_f32)

/* Marks the version of a nest that is right in every case and seldom runs: kept small, so that it compiles fast. */
#define TN_SELDOM __asm__ volatile("")

#endif
