/* Saved exponentials to gradients, in plain C: for factors that do not fit a
 * float, which the kernels leave alone. */

/* Scales what is left of saved exponentials in double. */
static void bn_scale_in_double(const bn_scaling *scaling)
{
    for (int64_t i = scaling->done; i < scaling->n; i++) {
        const double e = (double)scaling->exps[i];

        bn_put(scaling->grad_type, scaling->grad, i,
               e > scaling->cutoff ? (float)(e * scaling->factor) : 0);
    }
}
