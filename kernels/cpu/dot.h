/* tn_dot_<type>(M, N, K, a, sam, sak, b, sbk, c): c += a b on a tile.
 *
 * a[i * sam + k * sak] is [M, K] with any strides, b[k * sbk + j] is [K, N] with unit column stride, c[i * N + j] is dense.
 */
#ifndef TN_DOT_H
#define TN_DOT_H

#define TN_DOT_PLAIN(name, type, computed)                                                                              \
    TN_STATIC void tn_dot_##name(int M, int N, int K, const type *a, int64_t sam, int64_t sak, const type *b,            \
                                 int64_t sbk, computed *c) {                                                             \
        for (int i = 0; i < M; i++)                                                                                      \
            for (int k = 0; k < K; k++) {                                                                                \
                computed x = a[i * sam + k * sak];                                                                       \
                for (int j = 0; j < N; j++)                                                                              \
                    c[(int64_t)i * N + j] += x * (computed)b[k * sbk + j];                                               \
            }                                                                                                            \
    }
TN_DOT_PLAIN(f32, float, float)
TN_DOT_PLAIN(f64, double, double)
TN_DOT_PLAIN(i8, int8_t, int32_t)
TN_DOT_PLAIN(u8, uint8_t, int32_t)

#endif
