/* What every entry point does first and last: it packs its arguments, switches
 * the floating-point environment, and writes its result. */

/* Returns arguments that are all 0. */
static bn_args bn_args_none(void)
{
    bn_args args;

    memset(&args, 0, sizeof args);
    return args;
}

/* Returns a result in which nothing is known: counts are 0, numbers NaN. */
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

/* Copies a result to the caller's struct, as far as that knows its fields, and
 * returns the status. After an error only `where` is copied. All structs of
 * results begin with struct_size, reserved and where. */
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

/* The body of an entry point: checks the arguments, computes, and fills in *r.
 * It must not be inlined, so that no arithmetic moves across the switch of the
 * floating-point environment. */
typedef bnfloss_status bn_call_fn(const bn_args *args, bnfloss_result *r);

/* Runs a call in the default floating-point environment. The result struct is
 * checked before all else, since an error's index is reported in it. */
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
