/* The entry point to the measure of how far a policy has moved. */

BN_NOINLINE static bnfloss_status bn_check_drift(
    bn_drift_call *call, const bnfloss_inputs *inputs, int64_t rows,
    const bnfloss_row *state, const bnfloss_row *ref_state, const void *work,
    uint64_t work_bytes, const bnfloss_shifts *shifts, bnfloss_inputs *in,
    int64_t *where)
{
    bn_needs needs;
    bn_spans spans;

    memset(&needs, 0, sizeof needs);
    needs.sides = needs.inputs = 1;
    memset(call, 0, sizeof *call);
    BN_TRY(bn_check_inputs(inputs, &needs, in, rows, &call->batch, where));
    if (rows > 0 && (!state || !ref_state))
        return BNFLOSS_E_NULL;
    BN_TRY(bn_check_work(work, work_bytes, (uint64_t)rows * sizeof(double)));
    memset(&spans, 0, sizeof spans);
    bn_span_inputs(&spans, &call->batch);
    bn_span_states(&spans, state, rows, BN_READ);
    bn_span_states(&spans, ref_state, rows, BN_READ);
    bn_span_add(&spans, (const double *)work, rows, sizeof(double), BN_WRITE);
    bn_span_add(&spans, shifts, shifts->struct_size, 1, BN_WRITE);
    BN_TRY(bn_spans_check(&spans));
    for (int64_t i = 0; i < rows; i++) {
        *where = i;
        BN_TRY(bn_check_state(state + i, 0));
        BN_TRY(bn_check_state(ref_state + i, 0));
        if (!((state[i].flags | ref_state[i].flags) & BNFLOSS_ROW_IGNORED)
            && state[i].label_id != ref_state[i].label_id)
            return BNFLOSS_E_STATE;
    }
    *where = -1;
    call->state = state;
    call->ref_state = ref_state;
    call->sorted = (double *)work;
    return BNFLOSS_OK;
}

BN_NOINLINE static bnfloss_status bn_do_drift(
    const bnfloss_inputs *inputs, int64_t rows, const bnfloss_row *state,
    const bnfloss_row *ref_state, void *work, uint64_t work_bytes,
    const bnfloss_shifts *to, bnfloss_shifts *r)
{
    bnfloss_inputs in;
    bn_drift_call call;

    BN_TRY(bn_check_drift(&call, inputs, rows, state, ref_state, work,
                          work_bytes, to, &in, &r->where));
    bn_drift_measure(&call, r);
    return BNFLOSS_OK;
}

bnfloss_status bnfloss_measure_shifts(
    const bnfloss_inputs *inputs, int64_t rows, const bnfloss_row *state,
    const bnfloss_row *ref_state, void *work, uint64_t work_bytes,
    bnfloss_shifts *shifts)
{
    bnfloss_status status;
    bnfloss_shifts r;
    bn_env env;

    if (!shifts)
        return BNFLOSS_E_NULL;
    BN_TRY(bn_check_result_size(shifts));
    env = bn_env_enter();
    memset(&r, 0, sizeof r);
    r.where = -1;
    status = bn_do_drift(inputs, rows, state, ref_state, work, work_bytes,
                         shifts, &r);
    bn_env_leave(env);
    return bn_write_result(shifts, status, &r, sizeof r);
}
