/* The door to the measure of how far a policy has moved. */

BN_NOINLINE static bnfloss_status bn_check_shifts(
    bn_shift_call *c, const bnfloss_inputs *inputs, int64_t rows,
    const bnfloss_row *state, const bnfloss_row *ref_state, const void *work,
    uint64_t work_bytes, const bnfloss_shifts *shifts, bnfloss_inputs *in,
    int64_t *where)
{
    bn_uses uses;
    bn_spans spans;

    memset(&uses, 0, sizeof uses);
    uses.sides = uses.inputs = 1;
    memset(c, 0, sizeof *c);
    BN_TRY(bn_check_inputs(inputs, &uses, in, rows, &c->batch, where));
    if (rows > 0 && (!state || !ref_state))
        return BNFLOSS_E_NULL;
    BN_TRY(bn_check_work(work, work_bytes, (uint64_t)rows * sizeof(double)));
    memset(&spans, 0, sizeof spans);
    bn_span_inputs(&spans, &c->batch);
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
    c->state = state;
    c->ref_state = ref_state;
    c->sorted = (double *)work;
    return BNFLOSS_OK;
}

BN_NOINLINE static bnfloss_status bn_do_shifts(
    const bnfloss_inputs *inputs, int64_t rows, const bnfloss_row *state,
    const bnfloss_row *ref_state, void *work, uint64_t work_bytes,
    const bnfloss_shifts *to, bnfloss_shifts *r)
{
    bnfloss_inputs in;
    bn_shift_call c;

    BN_TRY(bn_check_shifts(&c, inputs, rows, state, ref_state, work,
                           work_bytes, to, &in, &r->where));
    bn_shifts_measure(&c, r);
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
    BN_TRY(bn_check_answer(shifts));
    env = bn_env_enter();
    memset(&r, 0, sizeof r);
    r.where = -1;
    status = bn_do_shifts(inputs, rows, state, ref_state, work, work_bytes,
                          shifts, &r);
    bn_env_leave(env);
    return bn_answer(shifts, status, &r, sizeof r);
}
