/* tn_dot_<type>(M, N, K, a, sam, sak, b, sbk, c): c += a b on a tile.
 *
 * a[i * sam + k * sak] is [M, K] with any strides, b[k * sbk + j] is [K, N] with unit column stride, c[i * N + j] is
 * dense. Every element of c is one chain of additions over k, in order. int8 and uint8 add into int32.
 */
#ifndef TN_DOT_H
#define TN_DOT_H

/* Bytes of a vector register; rows and vectors of the block of c that stays in registers. */
#if defined(__AVX512F__)
#define TN_VECTOR 64
#define TN_MR 8
#elif defined(__AVX__)
#define TN_VECTOR 32
#define TN_MR 6
#elif defined(__ARM_NEON)
#define TN_VECTOR 16
#define TN_MR 8
#else
#define TN_VECTOR 16
#define TN_MR 4
#endif
#define TN_NV 2
/* Depth of a panel of b, which fits the L1 cache. With so many rows it is copied first: rows a power of two apart fall
 * on few cache sets, and the copy costs less than losing them. */
#define TN_KC 256
#define TN_PACK_ROWS 32

typedef float tn_vector_f32 __attribute__((vector_size(TN_VECTOR), aligned(4), may_alias));
typedef double tn_vector_f64 __attribute__((vector_size(TN_VECTOR), aligned(8), may_alias));

#define TN_T float
#define TN_V tn_vector_f32
#define TN_VL (TN_VECTOR / 4)
#define TN_NAME(prefix) prefix##_f32
#include "dot_typed.h"

#define TN_T double
#define TN_V tn_vector_f64
#define TN_VL (TN_VECTOR / 8)
#define TN_NAME(prefix) prefix##_f64
#include "dot_typed.h"

#define TN_DOT_INTEGER(name, type)                                                                                 \
    void tn_dot_##name(int M, int N, int K, const type *a, int64_t sam, int64_t sak, const type *b, int64_t sbk,   \
                       int32_t *c) {                                                                               \
        for (int i = 0; i < M; i++)                                                                                \
            for (int k = 0; k < K; k++) {                                                                          \
                int32_t x = a[i * sam + k * sak];                                                                  \
                for (int j = 0; j < N; j++)                                                                        \
                    c[(int64_t)i * N + j] += x * b[k * sbk + j];                                                   \
            }                                                                                                      \
    }
TN_DOT_INTEGER(i8, int8_t)
TN_DOT_INTEGER(u8, uint8_t)
#undef TN_DOT_INTEGER

#endif
