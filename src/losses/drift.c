/* Measures how far a policy has moved from its reference: the shifts of
 * log-probabilities and logits, and how unevenly the tokens of a sequence share
 * them. */

typedef struct bn_drift_call {
    bn_batch batch;             /* its sequences and sides */
    const bnfloss_row *state, *ref_state;
    double *sorted;             /* (N) room to sort a sequence's shifts */
} bn_drift_call;

/* Moves x[i] down a heap of n elements to its place. */
static void bn_sink_value(double *x, int64_t i, int64_t n)
{
    const double value = x[i];

    for (int64_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && x[child] < x[child + 1])
            child++;
        if (!(value < x[child]))
            break;
        x[i] = x[child];
    }
    x[i] = value;
}

/* Sorts x (n) upwards, by heapsort. */
static void bn_sort(double *x, int64_t n)
{
    for (int64_t i = n / 2; i-- > 0;)
        bn_sink_value(x, i, n);
    for (int64_t last = n - 1; last > 0; last--) {
        const double largest = x[0];

        x[0] = x[last];
        x[last] = largest;
        bn_sink_value(x, 0, last);
    }
}

/* Returns the Gini coefficient of s (n), all >= 0, and leaves s sorted:
 *     2 sum_i i s_(i) / (n sum_i s_i) - (n+1)/n
 * It is exactly 0 if all are equal, and NaN if one is not finite. */
static double bn_gini(double *s, int64_t n)
{
    bn_total sum = { 0, 0 }, ranked = { 0, 0 };

    for (int64_t i = 0; i < n; i++)
        if (!bn_is_finite(s[i]))
            return BN_NAN;
    bn_sort(s, n);
    if (s[0] == s[n - 1])
        return 0;
    for (int64_t i = 0; i < n; i++) {
        bn_add(&sum, s[i]);
        bn_add(&ranked, (double)(i + 1) * s[i]);
    }
    return 2 * bn_total_of(&ranked) / ((double)n * bn_total_of(&sum))
           - (double)(n + 1) / (double)n;
}

enum { BN_LOGP_DRIFT, BN_LOGIT_DRIFT, BN_CENTRED_DRIFT };

/* Returns the shift of row i's label: of its logp, of its logit, or of its
 * logit less the row's mean logit, which is NaN if that is unknown. */
static double bn_drift_of(const bn_drift_call *call, int64_t i, int what)
{
    const bnfloss_row *row = call->state + i, *y = call->ref_state + i;

    switch (what) {
    case BN_LOGP_DRIFT:
        return bn_token_of_row(row).logp - bn_token_of_row(y).logp;
    case BN_LOGIT_DRIFT:
        return row->label - y->label;
    default:
        if (!(row->flags & y->flags & BNFLOSS_ROW_MEAN))
            return BN_NAN;
        return (row->label - bn_row_mean(row)) - (y->label - bn_row_mean(y));
    }
}

/* Returns whether row i is measured. */
static int bn_drift_counts(const bn_drift_call *call, int64_t i)
{
    return !((call->state[i].flags | call->ref_state[i].flags)
             & BNFLOSS_ROW_IGNORED)
           && bn_weight(&call->batch, i) != 0;
}

/* Returns the mean over one side's sequences of their tokens' mean shift, and
 * stores the mean Gini coefficient of the shifts' absolute values. */
static double bn_mean_drift(const bn_drift_call *call, int side, int what,
                            double *gini)
{
    const bn_batch *batch = &call->batch;
    bn_total shifts = { 0, 0 }, ginis = { 0, 0 };
    int64_t count = 0;

    for (int64_t s = 0; s < batch->S; s++) {
        const int64_t end = bn_seq_begin(batch, s + 1);
        bn_total sum = { 0, 0 };
        int64_t n = 0;

        for (int64_t i = bn_seq_begin(batch, s); i < end; i++) {
            double x;

            if (bn_side(batch, s) != side || !bn_drift_counts(call, i))
                continue;
            x = bn_drift_of(call, i, what);
            bn_add(&sum, x);
            call->sorted[n++] = x < 0 ? -x : x;
        }
        if (n == 0)
            continue;
        count++;
        bn_add(&shifts, bn_total_of(&sum) / (double)n);
        bn_add(&ginis, bn_gini(call->sorted, n));
    }
    *gini = bn_mean(&ginis, count);
    return bn_mean(&shifts, count);
}

static void bn_drift_measure(const bn_drift_call *call, bnfloss_shifts *r)
{
    double unused;

    r->logp_chosen = bn_mean_drift(call, 1, BN_LOGP_DRIFT,
                                   &r->logp_gini_chosen);
    r->logp_rejected = bn_mean_drift(call, -1, BN_LOGP_DRIFT,
                                     &r->logp_gini_rejected);
    r->logit_chosen = bn_mean_drift(call, 1, BN_LOGIT_DRIFT,
                                    &r->logit_gini_chosen);
    r->logit_rejected = bn_mean_drift(call, -1, BN_LOGIT_DRIFT,
                                      &r->logit_gini_rejected);
    r->centred_chosen = bn_mean_drift(call, 1, BN_CENTRED_DRIFT, &unused);
    r->centred_rejected = bn_mean_drift(call, -1, BN_CENTRED_DRIFT, &unused);
}
