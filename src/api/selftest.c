/* The library's test of the compiler that built it and of the CPU that it runs
 * on. A small corpus goes through every kernel that this CPU has and through
 * every loss. All bits that come out are hashed, and the hash is compared with
 * the one that all tested builds have. It needs 20 KiB of stack, no other
 * memory, and a few milliseconds. */

#define BN_SELF_HASH UINT64_C(0x89E385987F8D961C)

/* Most rows are narrow. Some are wider than one block of the kernels. */
enum { BN_SELF_ROWS = 300, BN_SELF_VOCAB = 256, BN_SELF_LONG_ROW = 2400 };

typedef struct bn_self {
    uint64_t hash, seed;
    int64_t label;
    float z[BN_SELF_LONG_ROW];
    float next[BN_SELF_VOCAB];  /* a gradient that is not in place, or the row
                                 * that follows a pending one */
} bn_self;

/* Adds a word to the hash: FNV-1a over words. */
static void bn_self_add(bn_self *test, uint64_t x)
{
    test->hash = (test->hash ^ x) * UINT64_C(0x100000001B3);
}

static void bn_self_add_double(bn_self *test, double x)
{
    bn_self_add(test, bn_bits64_of(bn_canonical(x)));
}

/* Returns the next random number below n: xorshift64 (Marsaglia 2003). */
static int64_t bn_self_random(bn_self *test, int64_t n)
{
    test->seed ^= test->seed << 13;
    test->seed ^= test->seed >> 7;
    test->seed ^= test->seed << 17;
    return (int64_t)((test->seed >> 11) % (uint64_t)n);
}

/* Makes the logits of row i. Every fifth row has some that are extreme, every
 * seventh has masked ones, and every hundredth has a NaN. */
static void bn_self_logits(bn_self *test, int64_t i, const bnfloss_layout *lay,
                           float *z)
{
    static const float odd[] = { 88, -104, 1e-40f, -1e30f, 3e4f, 0 };

    for (int64_t j = 0; j < lay->vocab; j++) {
        float x = (float)(bn_self_random(test, 1 << 16) - (1 << 15)) / 2048;

        if (i % 5 == 4 && bn_self_random(test, 8) == 0)
            x = odd[bn_self_random(test, 6)];
        if (i % 7 == 6 && bn_self_random(test, 4) == 0)
            x = -BN_INF_F32;
        if (i % 100 == 99 && j == lay->vocab / 2)
            x = BN_NAN_F32;
        bn_put(lay->logits_type, z, j, x);
    }
}

/* Returns the layout of row i. They go through every type and every option. */
static bnfloss_layout bn_self_layout(int64_t i)
{
    bnfloss_layout lay;

    memset(&lay, 0, sizeof lay);
    lay.logits_type = lay.grad_type = (uint32_t)(i % 3);
    lay.rows = 1;
    lay.vocab = lay.vocab_total = lay.logits_stride = lay.grad_stride =
        lay.grad_cols = i % 23 == 22
                            ? BN_BLOCK + i
                            : 1 + i * 37 % (i % 4 ? 64 : BN_SELF_VOCAB);
    lay.logit_scale = i % 4 == 1 ? 0.75f : 1;
    lay.softcap = i % 4 == 2 ? 30 : 0;
    lay.label_smoothing = i % 4 == 3 ? 0.125f : 0;
    lay.z_loss = i % 8 == 3 ? 0.0625f : 0;
    if (lay.label_smoothing > 0)
        lay.flags |= BNFLOSS_MEAN;
    if (i / 4 % 2 == 0)
        lay.flags |= BNFLOSS_ENTROPY;
    if (i % 5 == 0)
        lay.flags |= BNFLOSS_SQUARES;
    return lay;
}

static void bn_self_add_gradients(bn_self *test, const bnfloss_layout *lay,
                                  const float *grad)
{
    for (int64_t j = 0; j < lay->vocab; j++)
        bn_self_add(test, bn_bits_of(bn_canonical_f32(
                              (double)bn_get(lay->grad_type, grad, j))));
}

static void bn_self_add_row(bn_self *test, const bnfloss_row *row)
{
    bn_self_add_double(test, row->leader);
    bn_self_add_double(test, row->sum);
    bn_self_add_double(test, row->dot);
    bn_self_add_double(test, row->label);
    bn_self_add_double(test, row->shift);
    bn_self_add_double(test, row->square);
    bn_self_add(test, (uint64_t)row->leader_id);
}

/* Reads a row whose exponentials are saved in `grad` or, of 16 bits, in a
 * scratch row, and writes the gradients of the row that is pending, if any. */
static void bn_self_read(bn_self *test, int64_t i, const bn_sweep *sweep,
                         float *grad, bn_pending_row *pending)
{
    const bnfloss_layout *lay = sweep->layout;
    float *const scratch = test->z + BN_SELF_VOCAB;
    bn_row_input input;
    bnfloss_row row;
    bn_saved saved;

    bn_self_logits(test, i, lay, grad);
    input.logits = grad;
    input.label = test->label;
    saved.nontemporal = 0;
    saved.grad = grad;
    saved.exps = lay->grad_type == BNFLOSS_F32 ? grad : scratch;
    saved.columns = 0;
    bn_row_forward(sweep, &input, &row, &saved,
                   pending->logits ? pending : NULL);
    if (pending->logits)
        bn_pending_end(sweep, pending);
    bn_row_defer(sweep, &row, -0.5f, grad, &saved, pending);
}

/* Runs a row in place, with saved exponentials. A narrow one stays pending
 * while the next is read, as the rows of a batch do. */
static void bn_self_saved(bn_self *test, int64_t i, bn_sweep *sweep)
{
    const bnfloss_layout *lay = sweep->layout;
    bn_pending_row pending;

    pending.logits = NULL;
    test->label = bn_self_random(test, lay->vocab);
    sweep->defers = lay->vocab <= BN_SELF_VOCAB;
    bn_self_read(test, i, sweep, test->z, &pending);
    if (pending.logits) {
        sweep->defers = 0;
        bn_self_read(test, i, sweep, test->next, &pending);
        bn_self_add_gradients(test, lay, test->next);
    }
    bn_self_add_gradients(test, lay, test->z);
}

/* Runs row i through forward and backward pass, out of place if it is narrow,
 * and with saved exponentials if that can be. */
static void bn_self_row(bn_self *test, int64_t i, const bn_kernels *kernels)
{
    const bnfloss_layout lay = bn_self_layout(i);
    bn_sweep sweep = bn_sweep_with(&lay, kernels);
    float *grad = lay.vocab > BN_SELF_VOCAB ? test->z : test->next;
    bn_row_input input;
    bnfloss_row row;

    bn_self_logits(test, i, &lay, test->z);
    input.logits = test->z;
    input.label = bn_self_random(test, lay.vocab);
    bn_row_forward(&sweep, &input, &row, NULL, NULL);
    bn_row_backward(&sweep, &row, -0.5f, test->z, grad);
    bn_self_add_row(test, &row);
    bn_self_add_gradients(test, &lay, grad);
    if (bn_can_save(&sweep)
        && (lay.grad_type == BNFLOSS_F32 || lay.vocab <= BN_SELF_VOCAB))
        bn_self_saved(test, i, &sweep);
}

/* Takes one loss of two pairs, whose responses have 3, 2, 1 and 2 tokens.
 * Arrays that the loss needs are given numbers that every array may have. */
static void bn_self_loss(bn_self *test, uint32_t kind)
{
    static const int64_t start[] = { 0, 3, 5, 6, 8 };
    static const uint8_t bytes[] = { 1, 0, 1, 0, 1, 1, 0, 1 };
    static const float floats[] = { 0.75f, 0.5f, 0.25f, 0.625f,
                                    0.375f, 0.875f, 0.125f, 0.5f };
    const unsigned traits = bn_loss_of(kind)->traits;
    float logp[8], ref[8], dlogp[8];
    bnfloss_result r;
    bnfloss_inputs in;
    bnfloss_spec spec;
    uint64_t work[160];

    for (int i = 0; i < 8; i++) {
        logp[i] = -(float)bn_self_random(test, 1 << 12) / 1024;
        ref[i] = -(float)bn_self_random(test, 1 << 12) / 1024;
    }
    memset(&r, 0, sizeof r);
    memset(&in, 0, sizeof in);
    r.struct_size = sizeof r;
    in.struct_size = sizeof in;
    in.pairing = BNFLOSS_PAIRS_ADJACENT;
    in.sequences = 4;
    in.seq_start = start;
    for (int k = 0; k < BN_INPUTS; k++) {
        const void *numbers = bn_inputs[k].size == 1 ? (const void *)bytes
                                                     : floats;

        if (bn_inputs[k].required_by & traits)
            memcpy((char *)&in + bn_inputs[k].at, &numbers, sizeof numbers);
    }
    in.ref_logp = ref;
    bnfloss_spec_init(&spec, sizeof spec, kind);
    bn_self_add(test, bnfloss_loss(&spec, &in, 8, NULL, logp, NULL, dlogp,
                                   NULL, work, sizeof work, &r));
    bn_self_add_double(test, r.loss);
    for (int i = 0; i < 8; i++)
        bn_self_add(test, bn_bits_of(dlogp[i]));
}

/* Returns the hash of the whole corpus with these kernels. */
BN_NOINLINE static uint64_t bn_self_hash(const bn_kernels *kernels)
{
    bn_self test;

    test.hash = UINT64_C(0xCBF29CE484222325);
    test.seed = 1;
    for (int64_t i = 0; i < BN_SELF_ROWS; i++)
        bn_self_row(&test, i, kernels);
    for (uint32_t kind = 1; kind <= BN_KINDS; kind++)
        bn_self_loss(&test, kind);
    return test.hash;
}

/* Returns the first of a list of kernels that is wrong, or NULL. */
static const bn_kernels *bn_self_wrong(const bn_kernels *const *list)
{
    while (*list && bn_self_hash(*list) == BN_SELF_HASH)
        list++;
    return *list;
}

bnfloss_status bnfloss_selftest(const char **isa)
{
    const bn_kernels *list[BN_ISAS + 1], *wrong;
    const bn_env env = bn_env_enter();

    bn_kernels_here(list);
    wrong = bn_self_wrong(list);
    bn_env_leave(env);
    if (isa)
        *isa = wrong ? wrong->name : NULL;
    return wrong ? BNFLOSS_E_SELFTEST : BNFLOSS_OK;
}
