/* The product of bfloat16 tiles where the processor has an instruction for it (AVX-512 BF16): two products a lane.
 *
 * tn_dot_bf16(M, N, K, a, sam, b, c): c += a b. a[i * sam + k] has unit column stride, b holds pairs of rows,
 * b[k / 2 * N + j] = (b[k, j], b[k + 1, j]), c[i * N + j] is float; K is even. Sums are rounded to float;
 * subnormal operands and sums count as zero.
 * tn_bits_<type> and tn_pairs_<type> pack memory with any strides, or a float tile, into such operands.
 */
#ifndef TN_DOT_BF16_H
#define TN_DOT_BF16_H

#if TN_DOT_BF16

/* Eight pairs of neighbours in two rows, moved as floats. */
TN_INLINE tn_row_f32 tn_pair_row_bf16(const bf16 *first, const bf16 *second) {
    tn_row_u32 low = __builtin_convertvector(*(const tn_row_u16 *)first, tn_row_u32);
    return (tn_row_f32)(low | __builtin_convertvector(*(const tn_row_u16 *)second, tn_row_u32) << 16);
}
TN_INLINE tn_row_f32 tn_pair_row_f32(const float *first, const float *second) {
    tn_row_u32 low = (tn_row_u32)*(const tn_row_f32 *)first, high = (tn_row_u32)*(const tn_row_f32 *)second;
    return (tn_row_f32)(low >> 16 | (high & 0xffff0000));
}

#define TN_SAME_BITS(x) (x)
#define TN_HIGH_BITS(x) ((bf16)(tn_u32_of_f32(x) >> 16))
#define TN_PACK(name, type, bits)                                                                                      \
    void tn_bits_##name(bf16 *to, const type *from, TN_RECTANGLE) {                                                    \
        if (valid_rows < rows || valid_cols < cols)                                                                    \
            memset(to, 0, (size_t)rows * cols * sizeof *to);                                                           \
        int done = 0;                                                                                                  \
        if (s0 == 1)                                                                                                   \
            for (; done + 8 <= valid_rows; done += 8) {                                                                \
                int k = 0;                                                                                             \
                for (; k + 16 <= valid_cols; k += 16) {                                                                \
                    tn_row_f32 square[8];                                                                              \
                    TN_UNROLL for (int r = 0; r < 8; r++) {                                                            \
                        const type *first = from + done + (k + 2 * r) * s1;                                            \
                        square[r] = tn_pair_row_##name(first, first + s1);                                             \
                    }                                                                                                  \
                    tn_transpose_f32(square);                                                                          \
                    TN_UNROLL for (int r = 0; r < 8; r++)                                                              \
                        *(tn_row_f32 *)(to + (int64_t)(done + r) * cols + k) = square[r];                              \
                }                                                                                                      \
                for (int i = done; i < done + 8; i++)                                                                  \
                    for (int j = k; j < valid_cols; j++)                                                               \
                        to[(int64_t)i * cols + j] = bits(from[i + j * s1]);                                            \
            }                                                                                                          \
        for (int i = done; i < valid_rows; i++)                                                                        \
            if (s1 == 1)                                                                                               \
                for (int j = 0; j < valid_cols; j++)                                                                   \
                    to[(int64_t)i * cols + j] = bits(from[i * s0 + j]);                                                \
            else                                                                                                       \
                for (int j = 0; j < valid_cols; j++)                                                                   \
                    to[(int64_t)i * cols + j] = bits(from[i * s0 + j * s1]);                                           \
    }                                                                                                                  \
    void tn_pairs_##name(uint32_t *to, const type *from, TN_RECTANGLE) {                                               \
        if (valid_rows < rows || valid_cols < cols)                                                                    \
            memset(to, 0, (size_t)rows * cols * sizeof *to / 2);                                                       \
        for (int i = 0; i < valid_rows; i += 2) {                                                                      \
            const type *upper = from + i * s0, *lower = upper + s0;                                                    \
            uint32_t *row = to + (int64_t)i / 2 * cols;                                                                \
            if (i + 1 == valid_rows)                                                                                   \
                for (int j = 0; j < valid_cols; j++)                                                                   \
                    row[j] = bits(upper[j * s1]);                                                                      \
            else if (s1 == 1)                                                                                          \
                for (int j = 0; j < valid_cols; j++)                                                                   \
                    row[j] = bits(upper[j]) | (uint32_t)bits(lower[j]) << 16;                                          \
            else                                                                                                       \
                for (int j = 0; j < valid_cols; j++)                                                                   \
                    row[j] = bits(upper[j * s1]) | (uint32_t)bits(lower[j * s1]) << 16;                                \
        }                                                                                                              \
    }
TN_PACK(f32, float, TN_HIGH_BITS)
TN_PACK(bf16, bf16, TN_SAME_BITS)
#undef TN_PACK

/* Columns of memory are rows of pairs already: their transpose is one of 32-bit elements, moved as floats. */
void tn_pairs_of_columns(uint32_t *to, const bf16 *from, TN_RECTANGLE) {
    if (s0 == 1 && s1 % 2 == 0 && valid_rows % 2 == 0)
        tn_load_tile_f32((float *)to, (const float *)from, 1, s1 / 2, rows / 2, cols, valid_rows / 2, valid_cols);
    else
        tn_pairs_bf16(to, from, s0, s1, rows, cols, valid_rows, valid_cols);
}

typedef struct {
    uint16_t of[2];
} __attribute__((may_alias)) tn_pair_bits;
typedef float tn_pairs_v __attribute__((vector_size(64), aligned(4), may_alias));

TN_INLINE void tn_block_bf16(const int MR, const int NV, int N, int K, const bf16 *a, int64_t sam, const uint32_t *b,
                             float *c) {
    tn_pairs_v sum[8][2];
    TN_UNROLL for (int i = 0; i < MR; i++)
        TN_UNROLL for (int j = 0; j < NV; j++)
            sum[i][j] = *(const tn_pairs_v *)(c + (int64_t)i * N + j * 16);
    for (int k = 0; k < K; k += 2) {
        tn_pairs_v row[2];
        TN_UNROLL for (int j = 0; j < NV; j++)
            row[j] = *(const tn_pairs_v *)(b + (int64_t)k / 2 * N + j * 16);
        TN_UNROLL for (int i = 0; i < MR; i++)
            TN_UNROLL for (int j = 0; j < NV; j++)
                __asm__("vdpbf16ps %2%{1to16%}, %1, %0"
                        : "+v"(sum[i][j])
                        : "v"(row[j]), "m"(*(const tn_pair_bits *)(a + i * sam + k)));
    }
    TN_UNROLL for (int i = 0; i < MR; i++)
        TN_UNROLL for (int j = 0; j < NV; j++)
            *(tn_pairs_v *)(c + (int64_t)i * N + j * 16) = sum[i][j];
}

TN_INLINE void tn_column_bf16(const int NV, int M, int N, int K, const bf16 *a, int64_t sam, const uint32_t *b,
                              float *c) {
    int i = 0;
    for (; i + 8 <= M; i += 8)
        tn_block_bf16(8, NV, N, K, a + i * sam, sam, b, c + (int64_t)i * N);
    for (; i < M; i++)
        tn_block_bf16(1, NV, N, K, a + i * sam, sam, b, c + (int64_t)i * N);
}

void tn_dot_bf16(int M, int N, int K, const bf16 *a, int64_t sam, const uint32_t *b, float *c) {
    int j = 0;
    for (; j + 32 <= N; j += 32)
        tn_column_bf16(2, M, N, K, a, sam, b + j, c + j);
    if (j + 16 <= N) {
        tn_column_bf16(1, M, N, K, a, sam, b + j, c + j);
        j += 16;
    }
    for (; j < N; j++)
        for (int i = 0; i < M; i++) {
            float sum = c[(int64_t)i * N + j];
            for (int k = 0; k < K; k += 2) {
                uint32_t pair = b[(int64_t)k / 2 * N + j];
                sum += tn_bf16_to_f32(a[i * sam + k]) * tn_f32_of_u32(pair << 16);
                sum += tn_bf16_to_f32(a[i * sam + k + 1]) * tn_f32_of_u32(pair & 0xffff0000);
            }
            c[(int64_t)i * N + j] = sum;
        }
}

#endif

#endif
