/* Saved exponentials within a forward pass: how a new leader changes them. The
 * kernels scale them in scale_saved.h; rows/pending.c says when and where they
 * are saved. */

/* Once the power of a chunk has risen by this much, every saved e^x, divided
 * by the new power of two, is below 2^-125. */
#define BN_REBASE_LOST 215

/* Returns how many of n float gradients lie before the first cache line that
 * begins within them. */
static int64_t bn_until_cache_line(const void *grad, int64_t n)
{
    const int64_t before = (int64_t)((0 - (uintptr_t)grad) / 4 % 16);

    return before < n ? before : n;
}

/* Brings the i exponentials that were saved with `power` to that of the sums,
 * after a new leader. Returns whether to go on saving. A row with logits on
 * both sides of BN_MAX_EXACT_X must not save what its backward pass would
 * compute in another way. So nothing is saved that a leader beyond it would
 * leave above 0. */
static int bn_save_rebase(bn_save *save, const bn_sums *sums, int32_t power,
                          int64_t i)
{
    const double max_leader = BN_MAX_EXACT_X - 90;

    save->n = i;
    save->power = power;
    if (sums->origin != 0 || sums->leader > max_leader
        || (sums->leader < -max_leader && sums->leader_at >= 0))
        return 0;
    save->power = sums->power;
    /* a lower power: there was no leader before */
    if (sums->power < power || sums->power - power > BN_REBASE_LOST) {
        memset(save->exps, 0, (size_t)i * sizeof *save->exps);
    } else if (sums->power != power) {
        bn_scaling rebase;

        memset(&rebase, 0, sizeof rebase);
        rebase.exps = save->exps;
        rebase.grad = save->exps;
        rebase.grad_type = BNFLOSS_F32;
        rebase.n = i;
        rebase.factor = bn_pow2(power - sums->power);
        rebase.cutoff = bn_pow2(sums->power - power - 125);
        bn_scale_in_double(&rebase);
    }
    return 1;
}
