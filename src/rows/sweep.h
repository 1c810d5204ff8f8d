/* What a sweep over rows needs to know besides the row, made once a call. */

typedef struct bn_sweep {
    const bnfloss_layout *layout;   /* resolved: every default filled in */
    bn_map map;
    bn_map doubled;                 /* of 2 z', for the sum of squares */
    bn_forward_kernel *forward;
    bn_forward_kernel *forward_doubled;
    bn_backward_kernel *const *backward;    /* plain, general */
    bn_scale_kernel *scale_saved;
    int general;                /* whether gradients need the general kernel */
    int defers;                 /* whether a row may wait for the next one */
} bn_sweep;

/* A row that is to be read. */
typedef struct bn_row_input {
    const void *logits;
    int64_t label;
} bn_row_input;

/* A core's own cache holds no whole row that is wider. */
enum { BN_PENDING_MAX_COLUMNS = 262144 };

static bn_map bn_map_of(const bnfloss_layout *lay)
{
    bn_map map;

    map.scale = lay->logit_scale;
    map.softcap = lay->softcap;
    map.limit = 0x1.ffffffp127;         /* rounds to an infinite float */
    map.tanh_scale = lay->softcap > 0
                         ? bn_tanh_scale(lay->logit_scale, lay->softcap)
                         : 0;
    bn_table_for_sum(map.unit, 0);
    return map;
}

static bn_sweep bn_sweep_with(const bnfloss_layout *lay,
                              const bn_kernels *kernels)
{
    bn_sweep sweep;
    int kind = BN_PLAIN;

    sweep.layout = lay;
    sweep.map = bn_map_of(lay);
    sweep.doubled = sweep.map;
    sweep.doubled.scale *= 2;
    sweep.doubled.softcap *= 2;
    sweep.doubled.limit *= 2;
    sweep.general = !bn_map_is_plain(&sweep.map) || lay->label_smoothing > 0;
    if (sweep.general || lay->flags & BNFLOSS_MEAN)
        kind = BN_GENERAL;
    else if (lay->flags & BNFLOSS_ENTROPY)
        kind = BN_DOT;
    sweep.forward = kernels->forward[kind];
    sweep.forward_doubled = kernels->forward[BN_GENERAL];
    sweep.backward = kernels->backward;
    sweep.scale_saved = kernels->scale_saved;
    sweep.defers = lay->vocab <= BN_PENDING_MAX_COLUMNS;
    return sweep;
}

static bn_sweep bn_sweep_of(const bnfloss_layout *lay)
{
    return bn_sweep_with(lay, bn_kernels_get());
}

/* Returns the label of row i. */
static int64_t bn_label(const bnfloss_layout *lay, const void *labels,
                        int64_t i)
{
    return lay->label_type == BNFLOSS_I64 ? ((const int64_t *)labels)[i]
                                          : ((const int32_t *)labels)[i];
}

/* Returns how many of n columns the chunk that begins at column c has. */
static int64_t bn_chunk_size(int64_t n, int64_t c)
{
    const int64_t left = n - c, whole = BNFLOSS_CHUNK;

    return left < whole ? left : whole;
}

/* Returns the number of a row's chunks. */
static int64_t bn_chunks(const bnfloss_layout *lay)
{
    return (lay->vocab + BNFLOSS_CHUNK - 1) / BNFLOSS_CHUNK;
}

/* Gradients from this size on are stored past the caches. */
enum { BN_NONTEMPORAL_BYTES = 1 << 25 };

/* Returns whether gradients are to be stored past the caches. An ordinary store
 * reads its line first. So that pays out of place, where there are more of them
 * than a cache keeps for whoever reads them next. */
static int bn_is_nontemporal(const bnfloss_layout *lay, const void *logits,
                             const void *grad)
{
    const int64_t many = BN_NONTEMPORAL_BYTES / 4;

    return grad != logits && lay->rows * lay->vocab > many
           && !(lay->flags & BNFLOSS_ACCUMULATE)
           && lay->grad_type == BNFLOSS_F32;
}
