/* Every kernel, said once in the words of kernels.c, which includes this file
 * once per instruction set. */

#define VN ((int)ISA(VN))

/* c (M,2*VN) at the top left of a product: 6 by 2 vectors stay in registers
 * (12 of AVX2's 16) while k runs, so each load of b is used six times. */
KERNEL void ISA(tile6)(float *c, int ldc, const float *a, int am, int ak,
                       const float *b, int ldb, int K, int add)
{
    V c0 = v_set(0), c1 = c0, d0 = c0, d1 = c0, e0 = c0, e1 = c0;
    V f0 = c0, f1 = c0, g0 = c0, g1 = c0, h0 = c0, h1 = c0, s;
    for (int k = 0; k < K; k++, a += ak, b += ldb) {
        V b0 = v_load(b), b1 = v_load(b + VN);
        s = v_set(a[0 * am]); c0 = v_fma(s, b0, c0); c1 = v_fma(s, b1, c1);
        s = v_set(a[1 * am]); d0 = v_fma(s, b0, d0); d1 = v_fma(s, b1, d1);
        s = v_set(a[2 * am]); e0 = v_fma(s, b0, e0); e1 = v_fma(s, b1, e1);
        s = v_set(a[3 * am]); f0 = v_fma(s, b0, f0); f1 = v_fma(s, b1, f1);
        s = v_set(a[4 * am]); g0 = v_fma(s, b0, g0); g1 = v_fma(s, b1, g1);
        s = v_set(a[5 * am]); h0 = v_fma(s, b0, h0); h1 = v_fma(s, b1, h1);
    }
    V out[12] = {c0, c1, d0, d1, e0, e1, f0, f1, g0, g1, h0, h1};
    for (int i = 0; i < 12; i++) {
        float *to = c + (i / 2) * ldc + (i % 2) * VN;
        if (add) out[i] = out[i] + v_load(to);
        v_store(to, out[i]);
    }
}

/* The same for one row: what is left below the tiles of six. */
KERNEL void ISA(tile1)(float *c, const float *a, int ak, const float *b,
                       int ldb, int K, int add)
{
    V c0 = v_set(0), c1 = c0;
    if (add) c0 = v_load(c), c1 = v_load(c + VN);
    for (int k = 0; k < K; k++, a += ak, b += ldb) {
        c0 = v_fma(v_set(*a), v_load(b), c0);
        c1 = v_fma(v_set(*a), v_load(b + VN), c1);
    }
    v_store(c, c0);
    v_store(c + VN, c1);
}

KERNEL void ISA(matmul)(float *c, int ldc, const float *a, int am, int ak,
                        const float *b, int ldb, int M, int N, int K, int add)
{
    for (int n = 0; n < N; n += 2 * VN)     /* b's columns stay in L1 */
        for (int m = 0; m < M; ) {
            int six = m + 6 <= M;
            if (!six && M >= 6 && !add) {   /* do some rows twice: it is */
                m = M - 6;                  /* faster than one by one    */
                six = 1;
            }
            float *to = c + (long)m * ldc + n;
            const float *from = a + (long)m * am;
            if (six) ISA(tile6)(to, ldc, from, am, ak, b + n, ldb, K, add);
            else     ISA(tile1)(to, from, ak, b + n, ldb, K, add);
            m += six ? 6 : 1;
        }
}

/* e^x for x <= 88, and 2^-126 or so below -87: x = n ln 2 + r, |r| <= .35,
 * and e^r by its Taylor series, whose next term, r^7/7!, is 1.2e-7. Adding
 * 1.5 * 2^23 rounds to an integer and leaves it in the low bits. */
KERNEL V ISA(v_exp)(V x)
{
    const V magic = v_set(12582912.0f);
    x = v_max(x, v_set(-87.0f));
    V m = v_fma(x, v_set(1.44269504f), magic), n = m - magic;
    V r = v_fma(n, v_set(-0.693359375f), x);            /* ln 2 in two */
    r = v_fma(n, v_set(2.12194440e-4f), r);             /* parts       */
    V y = v_set(1.0f / 720);
    y = v_fma(y, r, v_set(1.0f / 120));
    y = v_fma(y, r, v_set(1.0f / 24));
    y = v_fma(y, r, v_set(1.0f / 6));
    y = v_fma(y, r, v_set(0.5f));
    y = v_fma(y, r, v_set(1.0f));
    y = v_fma(y, r, v_set(1.0f));
    return v_ldexp(y, m);
}

KERNEL float ISA(v_sum)(V x)
{
    float lane[VN], sum = 0;
    v_store(lane, x);
    for (int i = 0; i < VN; i++) sum += lane[i];
    return sum;
}

KERNEL float ISA(v_top)(V x)
{
    float lane[VN], top;
    v_store(lane, x);
    top = lane[0];
    for (int i = 1; i < VN; i++) top = lane[i] > top ? lane[i] : top;
    return top;
}

KERNEL void ISA(softmax)(float *x, const float *bias, float scale, int live,
                         int n)
{
    V s = v_set(scale), top = v_set(-1e30f), sum = v_set(0);
    for (int i = live; i < n; i++) x[i] = -1e30f;
    for (int i = 0; i < n; i += VN) {
        V z = v_fma(s, v_load(x + i), v_load(bias + i));
        v_store(x + i, z);
        top = v_max(top, z);
    }
    top = v_set(ISA(v_top)(top));
    for (int i = 0; i < n; i += VN)
        v_store(x + i, ISA(v_exp)(v_load(x + i) - top));
    for (int i = live; i < n; i++) x[i] = 0;
    for (int i = 0; i < n; i += VN) sum = sum + v_load(x + i);
    V part = v_set(1 / ISA(v_sum)(sum));
    for (int i = 0; i < n; i += VN) v_store(x + i, part * v_load(x + i));
}

KERNEL void ISA(softmax_back)(float *dp, const float *p, float scale, int n)
{
    V sum = v_set(0), s = v_set(scale);
    for (int i = 0; i < n; i += VN)
        sum = v_fma(v_load(dp + i), v_load(p + i), sum);
    V mean = v_set(ISA(v_sum)(sum));
    for (int i = 0; i < n; i += VN)
        v_store(dp + i, s * v_load(p + i) * (v_load(dp + i) - mean));
}

KERNEL float ISA(norm)(float *y, const float *x, const float *gain, int C)
{
    V sum = v_set(0);
    for (int i = 0; i < C; i += VN) {
        V a = v_load(x + i);
        sum = v_fma(a, a, sum);
    }
    float inv = 1 / sqrtf(ISA(v_sum)(sum) / (float)C + 1e-6f);
    V k = v_set(inv);
    for (int i = 0; i < C; i += VN)
        v_store(y + i, k * v_load(x + i) * v_load(gain + i));
    return inv;
}

/* With t = gain*dy: dx = inv*t - x * inv^3/C * sum(x*t). */
KERNEL void ISA(norm_back)(float *dx, float *dgain, const float *dy,
                           const float *x, const float *gain, float inv, int C)
{
    V sum = v_set(0), k = v_set(inv);
    for (int i = 0; i < C; i += VN)
        sum = v_fma(v_load(x + i) * v_load(gain + i), v_load(dy + i), sum);
    V pull = v_set(-inv * inv * inv / (float)C * ISA(v_sum)(sum));
    for (int i = 0; i < C; i += VN) {
        V a = v_load(x + i), d = k * v_load(dy + i);
        V out = v_fma(pull, a, v_load(dx + i));
        v_store(dx + i, v_fma(d, v_load(gain + i), out));
        v_store(dgain + i, v_fma(d, a, v_load(dgain + i)));
    }
}

KERNEL void ISA(relu2)(float *y, const float *x, int n)
{
    for (int i = 0; i < n; i += VN) {
        V a = v_max(v_load(x + i), v_set(0));
        v_store(y + i, a * a);
    }
}

KERNEL void ISA(relu2_back)(float *dy, const float *x, int n)
{
    for (int i = 0; i < n; i += VN) {
        V a = v_max(v_load(x + i), v_set(0));
        v_store(dy + i, (a + a) * v_load(dy + i));
    }
}

KERNEL void ISA(add)(float *y, const float *x, int n)
{
    for (int i = 0; i < n; i += VN)
        v_store(y + i, v_load(y + i) + v_load(x + i));
}

KERNEL double ISA(squares)(const float *x, int n)
{
    V sum = v_set(0);
    for (int i = 0; i < n; i += VN)
        sum = v_fma(v_load(x + i), v_load(x + i), sum);
    return (double)ISA(v_sum)(sum);
}

KERNEL void ISA(adamw)(float *w, float *m, float *v, const float *g, int n,
                       float gscale, float lr1, float fix2, float b1,
                       float b2, float keep)
{
    V k = v_set(gscale), p1 = v_set(b1), p2 = v_set(b2);
    V q1 = v_set(1 - b1), q2 = v_set(1 - b2), f2 = v_set(fix2);
    for (int i = 0; i < n; i += VN) {
        V a = k * v_load(g + i);
        V mi = v_fma(p1, v_load(m + i), q1 * a);
        V vi = v_fma(p2, v_load(v + i), q2 * a * a);
        V by = v_set(lr1) * mi / (v_sqrt(f2 * vi) + v_set(1e-8f));
        v_store(m + i, mi);
        v_store(v + i, vi);
        v_store(w + i, v_set(keep) * v_load(w + i) - by);
    }
}

static const struct kernels ISA(kernels) = {
    ISA_NAME, ISA(matmul), ISA(softmax), ISA(softmax_back),
    ISA(norm), ISA(norm_back), ISA(relu2), ISA(relu2_back), ISA(add),
    ISA(squares), ISA(adamw)
};

#undef VN
#undef ISA
#undef ISA_NAME
#undef KERNEL
#undef V
#undef v_load
#undef v_store
#undef v_set
#undef v_fma
#undef v_max
#undef v_sqrt
#undef v_ldexp
