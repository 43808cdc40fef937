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

/* Marks the version of a nest that is right in every case and seldom runs: kept small, so that it compiles fast. */
#define TN_SELDOM __asm__ volatile("")

#endif
