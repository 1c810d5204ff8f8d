/* What every entry point does first and last: it packs its arguments, switches
 * the floating-point environment, and writes its result. */

/* Returns arguments that are all 0. */
static bn_args bn_args_none(void)
{
    bn_args args;

    memset(&args, 0, sizeof args);
    return args;
}

/* Returns a result in which nothing is known. */
static bnfloss_result bn_result_empty(void)
{
    bnfloss_result r;

    memset(&r, 0, sizeof r);
    r.where = -1;
    r.rewards_chosen = r.rewards_rejected = r.rewards_margins = BN_NAN;
    r.rewards_accuracies = r.logps_chosen = r.logps_rejected = BN_NAN;
    r.logps_mean_chosen = r.logps_mean_rejected = BN_NAN;
    r.logits_chosen = r.logits_rejected = BN_NAN;
    r.entropy = r.token_accuracy = r.z_loss = r.sft_loss = BN_NAN;
    r.bnf_coefficient = r.bnf_full_share = BN_NAN;
    r.kl = r.shift = r.shift_count = BN_NAN;
    return r;
}

/* Writes what fits into the caller's struct, which has been checked: after an
 * error, `where` alone. Both structs begin with struct_size, reserved, where.
 * Returns the status. */
static bnfloss_status bn_write_result(void *to, bnfloss_status status,
                                      const void *from, size_t known)
{
    const size_t start = 8, where = sizeof(int64_t);
    uint32_t size = 0;

    if (to)
        memcpy(&size, to, sizeof size);
    if (size > known)
        size = (uint32_t)known;
    if (status != BNFLOSS_OK && size > start + where)
        size = (uint32_t)(start + where);
    if (size >= start + where || (status == BNFLOSS_OK && size > start))
        memcpy((char *)to + start, (const char *)from + start, size - start);
    return status;
}

/* Checks the arguments, then computes, then fills in *r. Not inlined, so that
 * no arithmetic moves across the switch of the floating-point environment. */
typedef bnfloss_status bn_call_fn(const bn_args *args, bnfloss_result *r);

/* Runs a call. The result struct is checked first, since errors are told in
 * it. The call runs in the default floating-point environment. */
static bnfloss_status bn_enter(bn_call_fn *call, const bn_args *args)
{
    bnfloss_status status = bn_check_result(args->result);
    bnfloss_result r;
    bn_env env;

    if (status != BNFLOSS_OK)
        return status;
    env = bn_env_enter();
    r = bn_result_empty();
    status = call(args, &r);
    bn_env_leave(env);
    return bn_write_result(args->result, status, &r, sizeof r);
}
