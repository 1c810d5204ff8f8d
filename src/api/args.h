/* The arguments of a call. Each public function fills in those that it has; the
 * others are 0. */
typedef struct bn_args {
    const bnfloss_layout *layout;
    const bnfloss_spec *spec;
    const bnfloss_inputs *inputs;
    const bnfloss_outputs *outputs;
    const void *logits, *labels;        /* (rows of the layout, ..) */
    void *grad;
    int64_t from, to;                   /* rows of the layout: [from, to) */
    int64_t rows;                       /* where there is no layout */
    const bnfloss_row *state;           /* read */
    bnfloss_row *state_out;             /* written */
    const bnfloss_row *ref_state;       /* the reference's */
    const float *logp, *rest;           /* (rows), instead of states */
    const float *dlogp;                 /* (rows), read */
    float *dlogp_out;                   /* (rows), written */
    void *work;
    uint64_t work_bytes;
    int32_t threads;
    bnfloss_result *result;
    bnfloss_shifts *shifts;             /* what drift has for a result */
} bn_args;
