/* tn_load_tile_<type>: a rectangle of memory with any strides into a dense row-major tile of the compute type.
 *
 * dst[i * cols + j] = i < valid_rows && j < valid_cols ? src[i * s0 + j * s1] : 0. Nothing outside of the valid part is
 * read. Fast where s1 is 1, and where s0 is 1: there, squares are transposed in registers.
 */
#ifndef TN_TILE_H
#define TN_TILE_H

typedef float tn_row_f32 __attribute__((vector_size(32), aligned(4), may_alias));
typedef double tn_row_f64 __attribute__((vector_size(32), aligned(8), may_alias));
typedef uint16_t tn_row_u16 __attribute__((vector_size(16), aligned(2), may_alias));
typedef uint32_t tn_row_u32 __attribute__((vector_size(32)));

TN_INLINE tn_row_f32 tn_load_row_f32(const float *p) { return *(const tn_row_f32 *)p; }
TN_INLINE tn_row_f64 tn_load_row_f64(const double *p) { return *(const tn_row_f64 *)p; }
TN_INLINE tn_row_f32 tn_load_row_bf16(const bf16 *p) {
    return (tn_row_f32)(__builtin_convertvector(*(const tn_row_u16 *)p, tn_row_u32) << 16);
}
/* tn_f16_to_f32 of eight. */
TN_INLINE tn_row_f32 tn_load_row_f16(const f16 *p) {
    tn_row_u32 bits = __builtin_convertvector(*(const tn_row_u16 *)p, tn_row_u32), magnitude = bits & 0x7fff;
    tn_row_u32 finite = (tn_row_u32)((tn_row_f32)(magnitude << 13) * 0x1p112f);
    tn_row_u32 special = (tn_row_u32)(magnitude >= 0x7c00);
    return (tn_row_f32)((special & (magnitude << 13 | 0x7f800000)) | (~special & finite) | (bits & 0x8000) << 16);
}

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define TN_SHUFFLE(mask_t, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#endif
#endif
#ifndef TN_SHUFFLE
typedef int32_t tn_mask_f32 __attribute__((vector_size(32)));
typedef int64_t tn_mask_f64 __attribute__((vector_size(32)));
#define TN_SHUFFLE(mask_t, a, b, ...) __builtin_shuffle(a, b, (mask_t){__VA_ARGS__})
#endif
#define TN_LIST(...) __VA_ARGS__

/* A step of a transposition: exchanges what is off the diagonal in rows i and i + n. */
#define TN_EXCHANGE(row_t, mask_t, rows, i, n, upper, lower)                                                           \
    do {                                                                                                               \
        row_t first = rows[i], second = rows[i + n];                                                                   \
        rows[i] = TN_SHUFFLE(mask_t, first, second, upper);                                                            \
        rows[i + n] = TN_SHUFFLE(mask_t, first, second, lower);                                                        \
    } while (0)

TN_INLINE void tn_transpose_f32(tn_row_f32 rows[8]) {
    TN_UNROLL for (int i = 0; i < 4; i++)
        TN_EXCHANGE(tn_row_f32, tn_mask_f32, rows, i, 4, TN_LIST(0, 1, 2, 3, 8, 9, 10, 11),
                    TN_LIST(4, 5, 6, 7, 12, 13, 14, 15));
    TN_UNROLL for (int i = 0; i < 8; i += 4)
        TN_UNROLL for (int r = i; r < i + 2; r++)
            TN_EXCHANGE(tn_row_f32, tn_mask_f32, rows, r, 2, TN_LIST(0, 1, 8, 9, 4, 5, 12, 13),
                        TN_LIST(2, 3, 10, 11, 6, 7, 14, 15));
    TN_UNROLL for (int i = 0; i < 8; i += 2)
        TN_EXCHANGE(tn_row_f32, tn_mask_f32, rows, i, 1, TN_LIST(0, 8, 2, 10, 4, 12, 6, 14),
                    TN_LIST(1, 9, 3, 11, 5, 13, 7, 15));
}

TN_INLINE void tn_transpose_f64(tn_row_f64 rows[4]) {
    TN_UNROLL for (int i = 0; i < 2; i++)
        TN_EXCHANGE(tn_row_f64, tn_mask_f64, rows, i, 2, TN_LIST(0, 1, 4, 5), TN_LIST(2, 3, 6, 7));
    TN_UNROLL for (int i = 0; i < 4; i += 2)
        TN_EXCHANGE(tn_row_f64, tn_mask_f64, rows, i, 1, TN_LIST(0, 4, 2, 6), TN_LIST(1, 5, 3, 7));
}

#define TN_LOAD_TILE(name, stored, computed, convert, row_t, load_row, transpose)                                      \
    void tn_load_tile_##name(computed *restrict dst, const stored *src, TN_RECTANGLE) {                                \
        enum { SIDE = sizeof(row_t) / sizeof(computed) };                                                              \
        if (valid_rows < rows || valid_cols < cols)                                                                    \
            memset(dst, 0, (size_t)rows * cols * sizeof *dst);                                                         \
        int j = 0;                                                                                                     \
        for (; s0 == 1 && s1 != 1 && j + SIDE <= valid_cols; j += SIDE) {                                              \
            int i = 0;                                                                                                 \
            for (; i + SIDE <= valid_rows; i += SIDE) {                                                                \
                row_t square[SIDE];                                                                                    \
                TN_UNROLL for (int c = 0; c < SIDE; c++)                                                               \
                    square[c] = load_row(src + i + (j + c) * s1);                                                      \
                transpose(square);                                                                                     \
                TN_UNROLL for (int r = 0; r < SIDE; r++)                                                               \
                    *(row_t *)(dst + (int64_t)(i + r) * cols + j) = square[r];                                         \
            }                                                                                                          \
            for (; i < valid_rows; i++)                                                                                \
                for (int c = 0; c < SIDE; c++)                                                                         \
                    dst[(int64_t)i * cols + j + c] = convert(src[i + (j + c) * s1]);                                   \
        }                                                                                                              \
        for (int i = 0; i < valid_rows; i++) {                                                                         \
            computed *restrict to = dst + (int64_t)i * cols;                                                           \
            const stored *from = src + i * s0;                                                                         \
            if (s1 == 1)                                                                                               \
                for (int at = j; at < valid_cols; at++)                                                                \
                    to[at] = convert(from[at]);                                                                        \
            else                                                                                                       \
                for (int at = j; at < valid_cols; at++)                                                                \
                    to[at] = convert(from[at * s1]);                                                                   \
        }                                                                                                              \
    }
TN_LOAD_TILE(f32, float, float, TN_SAME, tn_row_f32, tn_load_row_f32, tn_transpose_f32)
TN_LOAD_TILE(f64, double, double, TN_SAME, tn_row_f64, tn_load_row_f64, tn_transpose_f64)
TN_LOAD_TILE(bf16, bf16, float, tn_bf16_to_f32, tn_row_f32, tn_load_row_bf16, tn_transpose_f32)
TN_LOAD_TILE(f16, f16, float, tn_f16_to_f32, tn_row_f32, tn_load_row_f16, tn_transpose_f32)
#undef TN_LOAD_TILE

#endif
