/* What moves and multiplies whole tiles (linked.c): compiled once, and linked into every kernel that calls it.
 *
 * tn_load_tile_<type>: a rectangle of memory into a tile (tile.h). tn_dot_<type>: c += a b (dot.h). With
 * TN_DOT_BF16, the product of bfloat16 by the processor's instruction and the packing of its operands (dot_bf16.h).
 */
#ifndef TN_LINKED_H
#define TN_LINKED_H

#if defined(__AVX512BF16__) && defined(__AVX512F__)
#define TN_DOT_BF16 1
#else
#define TN_DOT_BF16 0
#endif

#pragma GCC visibility push(hidden)

#define TN_RECTANGLE int64_t s0, int64_t s1, int rows, int cols, int valid_rows, int valid_cols
void tn_load_tile_f32(float *restrict dst, const float *src, TN_RECTANGLE);
void tn_load_tile_f64(double *restrict dst, const double *src, TN_RECTANGLE);
void tn_load_tile_bf16(float *restrict dst, const bf16 *src, TN_RECTANGLE);
void tn_load_tile_f16(float *restrict dst, const f16 *src, TN_RECTANGLE);

#define TN_DOT(name, type, sum)                                                                                  \
    void tn_dot_##name(int M, int N, int K, const type *a, int64_t sam, int64_t sak, const type *b, int64_t sbk, \
                       sum *c)
TN_DOT(f32, float, float);
TN_DOT(f64, double, double);
TN_DOT(i8, int8_t, int32_t);
TN_DOT(u8, uint8_t, int32_t);

#if TN_DOT_BF16
void tn_bits_f32(bf16 *to, const float *from, TN_RECTANGLE);
void tn_bits_bf16(bf16 *to, const bf16 *from, TN_RECTANGLE);
void tn_pairs_f32(uint32_t *to, const float *from, TN_RECTANGLE);
void tn_pairs_bf16(uint32_t *to, const bf16 *from, TN_RECTANGLE);
void tn_pairs_of_columns(uint32_t *to, const bf16 *from, TN_RECTANGLE);
void tn_dot_bf16(int M, int N, int K, const bf16 *a, int64_t sam, const uint32_t *b, float *c);
#endif

#pragma GCC visibility pop
#endif
