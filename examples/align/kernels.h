/* The arithmetic that the model spends its time in, for the CPU at hand. */
#ifndef ALIGN_KERNELS_H
#define ALIGN_KERNELS_H

/* Every row length here (n, N) is a multiple of LANES; arrays need only the
 * alignment of a float. All sums run in a fixed order. */
enum { LANES = 32 };

struct kernels {
    const char *name;

    /* c (M,N) = a (M,K) b (K,N), or c += with add. c and b have rows of ldc
     * and ldb floats; a's element (m,k) is a[m*am + k*ak], so one kernel
     * serves a product, its transpose and a slice of either. */
    void (*matmul)(float *c, int ldc, const float *a, int am, int ak,
                   const float *b, int ldb, int M, int N, int K, int add);

    /* x (n) becomes softmax(scale*x + bias) over its first `live` columns
     * and 0 beyond them; backward turns dp into the gradient of x. */
    void (*softmax)(float *x, const float *bias, float scale, int live, int n);
    void (*softmax_back)(float *dp, const float *p, float scale, int n);

    /* y (C) = gain * x / rms(x); returns 1/rms. backward adds to dx and
     * dgain. */
    float (*norm)(float *y, const float *x, const float *gain, int C);
    void (*norm_back)(float *dx, float *dgain, const float *dy,
                      const float *x, const float *gain, float inv, int C);

    /* y = max(x,0)^2; backward turns dy into the gradient of x. */
    void (*relu2)(float *y, const float *x, int n);
    void (*relu2_back)(float *dy, const float *x, int n);

    /* y += x */
    void (*add)(float *y, const float *x, int n);

    /* The sum of x*x. */
    double (*squares)(const float *x, int n);

    /* One AdamW step: g is multiplied by gscale; lr1 = lr / (1 - b1^t) and
     * fix2 = 1 / (1 - b2^t) carry the bias corrections; keep = 1 - lr*decay
     * shrinks the weight. */
    void (*adamw)(float *w, float *m, float *v, const float *g, int n,
                  float gscale, float lr1, float fix2, float b1, float b2,
                  float keep);
};

/* The sets that this CPU runs, best first: number 0, 1, ..; then NULL. */
const struct kernels *kernels_pick(int number);

#endif
