/* The library's test of the compiler that built it and the CPU that it runs
 * on: a small corpus through every kernel that this CPU has, and through
 * every loss, and one hash of all the bits that come out. It needs no memory
 * but some 20 KiB of stack and takes a few milliseconds. */

#define BN_SELF_HASH UINT64_C(0xAE6596740AF5901B)

/* Most rows are narrow; some, wide, are of two of the kernels' blocks. */
enum { BN_SELF_ROWS = 300, BN_SELF_VOCAB = 256, BN_SELF_WIDE = 2400 };

typedef struct bn_self {
    uint64_t hash, seed;
    float z[BN_SELF_WIDE];
    float next[BN_SELF_VOCAB];  /* the gradient, where not in place; and the
                                 * row that follows one held */
} bn_self;

/* FNV-1a, over words. */
static void bn_self_add(bn_self *t, uint64_t x)
{
    t->hash = (t->hash ^ x) * UINT64_C(0x100000001B3);
}

static void bn_self_add_double(bn_self *t, double x)
{
    bn_self_add(t, bn_bits64_of(bn_canonical(x)));
}

/* xorshift64 (Marsaglia 2003): the next number below n. */
static int64_t bn_self_random(bn_self *t, int64_t n)
{
    t->seed ^= t->seed << 13;
    t->seed ^= t->seed >> 7;
    t->seed ^= t->seed << 17;
    return (int64_t)((t->seed >> 11) % (uint64_t)n);
}

/* Row number i: ordinary logits, and now and then some that are not. */
static void bn_self_logits(bn_self *t, int64_t i, const bn_view *w, float *z)
{
    static const float odd[] = { 88, -104, 1e-40f, -1e30f, 3e4f, 0 };

    for (int64_t j = 0; j < w->vocab; j++) {
        float x = (float)(bn_self_random(t, 1 << 16) - (1 << 15)) / 2048;

        if (i % 5 == 4 && bn_self_random(t, 8) == 0)
            x = odd[bn_self_random(t, 6)];
        if (i % 7 == 6 && bn_self_random(t, 4) == 0)
            x = -BN_INF_F32;
        if (i % 100 == 99 && j == w->vocab / 2)
            x = BN_NAN_F32;
        bn_put(w->logits_type, z, j, x);
    }
}

/* Row i's layout: narrow or wide, every type, every option. */
static bn_view bn_self_view(int64_t i)
{
    bn_view w;

    memset(&w, 0, sizeof w);
    w.logits_type = w.grad_type = (uint32_t)(i % 3);
    w.rows = 1;
    w.vocab = w.vocab_total = w.logits_stride = w.grad_stride = w.grad_cols
        = i % 23 == 22 ? BN_BLOCK + i
        : 1 + i * 37 % (i % 4 ? 64 : BN_SELF_VOCAB);
    w.scale = i % 4 == 1 ? 0.75f : 1;
    w.softcap = i % 4 == 2 ? 30 : 0;
    w.smoothing = i % 4 == 3 ? 0.125f : 0;
    w.z_loss = i % 8 == 3 ? 0.0625f : 0;
    w.mean = w.smoothing > 0;
    w.entropy = i / 4 % 2 == 0;
    w.squares = i % 5 == 0;
    return w;
}

static void bn_self_add_gradients(bn_self *t, const bn_view *w,
                                  const float *grad)
{
    for (int64_t j = 0; j < w->vocab; j++)
        bn_self_add(t, bn_bits_of(bn_canonical_f32(
            (double)bn_get(w->grad_type, grad, j))));
}

static void bn_self_add_row(bn_self *t, const bnfloss_row *x)
{
    bn_self_add_double(t, x->leader);
    bn_self_add_double(t, x->sum);
    bn_self_add_double(t, x->dot);
    bn_self_add_double(t, x->label);
    bn_self_add_double(t, x->shift);
    bn_self_add_double(t, x->square);
    bn_self_add(t, (uint64_t)x->leader_id);
}

/* A row in place, its exponentials kept there, or of 16 bits in a scratch row;
 * one that is narrow waits for the next, as the wide ones of a batch do. */
static void bn_self_kept(bn_self *t, int64_t i, const bn_sweep *sweep)
{
    const bn_view *w = sweep->view;
    const int64_t label = bn_self_random(t, w->vocab);
    bnfloss_row x;
    bn_kept kept;
    bn_held held;
    float *const scratch = w->grad_type == BNFLOSS_F32 ? NULL
                                                        : t->z + BN_SELF_VOCAB;

    held.row = NULL;
    kept.stream = 0;
    bn_self_logits(t, i, w, t->z);
    kept.grad = t->z;
    kept.e = scratch ? scratch : t->z;
    kept.columns = 0;
    bn_row_forward(sweep, t->z, label, &x, &kept, NULL);
    bn_row_hold(sweep, &x, -0.5f, t->z, &kept, w->vocab <= BN_SELF_VOCAB,
                &held);
    if (held.row) {
        bn_self_logits(t, i, w, t->next);
        kept.grad = t->next;
        kept.e = scratch ? scratch : t->next;
        kept.columns = 0;
        bn_row_forward(sweep, t->next, label, &x, &kept, &held);
        bn_held_end(sweep, &held);
        bn_row_hold(sweep, &x, -0.5f, t->next, &kept, 0, &held);
        bn_self_add_gradients(t, w, t->next);
    }
    bn_self_add_gradients(t, w, t->z);
}

static void bn_self_row(bn_self *t, int64_t i, const bn_kernels *kernels)
{
    const bn_view w = bn_self_view(i);
    const bn_sweep sweep = bn_sweep_with(&w, kernels);
    float *grad = w.vocab > BN_SELF_VOCAB ? t->z : t->next;
    bnfloss_row x;

    bn_self_logits(t, i, &w, t->z);
    bn_row_forward(&sweep, t->z, bn_self_random(t, w.vocab), &x, NULL, NULL);
    bn_row_backward(&sweep, &x, -0.5f, t->z, grad);
    bn_self_add_row(t, &x);
    bn_self_add_gradients(t, &w, grad);
    if (bn_keeps(&sweep)
        && (w.grad_type == BNFLOSS_F32 || w.vocab <= BN_SELF_VOCAB))
        bn_self_kept(t, i, &sweep);
}

/* Two pairs of 3, 2, 1 and 2 tokens through one loss. */
static void bn_self_loss(bn_self *t, uint32_t kind)
{
    static const int64_t start[] = { 0, 3, 5, 6, 8 };
    static const uint8_t mask[] = { 1, 0, 1, 0, 1, 1, 0, 1 };
    static const float soft[] = { 0.75f, 0.5f };
    static const float distance[] = { 0.5f, 1, 0.25f, 2 };
    static const float certain[] = { 0.5f, 1 };
    const unsigned traits = bn_loss_of(kind)->traits;
    float logp[8], ref[8], dlogp[8];
    bnfloss_result r;
    bnfloss_inputs in;
    bnfloss_spec spec;
    uint64_t work[160];

    for (int i = 0; i < 8; i++) {
        logp[i] = -(float)bn_self_random(t, 1 << 12) / 1024;
        ref[i] = -(float)bn_self_random(t, 1 << 12) / 1024;
    }
    memset(&r, 0, sizeof r);
    memset(&in, 0, sizeof in);
    r.struct_size = sizeof r;
    in.struct_size = sizeof in;
    in.pairing = BNFLOSS_PAIRS_ADJACENT;
    in.sequences = 4;
    in.seq_start = start;
    in.ref_logp = ref;
    in.row_mask = traits & BN_MASK ? mask : NULL;
    in.soft_label = traits & BN_SOFT ? soft : NULL;
    in.distance = traits & BN_DISTANCE ? distance : NULL;
    in.pair_weight = traits & BN_CERTAINTY ? certain : NULL;
    bnfloss_spec_init(&spec, sizeof spec, kind);
    bn_self_add(t, bnfloss_loss(&spec, &in, 8, NULL, logp, NULL, dlogp, NULL,
                                work, sizeof work, &r));
    bn_self_add_double(t, r.loss);
    for (int i = 0; i < 8; i++)
        bn_self_add(t, bn_bits_of(dlogp[i]));
}

/* The hash of everything with these kernels. */
BN_NOINLINE static uint64_t bn_self_hash(const bn_kernels *kernels)
{
    bn_self t;

    t.hash = UINT64_C(0xCBF29CE484222325);
    t.seed = 1;
    for (int64_t i = 0; i < BN_SELF_ROWS; i++)
        bn_self_row(&t, i, kernels);
    for (uint32_t kind = 1; kind <= BN_KINDS; kind++)
        bn_self_loss(&t, kind);
    return t.hash;
}

/* The first of a list of kernels that is wrong, or NULL. */
static const bn_kernels *bn_self_wrong(const bn_kernels *const *list)
{
    while (*list && bn_self_hash(*list) == BN_SELF_HASH)
        list++;
    return *list;
}

bnfloss_status bnfloss_selftest(const char **isa)
{
    const bn_kernels *list[BN_PAGES + 1], *wrong;
    const bn_env env = bn_env_enter();

    bn_kernels_here(list);
    wrong = bn_self_wrong(list);
    bn_env_leave(env);
    if (isa)
        *isa = wrong ? wrong->name : NULL;
    return wrong ? BNFLOSS_E_SELFTEST : BNFLOSS_OK;
}
