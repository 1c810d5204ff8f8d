/* Losses that the library does not have, from its forward and backward alone:
 * a preference over three answers at once, and a policy gradient.
 *
 * Both follow from one fact. For any loss L of the labels' log-probabilities,
 *     dL/dlogits = dlogp * (onehot - softmax),   dlogp = dL/dlogp,
 * so a new loss is a few lines that turn logp (N) into dlogp (N), and the two
 * passes over N x V logits stay the library's. Each gradient is checked here
 * against differences of its own loss.
 *
 * 1. Plackett-Luce over ranked answers (the DPO paper's appendix, arXiv
 *    2305.18290): with r_k = beta * sum (l - ref) of answer k, best first,
 *        L = -sum_k [r_k - log sum_{j >= k} e^(r_j)]
 *    Its dlogp is one number per answer.
 * 2. The clipped surrogate of PPO and GRPO (arXiv 1707.06347, eq. 7): with
 *    rho = e^(l - old) and an advantage A per answer,
 *        L = -mean over tokens of min(rho A, clip(rho, 1 - c, 1 + c) A)
 *    dlogp = -rho A / N where the clip does not bite, else 0. */
#include "bnfloss.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { K = 3, T = 4, N = K * T, V = 7 };    /* answers, tokens each, rows */

static const float ref[N] = {               /* log-probs of the reference */
    -1.5f, -2.0f, -1.0f, -2.5f,  -1.0f, -1.5f, -2.0f, -1.5f,
    -2.0f, -2.0f, -1.5f, -1.0f };

typedef double loss_fn(const float *logp, float *dlogp);

static double plackett_luce(const float *logp, float *dlogp)
{
    const double beta = 0.5;
    double reward[K] = { 0 }, slope[K] = { 0 }, loss = 0;

    for (int i = 0; i < N; i++)
        reward[i / T] += beta * (double)(logp[i] - ref[i]);
    for (int k = 0; k < K; k++) {
        double most = reward[k], sum = 0;

        for (int j = k; j < K; j++)
            most = reward[j] > most ? reward[j] : most;
        for (int j = k; j < K; j++)
            sum += exp(reward[j] - most);
        loss -= reward[k] - most - log(sum);
        slope[k] -= 1;
        for (int j = k; j < K; j++)         /* softmax of what is left */
            slope[j] += exp(reward[j] - most) / sum;
    }
    for (int i = 0; i < N; i++)
        dlogp[i] = (float)(beta * slope[i / T]);
    return loss;
}

static double policy_gradient(const float *logp, float *dlogp)
{
    const double advantage[K] = { 1.25, -0.25, -1 }, clip = 0.2;
    double loss = 0;

    for (int i = 0; i < N; i++) {
        const double a = advantage[i / T];
        const double rho = exp((double)(logp[i] - ref[i]));
        const double kept = fmin(fmax(rho, 1 - clip), 1 + clip);

        loss -= fmin(rho * a, kept * a) / N;
        dlogp[i] = rho * a <= kept * a ? (float)(-rho * a / N) : 0;
    }
    return loss;
}

static void check(bnfloss_status status, const char *stage)
{
    if (status == BNFLOSS_OK)
        return;
    fprintf(stderr, "%s: %s\n", stage, bnfloss_status_string(status));
    exit(1);
}

static const bnfloss_layout layout = {
    .struct_size = sizeof layout, .rows = N, .vocab = V };

/* The loss at these logits and, unless grad is NULL, its gradient. */
static double run(loss_fn *loss, const float *logits, const int32_t *labels,
                  float *grad)
{
    static bnfloss_row state[N];
    float logp[N], dlogp[N];
    const bnfloss_outputs outputs = {
        .struct_size = sizeof outputs, .logp = logp };
    double value;

    check(bnfloss_forward(&layout, logits, labels, 0, N, state, &outputs,
                          NULL), "forward");
    value = loss(logp, dlogp);
    if (grad)
        check(bnfloss_backward(&layout, logits, labels, 0, N, state, dlogp,
                               grad, NULL), "backward");
    return value;
}

/* Descends along the gradient, having compared it with differences. */
static int demonstrate(const char *name, loss_fn *loss)
{
    float logits[N * V], grad[N * V];
    double worst = 0, first, last;
    int32_t labels[N];

    for (int i = 0; i < N * V; i++)         /* stands for a model */
        logits[i] = (float)(i * 29 % 23) / 8;
    for (int i = 0; i < N; i++)
        labels[i] = i * 5 % V;
    first = run(loss, logits, labels, grad);
    for (int i = 0; i < N * V; i++) {
        const float z = logits[i], h = 1.0f / 64;
        double up, down;

        logits[i] = z + h;
        up = run(loss, logits, labels, NULL);
        logits[i] = z - h;
        down = run(loss, logits, labels, NULL);
        logits[i] = z;
        worst = fmax(worst, fabs((up - down) / (2 * (double)h)
                                 - (double)grad[i]));
    }
    for (int step = 0; step < 20; step++) {
        run(loss, logits, labels, grad);
        for (int i = 0; i < N * V; i++)
            logits[i] -= grad[i];
    }
    last = run(loss, logits, labels, NULL);
    printf("%s: loss %.6f, after 20 steps %.6f\n", name, first, last);
    if (worst < 1e-4 && last < first)
        return 0;
    fprintf(stderr, "%s: gradient off by %g\n", name, worst);
    return 1;
}

int main(void)
{
    return demonstrate("Plackett-Luce", plackett_luce)
           + demonstrate("policy gradient", policy_gradient);
}
