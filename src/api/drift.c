/* The entry point of bnfloss_measure_shifts(). */

BN_NOINLINE static bnfloss_status bn_check_drift(const bn_args *a,
                                                 bn_drift_call *call,
                                                 bnfloss_inputs *in,
                                                 int64_t *where)
{
    bn_spans spans;

    memset(call, 0, sizeof *call);
    call->batch.N = a->rows;
    BN_TRY(bn_check_inputs(a->inputs, BN_SIDES, in, &call->batch, where));
    if (a->rows > 0 && (!a->state || !a->ref_state))
        return BNFLOSS_E_NULL;
    BN_TRY(bn_check_work(a, (uint64_t)a->rows * sizeof(double)));
    memset(&spans, 0, sizeof spans);
    bn_span_inputs(&spans, &call->batch);
    bn_span_states(&spans, a->state, a->rows, BN_READ);
    bn_span_states(&spans, a->ref_state, a->rows, BN_READ);
    bn_span_add(&spans, a->work, a->rows, sizeof(double), BN_WRITE);
    bn_span_add(&spans, a->shifts, a->shifts->struct_size, 1, BN_WRITE);
    BN_TRY(bn_spans_check(&spans));
    for (int64_t i = 0; i < a->rows; i++) {
        const bnfloss_row *row = a->state + i, *ref = a->ref_state + i;

        *where = i;
        BN_TRY(bn_check_state(row, 0));
        BN_TRY(bn_check_state(ref, 0));
        if (!((row->flags | ref->flags) & BNFLOSS_ROW_IGNORED)
            && row->label_id != ref->label_id)
            return BNFLOSS_E_STATE;
    }
    *where = -1;
    call->state = a->state;
    call->ref_state = a->ref_state;
    call->sorted = (double *)a->work;
    return BNFLOSS_OK;
}

BN_NOINLINE static bnfloss_status bn_do_drift(const bn_args *a,
                                              bnfloss_shifts *r)
{
    bnfloss_inputs in;
    bn_drift_call call;

    BN_TRY(bn_check_drift(a, &call, &in, &r->where));
    bn_drift_measure(&call, r);
    return BNFLOSS_OK;
}

bnfloss_status bnfloss_measure_shifts(
    const bnfloss_inputs *inputs, int64_t rows, const bnfloss_row *state,
    const bnfloss_row *ref_state, void *work, uint64_t work_bytes,
    bnfloss_shifts *shifts)
{
    bn_args a = bn_args_none();
    bnfloss_status status;
    bnfloss_shifts r;
    bn_env env;

    if (!shifts)
        return BNFLOSS_E_NULL;
    BN_TRY(bn_check_result_size(shifts));
    a.inputs = inputs;
    a.rows = rows;
    a.state = state;
    a.ref_state = ref_state;
    a.work = work;
    a.work_bytes = work_bytes;
    a.shifts = shifts;
    env = bn_env_enter();
    memset(&r, 0, sizeof r);
    r.where = -1;
    status = bn_do_drift(&a, &r);
    bn_env_leave(env);
    return bn_write_result(shifts, status, &r, sizeof r);
}
