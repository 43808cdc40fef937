/* tn_load_tile_<type>: a rectangle of memory with any strides into a dense row-major tile of the compute type.
 *
 * dst[i * cols + j] = i < valid_rows && j < valid_cols ? src[i * s0 + j * s1] : 0. Nothing outside of the valid part is read.
 */
#ifndef TN_TILE_H
#define TN_TILE_H

#define TN_SAME(x) (x)

#define TN_LOAD_TILE(name, stored, computed, convert)                                                                    \
    TN_STATIC void tn_load_tile_##name(computed *dst, const stored *src, int64_t s0, int64_t s1, int rows, int cols,      \
                                       int valid_rows, int valid_cols) {                                                 \
        if (valid_rows < rows || valid_cols < cols)                                                                      \
            memset(dst, 0, (size_t)rows * cols * sizeof *dst);                                                           \
        for (int i = 0; i < valid_rows; i++) {                                                                           \
            computed *to = dst + (int64_t)i * cols;                                                                      \
            const stored *from = src + i * s0;                                                                           \
            if (s1 == 1)                                                                                                 \
                for (int j = 0; j < valid_cols; j++)                                                                     \
                    to[j] = convert(from[j]);                                                                            \
            else                                                                                                         \
                for (int j = 0; j < valid_cols; j++)                                                                     \
                    to[j] = convert(from[j * s1]);                                                                       \
        }                                                                                                                \
    }
TN_LOAD_TILE(f32, float, float, TN_SAME)
TN_LOAD_TILE(f64, double, double, TN_SAME)
TN_LOAD_TILE(bf16, bf16, float, tn_bf16_to_f32)
TN_LOAD_TILE(f16, f16, float, tn_f16_to_f32)

#endif
