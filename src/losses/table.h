/* The losses, a line each: what the checks, the docs and the tests know of them
 * comes from here.
 *
 * A new loss is a function in a file of this folder, a kind in the header, and
 * a line in this table: CONTRIBUTING.md walks through it. */

/* What a loss is a function of. */
typedef enum bn_shape {
    BN_BY_TOKEN,        /* one token: sft.h, bnf.h */
    BN_BY_PAIR,         /* two responses: their margin (margin.h and a loss of
                           it), or both apart (pair_loss.h) */
    BN_BY_BATCH,        /* the sorted responses of all pairs, in a loss of a
                           margin: pairs.c */
    BN_BY_SEQUENCE      /* one response and its side: sequence_loss.h */
} bn_shape;

enum {                          /* traits */
    BN_REFERENCE = 1 << 0,      /* reads ref_logp */
    BN_LENGTHS = 1 << 1,        /* divides by both responses' lengths */
    BN_DIVERGENCE = 1 << 2,     /* its log-ratios may be mapped by an
                                   f-divergence */
    BN_MEAN_REWARD = 1 << 3,    /* its reward is beta * mean logp */
    BN_SFT_BETA = 1 << 4,       /* its likelihood term is multiplied by beta */
    BN_MASK = 1 << 5,           /* needs row_mask */
    BN_DISTANCE = 1 << 6,       /* needs distance */
    BN_SOFT = 1 << 7,           /* needs soft_label */
    BN_CERTAINTY = 1 << 8,      /* needs pair_weight */
    BN_KL = 1 << 9,             /* reads mismatched or kl */
    BN_BASELINE = 1 << 10,      /* reads shift_mean and shift_count */
    BN_SIDES = 1 << 11,         /* needs the side of each sequence */
    BN_SIGNED = 1 << 12,        /* the side is a factor of the loss */
    BN_REST = 1 << 13,          /* its value needs the sum that entropy needs */
    BN_CROSS_ENTROPY = 1 << 14, /* takes DFT, CHOSEN_ONLY, label smoothing and
                                   z-loss */
    BN_UNPAIRED = 1 << 15       /* sorts chosen and rejected responses apart */
};

/* ---- The numbers of a spec ---------------------------------------------- */

/* One may stand here twice, with another range for another loss. */
typedef enum bn_number {
    BN_NO_NUMBER, BN_BETA, BN_FLIP, BN_FLIP_ROBUST, BN_FLIP_EXO, BN_EPS,
    BN_GAMMA, BN_ALPHA, BN_PENALTY, BN_TAU, BN_TAU_MAX, BN_RHO, BN_CAP,
    BN_DESIRABLE, BN_UNDESIRABLE, BN_SFT_WEIGHT, BN_LD_ALPHA, BN_F_ALPHA,
    BN_NUMBERS
} bn_number;

enum { BN_ABOVE = 1, BN_BELOW = 2 };    /* without its low end, its high end */

typedef struct bn_range { float low, high; int open; } bn_range;

static int bn_in_range(float x, const bn_range *range)
{
    return x >= range->low && x <= range->high
           && !(range->open & BN_ABOVE && x == range->low)
           && !(range->open & BN_BELOW && x == range->high);
}

typedef struct bn_number_range {
    const char *name;
    size_t at;
    bn_range range;
} bn_number_range;

#define BN_AT(field) #field, offsetof(bnfloss_spec, field)

static const bn_number_range bn_number_ranges[BN_NUMBERS] = {
    { "", 0, { 0, 0, 0 } },
    { BN_AT(beta), { 0, BN_MAX_F32, BN_ABOVE } },
    { BN_AT(flip_prob), { 0, 0.5f, 0 } },
    { BN_AT(flip_prob), { 0, 0.5f, BN_BELOW } },   /* robust */
    { BN_AT(flip_prob), { 0, 0.5f, BN_ABOVE } },   /* EXO */
    { BN_AT(eps), { 0, 1, 0 } },
    { BN_AT(gamma), { 0, BN_MAX_F32, 0 } },
    { BN_AT(alpha), { -BN_MAX_F32, BN_MAX_F32, 0 } },
    { BN_AT(penalty), { 0, BN_MAX_F32, 0 } },
    { BN_AT(tau), { 0, BN_MAX_F32, BN_ABOVE } },
    { BN_AT(tau_max), { 0, BN_MAX_F32, BN_ABOVE } },
    { BN_AT(rho), { 0, 0.69314712f, BN_ABOVE } }, /* below log 2 */
    { BN_AT(cap), { 0, BN_MAX_F32, 0 } },
    { BN_AT(desirable_weight), { 0, BN_MAX_F32, 0 } },
    { BN_AT(undesirable_weight), { 0, BN_MAX_F32, 0 } },
    { BN_AT(sft_weight), { 0, BN_MAX_F32, 0 } },
    { BN_AT(ld_alpha), { 0, 1, 0 } },
    { BN_AT(f_alpha), { -BN_MAX_F32, BN_MAX_F32, 0 } }
};

#undef BN_AT

/* ---- The losses --------------------------------------------------------- */

typedef struct bn_default { bn_number number; float value; } bn_default;

typedef struct bn_loss {
    const char *name, *alias;       /* alias: TRL's name where it differs */
    bn_shape shape;
    /* A loss is one of these functions; one of a margin is two. */
    bn_token_loss_fn *token_loss;   /* L of one token */
    bn_margin_fn *margin;           /* u of a pair, */
    bn_margin_loss_fn *margin_loss; /*   and L of u */
    bn_pair_loss_fn *pair_loss;     /* L of a chosen and a rejected response */
    bn_sequence_loss_fn *sequence_loss; /* L of one response */
    unsigned traits;
    uint32_t norm;                  /* the default of token_norm (a loss of
                                       tokens) or of sft_norm (of pairs) */
    bn_default numbers[5];          /* that it takes, and their defaults */
    const char *paper, *what;       /* for the docs */
} bn_loss;

#define BN_OF_TOKEN(f)      BN_BY_TOKEN, f, NULL, NULL, NULL, NULL
#define BN_OF_MARGIN(m, f)  BN_BY_PAIR, NULL, m, f, NULL, NULL
#define BN_OF_PAIR(f)       BN_BY_PAIR, NULL, NULL, NULL, f, NULL
#define BN_OF_RANKS(f)      BN_BY_BATCH, NULL, NULL, f, NULL, NULL
#define BN_OF_SEQUENCE(f)   BN_BY_SEQUENCE, NULL, NULL, NULL, NULL, f

#define BN_BETA_1   { BN_BETA, 0.1f }
#define BN_FLIP_0   { BN_FLIP, 0 }
#define BN_SFT(x)   { BN_SFT_WEIGHT, x }
#define BN_DESIRES  { BN_DESIRABLE, 1 }, { BN_UNDESIRABLE, 1 }
#define BN_REF_DIV  BN_REFERENCE | BN_DIVERGENCE
#define BN_REF_SIDES BN_REFERENCE | BN_SIDES

/* A loss's kind is its place, from 1 on. */
static const bn_loss bn_losses[] = {
    { "bnf", NULL, BN_OF_TOKEN(bn_bnf_loss), BN_REF_SIDES | BN_SIGNED | BN_REST,
      BNFLOSS_NORM_LENGTH, { { BN_EPS, 0 } },
      "2410.04834", "Bidirectional Negative Feedback" },
    { "dpo", "sigmoid", BN_OF_MARGIN(bn_margin_sum, bn_logistic), BN_REF_DIV,
      BNFLOSS_NORM_NONE, { BN_BETA_1, BN_FLIP_0 },
      "2305.18290", "DPO; conservative with `flip_prob`" },
    { "sft", NULL, BN_OF_TOKEN(bn_sft_loss), BN_CROSS_ENTROPY,
      BNFLOSS_NORM_NONE, { { BN_NO_NUMBER, 0 } },
      "2508.05629 (DFT)", "cross-entropy; label smoothing, z-loss, DFT" },
    { "robust", NULL, BN_OF_MARGIN(bn_margin_sum, bn_robust), BN_REF_DIV,
      BNFLOSS_NORM_NONE, { BN_BETA_1, { BN_FLIP_ROBUST, 0 } },
      "2403.00409", "DPO, unbiased under flipped labels" },
    { "hinge", NULL, BN_OF_MARGIN(bn_margin_sum, bn_hinge), BN_REF_DIV,
      BNFLOSS_NORM_NONE, { BN_BETA_1 }, "2309.06657", "RSO's hinge" },
    { "ipo", NULL, BN_OF_MARGIN(bn_margin_mean, bn_ipo),
      BN_REF_DIV | BN_LENGTHS, BNFLOSS_NORM_NONE, { BN_BETA_1 },
      "2310.12036", "IPO as it is run: means" },
    { "ipo_sum", NULL, BN_OF_MARGIN(bn_margin_sum, bn_ipo), BN_REF_DIV,
      BNFLOSS_NORM_NONE, { BN_BETA_1 },
      "2310.12036", "IPO as the paper writes it: sums" },
    { "exo_pair", NULL, BN_OF_MARGIN(bn_margin_sum, bn_exo), BN_REF_DIV,
      BNFLOSS_NORM_NONE, { BN_BETA_1, { BN_FLIP_EXO, 1e-3f } },
      "2402.00856", "reverse KL to the preference" },
    { "discopop", NULL, BN_OF_MARGIN(bn_margin_sum, bn_discopop), BN_REF_DIV,
      BNFLOSS_NORM_NONE, { BN_BETA_1, { BN_TAU, 0.05f } },
      "2406.08414", "a blend found by search" },
    { "sigmoid_norm", NULL, BN_OF_MARGIN(bn_margin_mean, bn_logistic),
      BN_REF_DIV | BN_LENGTHS, BNFLOSS_NORM_NONE, { BN_BETA_1, BN_FLIP_0 },
      "2411.15124", "DPO of means" },
    { "simpo", NULL, BN_OF_MARGIN(bn_margin_simpo, bn_logistic),
      BN_LENGTHS | BN_MEAN_REWARD, BNFLOSS_NORM_NONE,
      { BN_BETA_1, BN_FLIP_0, { BN_GAMMA, 0.5f } },
      "2405.14734", "means, no reference; its authors: beta 2" },
    { "alphapo", NULL, BN_OF_MARGIN(bn_margin_alphapo, bn_logistic),
      BN_LENGTHS | BN_MEAN_REWARD, BNFLOSS_NORM_NONE,
      { BN_BETA_1, BN_FLIP_0, { BN_GAMMA, 0.5f }, { BN_ALPHA, 0.25f } },
      "2501.03884", "SimPO with a bent reward; alpha 0 is SimPO" },
    { "cpo", NULL, BN_OF_MARGIN(bn_margin_sum, bn_logistic), 0,
      BNFLOSS_NORM_BATCH, { BN_BETA_1, BN_FLIP_0, BN_SFT(1) },
      "2401.08417", "DPO without reference, and likelihood" },
    { "slic", NULL, BN_OF_MARGIN(bn_margin_sum, bn_slic), 0, BNFLOSS_NORM_NONE,
      { { BN_GAMMA, 1 }, BN_SFT(0.1f) },
      "2305.10425", "SLiC-HF: a hinge, and likelihood" },
    { "dpop", NULL, BN_OF_MARGIN(bn_margin_dpop, bn_logistic), BN_REFERENCE,
      BNFLOSS_NORM_NONE, { BN_BETA_1, BN_FLIP_0, { BN_PENALTY, 50 } },
      "2402.13228", "DPO-Positive" },
    { "rdpo", NULL, BN_OF_MARGIN(bn_margin_rdpo, bn_logistic), BN_REF_DIV,
      BNFLOSS_NORM_NONE, { BN_BETA_1, BN_FLIP_0, { BN_ALPHA, 0.01f } },
      "2403.19159", "length-regularised DPO; the default alpha is ours" },
    { "rpo", NULL, BN_OF_MARGIN(bn_margin_sum, bn_logistic),
      BN_REF_DIV | BN_SFT_BETA, BNFLOSS_NORM_NONE,
      { BN_BETA_1, BN_FLIP_0, BN_SFT(0.005f) },
      "2405.16436", "DPO - beta eta l of the chosen" },
    { "rpo_mean", NULL, BN_OF_MARGIN(bn_margin_sum, bn_logistic), BN_REF_DIV,
      BNFLOSS_NORM_LENGTH, { BN_BETA_1, BN_FLIP_0, BN_SFT(0.2f) },
      "2405.16436", "its variant: DPO - eta mean l" },
    { "ada_dpo", NULL, BN_OF_MARGIN(bn_margin_sum, bn_ada), BN_REFERENCE,
      BNFLOSS_NORM_NONE,
      { BN_BETA_1, { BN_TAU, 0.1f }, { BN_TAU_MAX, 5 }, { BN_RHO, 0.1f } },
      "2406.02764", "a scale for each pair, in closed form" },
    { "bmc", NULL, BN_OF_MARGIN(bn_margin_sum, bn_logistic),
      BN_REFERENCE | BN_MASK, BNFLOSS_NORM_NONE,
      { BN_BETA_1, BN_FLIP_0, { BN_CAP, 2 } },
      "2408.07471", "DPO with token weights" },
    { "fpo", NULL, BN_OF_MARGIN(bn_margin_fpo, bn_logistic),
      BN_REFERENCE | BN_LENGTHS | BN_DISTANCE, BNFLOSS_NORM_NONE,
      { BN_BETA_1, BN_FLIP_0, { BN_ALPHA, 0.5f } },
      "2411.07618", "DPO of means with a feature margin" },
    { "irepo", NULL, BN_OF_MARGIN(bn_margin_sum, bn_irepo),
      BN_REF_DIV | BN_SOFT, BNFLOSS_NORM_NONE, { BN_BETA_1 },
      "2405.15230", "soft labels; constants are a reconstruction" },
    { "upo", NULL, BN_OF_MARGIN(bn_margin_sum, bn_logistic),
      BN_REF_DIV | BN_CERTAINTY, BNFLOSS_NORM_NONE, { BN_BETA_1, BN_FLIP_0 },
      "2410.20187", "DPO weighted by certainty: a reconstruction" },
    { "nca_pair", NULL, BN_OF_PAIR(bn_nca_pair), BN_REFERENCE,
      BNFLOSS_NORM_NONE, { BN_BETA_1 },
      "2402.05369", "noise-contrastive, on pairs" },
    { "bco_pair", NULL, BN_OF_PAIR(bn_bco_pair), BN_REFERENCE,
      BNFLOSS_NORM_NONE, { BN_BETA_1 },
      "2404.04656", "binary classifier, on pairs" },
    { "sppo_hard", NULL, BN_OF_PAIR(bn_sppo_hard), BN_REFERENCE,
      BNFLOSS_NORM_NONE, { BN_BETA_1 },
      "2405.00675", "self-play, hard labels" },
    { "apo_zero", NULL, BN_OF_PAIR(bn_apo_zero), BN_REFERENCE,
      BNFLOSS_NORM_NONE, { BN_BETA_1 },
      "2408.06266", "chosen up, rejected down" },
    { "apo_down", NULL, BN_OF_PAIR(bn_apo_down), BN_REFERENCE,
      BNFLOSS_NORM_NONE, { BN_BETA_1 },
      "2408.06266", "both down, rejected more" },
    { "orpo", NULL, BN_OF_PAIR(bn_orpo), BN_LENGTHS | BN_MEAN_REWARD,
      BNFLOSS_NORM_LENGTH, { { BN_PENALTY, 0.1f }, BN_SFT(1) },
      "2403.07691", "odds ratio and likelihood, no reference" },
    { "aot", NULL, BN_OF_RANKS(bn_logistic), BN_REFERENCE, BNFLOSS_NORM_NONE,
      { BN_BETA_1, BN_FLIP_0 }, "2406.05882", "the batch's sorted margins" },
    { "aot_unpaired", NULL, BN_OF_RANKS(bn_logistic),
      BN_REFERENCE | BN_UNPAIRED, BNFLOSS_NORM_NONE, { BN_BETA_1, BN_FLIP_0 },
      "2406.05882", "chosen and rejected sorted apart" },
    { "kto", NULL, BN_OF_SEQUENCE(bn_kto), BN_REF_SIDES | BN_KL, 0,
      { BN_BETA_1, BN_DESIRES }, "2402.01306", "prospect theory, unpaired" },
    { "bco", NULL, BN_OF_SEQUENCE(bn_bco), BN_REF_SIDES | BN_BASELINE, 0,
      { BN_BETA_1, BN_DESIRES },
      "2404.04656", "binary classifier with a running shift" },
    { "apo_zero_unpaired", NULL, BN_OF_SEQUENCE(bn_apo_zero_unpaired),
      BN_REF_SIDES, 0, { BN_BETA_1 }, "2408.06266", "APO-zero, unpaired" },
    { "asft", NULL, BN_OF_SEQUENCE(bn_asft), BN_MEAN_REWARD | BN_SIDES, 0,
      { { BN_PENALTY, 0.1f } },
      "2409.10571", "ORPO's two odds apart; default a reconstruction" }
};

#undef BN_BETA_1
#undef BN_FLIP_0
#undef BN_SFT
#undef BN_DESIRES
#undef BN_REF_DIV
#undef BN_REF_SIDES
#undef BN_OF_TOKEN
#undef BN_OF_MARGIN
#undef BN_OF_PAIR
#undef BN_OF_RANKS
#undef BN_OF_SEQUENCE

enum { BN_KINDS = sizeof bn_losses / sizeof *bn_losses };

/* Returns a kind's loss, NULL for an unknown kind. */
static const bn_loss *bn_loss_of(uint32_t kind)
{
    return kind >= 1 && kind <= BN_KINDS ? bn_losses + (kind - 1) : NULL;
}

/* Returns whether a row's gradient depends on other rows. */
static int bn_couples(const bn_loss *loss)
{
    return loss->shape != BN_BY_TOKEN;
}

/* Returns whether it is a loss of pairs. */
static int bn_has_pairs(const bn_loss *loss)
{
    return loss->shape == BN_BY_PAIR || loss->shape == BN_BY_BATCH;
}

/* Returns whether it treats chosen and rejected responses differently. */
static int bn_knows_sides(const bn_loss *loss)
{
    return bn_has_pairs(loss) || (loss->traits & BN_SIDES);
}

/* Returns whether it is a loss of a pair's margin. */
static int bn_has_margin(const bn_loss *loss)
{
    return loss->margin != NULL;
}

/* Returns whether a loss takes a number (not BN_NO_NUMBER), and in *value its
 * default, or 0. */
static int bn_accepts(const bn_loss *loss, bn_number number, float *value)
{
    const int all = (int)(sizeof loss->numbers / sizeof *loss->numbers);

    *value = 0;
    for (int i = 0; i < all; i++) {
        if (loss->numbers[i].number == number) {
            *value = loss->numbers[i].value;
            return 1;
        }
    }
    switch (number) {                   /* those of many losses */
    case BN_SFT_WEIGHT:
        return bn_has_pairs(loss);
    case BN_LD_ALPHA:
        *value = 1;
        return bn_has_pairs(loss) && !(loss->traits & BN_MASK);
    case BN_F_ALPHA:
        *value = 0.5f;
        return (loss->traits & BN_DIVERGENCE) != 0;
    default:
        return 0;
    }
}
