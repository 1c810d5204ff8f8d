/* The arguments of a call. Each public function fills in those that it has; the
 * others are 0. */
typedef struct bn_args {
    const bnfloss_layout *layout;
    const bnfloss_spec *spec;
    const bnfloss_inputs *inputs;
    const bnfloss_outputs *outputs;
    const void *logits, *labels;        /* (N,V) and (N), by the layout */
    void *grad;                         /* (N,V) */
    int64_t from, to;                   /* the rows to work on: [from, to) */
    int64_t rows;                       /* N of a call without a layout */
    const bnfloss_row *state;           /* (N), read */
    bnfloss_row *state_out;             /* (N), written */
    const bnfloss_row *ref_state;       /* (N), the reference's */
    const float *logp, *rest;           /* (N), instead of states */
    const float *dlogp;                 /* (N), read */
    float *dlogp_out;                   /* (N), written */
    void *work;                         /* work_bytes of scratch memory */
    uint64_t work_bytes;
    int32_t threads;
    bnfloss_result *result;
    bnfloss_shifts *shifts;             /* the result of measure_shifts */
} bn_args;
