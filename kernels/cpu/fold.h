/* The end of a reduction along rows: of n lanes (2, 4, 8 or 16) the upper half is combined with the lower one, and so
 * on to the last, in registers. tn_fold_<operation>_<type>(lanes, n); the operations are those of runtime.h.
 */
#ifndef TN_FOLD_H
#define TN_FOLD_H

typedef float tn_four_f32 __attribute__((vector_size(16), aligned(4), may_alias));
typedef double tn_four_f64 __attribute__((vector_size(32), aligned(8), may_alias));
typedef int32_t tn_fourbits_f32 __attribute__((vector_size(16)));
typedef int64_t tn_fourbits_f64 __attribute__((vector_size(32)));

#define TN_FOLD(operation, name, type, four, bits, one, combined)                    \
    TN_INLINE four tn_four_##operation##_##name(four a, four b) { return combined; } \
    TN_INLINE type tn_fold_##operation##_##name(const type *lanes, int n) {          \
        const four *t = (const four *)lanes;                                         \
        if (n == 2) {                                                                \
            type a = lanes[0], b = lanes[1];                                         \
            return one;                                                              \
        }                                                                            \
        four a = t[0];                                                               \
        if (n == 8)                                                                  \
            a = tn_four_##operation##_##name(a, t[1]);                               \
        if (n == 16)                                                                 \
            a = tn_four_##operation##_##name(tn_four_##operation##_##name(a, t[2]),  \
                                             tn_four_##operation##_##name(t[1], t[3])); \
        a = tn_four_##operation##_##name(a, TN_SWAP(bits, a, 2, 3, 0, 1));           \
        a = tn_four_##operation##_##name(a, TN_SWAP(bits, a, 1, 0, 3, 2));           \
        return a[0];                                                                 \
    }
#if defined(__clang__)
#define TN_SWAP(bits, a, ...) __builtin_shufflevector(a, a, __VA_ARGS__)
#else
#define TN_SWAP(bits, a, ...) __builtin_shuffle(a, (bits){__VA_ARGS__})
#endif
#define TN_CHOSEN(four, bits, condition) ((four)(((bits)b & (condition)) | ((bits)a & ~(condition))))

#define TN_FOLDS(name, type, four, bits)                                                                  \
    TN_FOLD(add, name, type, four, bits, a + b, a + b)                                                    \
    TN_FOLD(mul, name, type, four, bits, a * b, a * b)                                                    \
    TN_FOLD(maxnum, name, type, four, bits, tn_maxnum_##name(a, b), TN_CHOSEN(four, bits, (b > a) | (a != a))) \
    TN_FOLD(minnum, name, type, four, bits, tn_minnum_##name(a, b), TN_CHOSEN(four, bits, (b < a) | (a != a)))
TN_FOLDS(f32, float, tn_four_f32, tn_fourbits_f32)
TN_FOLDS(f64, double, tn_four_f64, tn_fourbits_f64)
#undef TN_FOLDS
#undef TN_CHOSEN
#undef TN_SWAP
#undef TN_FOLD

#endif
