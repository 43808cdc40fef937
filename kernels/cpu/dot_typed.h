/* The register-blocked product of dot.h for one type: TN_T, its vector TN_V of TN_VL elements, TN_NAME for names. */

/* c[MR, NV * VL] += a[MR, K] b[K, NV * VL], held in MR * NV registers. */
TN_INLINE void TN_NAME(tn_block)(const int MR, const int NV, int K, const TN_T *a, int64_t sam, int64_t sak,
                                 const TN_T *b, int64_t sbk, TN_T *c, int64_t scm) {
    TN_V sum[TN_MR][TN_NV];
    TN_UNROLL for (int i = 0; i < MR; i++)
        TN_UNROLL for (int j = 0; j < NV; j++)
            sum[i][j] = *(const TN_V *)(c + i * scm + j * TN_VL);
    for (int k = 0; k < K; k++) {
        TN_V row[TN_NV];
        TN_UNROLL for (int j = 0; j < NV; j++)
            row[j] = *(const TN_V *)(b + k * sbk + j * TN_VL);
        TN_UNROLL for (int i = 0; i < MR; i++)
            TN_UNROLL for (int j = 0; j < NV; j++)
                sum[i][j] += a[i * sam + k * sak] * row[j];
    }
    TN_UNROLL for (int i = 0; i < MR; i++)
        TN_UNROLL for (int j = 0; j < NV; j++)
            *(TN_V *)(c + i * scm + j * TN_VL) = sum[i][j];
}

/* The same for any M. */
TN_INLINE void TN_NAME(tn_column)(const int NV, int M, int K, const TN_T *a, int64_t sam, int64_t sak, const TN_T *b,
                                  int64_t sbk, TN_T *c, int64_t scm) {
    int i = 0;
    for (; i + TN_MR <= M; i += TN_MR)
        TN_NAME(tn_block)(TN_MR, NV, K, a + i * sam, sam, sak, b, sbk, c + i * scm, scm);
    for (; i + 2 <= M; i += 2)
        TN_NAME(tn_block)(2, NV, K, a + i * sam, sam, sak, b, sbk, c + i * scm, scm);
    if (i < M)
        TN_NAME(tn_block)(1, NV, K, a + i * sam, sam, sak, b, sbk, c + i * scm, scm);
}

/* The last columns, fewer than a vector: through padded copies of b and c. */
TN_STATIC void TN_NAME(tn_edge)(int M, int N, int K, const TN_T *a, int64_t sam, int64_t sak, const TN_T *b,
                                int64_t sbk, TN_T *c, int64_t scm) {
    TN_T panel[TN_KC * TN_VL] __attribute__((aligned(64))) = {0}, block[TN_MR * TN_VL] __attribute__((aligned(64)));
    for (int k = 0; k < K; k++)
        for (int j = 0; j < N; j++)
            panel[k * TN_VL + j] = b[k * sbk + j];
    for (int i = 0; i < M; i += TN_MR) {
        int rows = M - i < TN_MR ? M - i : TN_MR;
        memset(block, 0, sizeof block);
        for (int r = 0; r < rows; r++)
            memcpy(block + r * TN_VL, c + (i + r) * scm, N * sizeof(TN_T));
        TN_NAME(tn_column)(1, rows, K, a + i * sam, sam, sak, panel, TN_VL, block, TN_VL);
        for (int r = 0; r < rows; r++)
            memcpy(c + (i + r) * scm, block + r * TN_VL, N * sizeof(TN_T));
    }
}

void TN_NAME(tn_dot)(int M, int N, int K, const TN_T *a, int64_t sam, int64_t sak, const TN_T *b, int64_t sbk, TN_T *c) {
    enum { WIDTH = TN_NV * TN_VL };
    TN_T panel[TN_KC * WIDTH] __attribute__((aligned(64)));
    for (int k = 0; k < K; k += TN_KC) {
        int depth = K - k < TN_KC ? K - k : TN_KC;
        const TN_T *a_k = a + k * sak, *b_k = b + k * sbk;
        int j = 0;
        for (; j + WIDTH <= N; j += WIDTH) {
            const TN_T *from = b_k + j;
            int64_t step = sbk;
            if (M >= TN_PACK_ROWS && sbk != WIDTH) {
                for (int r = 0; r < depth; r++)
                    TN_UNROLL for (int v = 0; v < TN_NV; v++)
                        *(TN_V *)(panel + r * WIDTH + v * TN_VL) = *(const TN_V *)(from + r * sbk + v * TN_VL);
                from = panel;
                step = WIDTH;
            }
            TN_NAME(tn_column)(TN_NV, M, depth, a_k, sam, sak, from, step, c + j, N);
        }
        for (; j + TN_VL <= N; j += TN_VL)
            TN_NAME(tn_column)(1, M, depth, a_k, sam, sak, b_k + j, sbk, c + j, N);
        if (j < N)
            TN_NAME(tn_edge)(M, N - j, depth, a_k, sam, sak, b_k + j, sbk, c + j, N);
    }
}

#undef TN_T
#undef TN_V
#undef TN_VL
#undef TN_NAME
