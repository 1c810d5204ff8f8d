/* Every line of EDGES.md: what each bad or extreme input gets.
 *
 * SPDX-License-Identifier: MIT
 *
 * First the errors: a sound call, one defect, the status, and the whole block
 * of memory as it was. Then the defined values, then the traps that other
 * libraries fell into, by name. At the end EDGES.md is read, and each id must
 * have been cited where it says. */
#if defined(__unix__) || defined(__APPLE__)
#define _GNU_SOURCE
#include <sys/mman.h>
#define HAVE_MMAP
#endif
#include "fixture.h"

#include <stdlib.h>

/* ---- Citing ------------------------------------------------------------- */

static unsigned char cited[1000];

/* The line of EDGES.md that the checks below are about. */
static void edge(const char *id)
{
    const long n = strtol(id + 1, NULL, 10);

    CHECK(id[0] == 'E' && n > 0 && n < 1000, "no id: %s", id);
    cited[n] = 1;
}

/* ---- Errors: one defect each -------------------------------------------- */

enum {
    FORWARD = 1, MERGE = 2, OUTPUTS = 4, STATES = 8, LOGPS = 16,
    BACKWARD = 32, RUN = 64,
    LOSS = STATES | LOGPS | RUN, LAYOUT = FORWARD | BACKWARD | RUN,
    EVERY = 127
};

enum { SFT = 1, BNF = 2, DPO = 4, REF = BNF | DPO, ALL = 7 };

typedef struct variant {
    uint32_t kind, logits_type, grad_type;
    int in_place;
    const char *isa;
} variant;

typedef struct defect {
    const char *id;
    unsigned entries, kinds;
    bnfloss_status status;
    int64_t where;              /* or ANY */
    void (*make)(fix_args *a);
} defect;

enum { ANY = -99 };

#define DEFECT(name, ...) \
    static void name(fix_args *a) { (void)a; __VA_ARGS__; }
#define OFF(p, n) ((p) = (void *)((char *)(p) + (n)))

DEFECT(layout_null, a->layout = NULL)
DEFECT(spec_null, a->spec = NULL)
DEFECT(inputs_null, a->inputs = NULL)
DEFECT(result_null, a->result = NULL)
DEFECT(logits_null, a->logits = NULL)
DEFECT(labels_null, a->labels = NULL)
DEFECT(state_null, a->state = NULL)
DEFECT(other_null, a->other = NULL)
DEFECT(logp_null, a->logp_in = NULL; a->rest_in = NULL)
DEFECT(dlogp_null, a->dlogp_in = NULL)
DEFECT(grad_null, a->grad = NULL)
DEFECT(seq_null, a->inputs->seq_start = NULL)
DEFECT(seq_null_one, a->inputs->seq_start = NULL; a->inputs->pairing = 0;
       a->inputs->sequences = 1)
DEFECT(seq_null_pairs, a->inputs->seq_start = NULL; a->inputs->sequences = 0)
DEFECT(side_null, a->inputs->side = NULL; a->inputs->pairing = 0)
DEFECT(ref_null, a->inputs->ref_logp = NULL)
DEFECT(work_null, a->work = NULL)

DEFECT(layout_off, OFF(a->layout, FIX_ALIGN_POINTER / 2))
DEFECT(spec_off, OFF(a->spec, FIX_ALIGN_POINTER / 2))
DEFECT(inputs_off, OFF(a->inputs, FIX_ALIGN_POINTER / 2))
DEFECT(outputs_off, OFF(a->outputs, FIX_ALIGN_POINTER / 2))
DEFECT(result_off, OFF(a->result, FIX_ALIGN_NUMBER / 2))
DEFECT(logits_off, OFF(a->logits, 1))
DEFECT(grad_off, OFF(a->grad, 1))
DEFECT(labels_off, OFF(a->labels, 1))
DEFECT(state_off, OFF(a->state, FIX_ALIGN_NUMBER / 2))
DEFECT(other_off, OFF(a->other, FIX_ALIGN_NUMBER / 2))
DEFECT(seq_off, OFF(a->inputs->seq_start, FIX_ALIGN_NUMBER / 2))
DEFECT(ref_off, OFF(a->inputs->ref_logp, 2))
DEFECT(weight_off, OFF(a->inputs->row_weight, 2))
DEFECT(logp_off, OFF(a->logp_in, 2))
DEFECT(rest_off, OFF(a->rest_in, 2))
DEFECT(dlogp_in_off, OFF(a->dlogp_in, 2))
DEFECT(dlogp_out_off, OFF(a->dlogp_out, 2))
DEFECT(out_logp_off, OFF(a->outputs->logp, 2))
DEFECT(out_rest_off, OFF(a->outputs->rest, 2))
DEFECT(out_entropy_off, OFF(a->outputs->entropy, 2))
DEFECT(out_argmax_off, OFF(a->outputs->argmax, 2))
DEFECT(out_dlogp_off, OFF(a->outputs->dlogp, 2))
DEFECT(out_row_loss_off, OFF(a->outputs->row_loss, 2))
DEFECT(out_seq_logp_off, OFF(a->outputs->seq_logp, FIX_ALIGN_NUMBER / 2))
DEFECT(out_seq_loss_off, OFF(a->outputs->seq_loss, FIX_ALIGN_NUMBER / 2))

#define SIZES(name)                                                           \
    DEFECT(name##_size_0, a->name->struct_size = 0)                           \
    DEFECT(name##_size_4, a->name->struct_size = 4)                           \
    DEFECT(name##_size_odd, a->name->struct_size -= 2)                        \
    DEFECT(name##_size_4097, a->name->struct_size = 4097)
#define UNKNOWN(name)                                                         \
    DEFECT(name##_unknown, a->name->struct_size += 16;                        \
           ((unsigned char *)(a->name + 1))[15] = 1)
SIZES(layout)
SIZES(spec)
SIZES(inputs)
SIZES(outputs)
SIZES(result)
UNKNOWN(layout)
UNKNOWN(spec)
UNKNOWN(inputs)
UNKNOWN(outputs)
DEFECT(layout_reserved, a->layout->reserved = 1)
DEFECT(outputs_reserved, a->outputs->reserved = 1)

DEFECT(logits_type_3, a->layout->logits_type = 3)
DEFECT(grad_type_3, a->layout->grad_type = 3)
DEFECT(label_type_2, a->layout->label_type = 2)
DEFECT(layout_flag_16, a->layout->flags = 16)
DEFECT(layout_flag_31, a->layout->flags = 0x80000000u)
DEFECT(spec_flag_64, a->spec->flags = 64)
DEFECT(spec_flag_31, a->spec->flags = 0x80000000u)
DEFECT(kind_0, a->spec->kind = 0)
DEFECT(kind_1000, a->spec->kind = 1000)
DEFECT(kind_max, a->spec->kind = 0xFFFFFFFFu)
DEFECT(norm_0, a->spec->token_norm = 0)
DEFECT(norm_4, a->spec->token_norm = 4)
DEFECT(divisor_0, a->spec->divisor = 0)
DEFECT(divisor_5, a->spec->divisor = 5)
DEFECT(pairing_3, a->inputs->pairing = 3)

DEFECT(vocab_0, a->layout->vocab = 0)
DEFECT(vocab_minus, a->layout->vocab = -1)
DEFECT(vocab_31, a->layout->vocab = a->layout->logits_stride =
       a->layout->grad_stride = INT64_C(1) << 31)
DEFECT(vocab_63, a->layout->vocab = a->layout->logits_stride =
       a->layout->grad_stride = INT64_MAX)
DEFECT(vocab_63_from_1, a->layout->vocab = a->layout->logits_stride =
       a->layout->grad_stride = INT64_MAX; a->layout->vocab_begin = 1)
DEFECT(rows_minus, a->layout->rows = -1; a->rows = -1; a->from = a->to = -1)
DEFECT(rows_41, a->layout->rows = a->rows = (INT64_C(1) << 40) + 1)
DEFECT(stride_short, a->layout->logits_stride = FIX_V - 1)
DEFECT(stride_minus, a->layout->logits_stride = -FIX_STRIDE)
DEFECT(grad_stride_short, a->layout->grad_stride = FIX_V - 1)
DEFECT(grad_stride_minus, a->layout->grad_stride = -FIX_STRIDE)
DEFECT(stride_overflow, a->layout->logits_stride = INT64_MAX / FIX_N)
DEFECT(stride_overflow_bytes, a->layout->logits_stride = INT64_MAX / 24)
DEFECT(grad_stride_overflow, a->layout->grad_stride = INT64_MAX / FIX_N)
DEFECT(grad_cols_short, a->layout->grad_cols = FIX_V - 1)
DEFECT(grad_cols_long, a->layout->grad_cols = FIX_GRAD_STRIDE + 1)
DEFECT(grad_cols_minus, a->layout->grad_cols = -1)
DEFECT(begin_minus, a->layout->vocab_begin = -1)
DEFECT(begin_huge, a->layout->vocab_begin = INT64_MAX)
DEFECT(total_short, a->layout->vocab_total = FIX_V - 1)
DEFECT(total_31, a->layout->vocab_total = INT64_C(1) << 31)
DEFECT(from_minus, a->from = -1)
DEFECT(to_before, a->from = 3; a->to = 2)
DEFECT(to_beyond, a->to = FIX_N + 1)
DEFECT(sequences_minus, a->inputs->sequences = -1)
DEFECT(slice_begin, a->layout->vocab_begin = 1)
DEFECT(slice_total, a->layout->vocab_total = FIX_V + 1)

DEFECT(label_V, fix_set_label(a, 5, FIX_V))
DEFECT(label_max, fix_set_label(a, 5, INT32_MAX))
DEFECT(label_two, fix_set_label(a, 11, FIX_V); fix_set_label(a, 2, FIX_V))
DEFECT(label_last, fix_set_label(a, 11, FIX_V))
DEFECT(label_wrapped, int64_t y[FIX_N]; for (int i = 0; i < FIX_N; i++)
       y[i] = fix_label(a, i); y[5] = (INT64_C(1) << 32) + 3;
       a->layout->label_type = BNFLOSS_I64;
       memcpy(a->labels, y, sizeof y))
DEFECT(weight_nan, fix.weight[2] = NAN)
DEFECT(weight_inf, fix.weight[2] = HUGE_VALF)
DEFECT(weight_minus_inf, fix.weight[2] = -HUGE_VALF)

#define BAD_NUMBERS(name, field)                                              \
    DEFECT(name##_minus, a->field = -1)                                       \
    DEFECT(name##_tiny_minus, a->field = -0x1p-126f)                          \
    DEFECT(name##_nan, a->field = NAN)                                        \
    DEFECT(name##_inf, a->field = HUGE_VALF)
BAD_NUMBERS(scale, layout->logit_scale)
BAD_NUMBERS(softcap, layout->softcap)
BAD_NUMBERS(smoothing, layout->label_smoothing)
BAD_NUMBERS(z_loss, layout->z_loss)
BAD_NUMBERS(beta, spec->beta)
BAD_NUMBERS(flip, spec->flip_prob)
BAD_NUMBERS(eps, spec->eps)
BAD_NUMBERS(divisor_value, spec->divisor_value)
BAD_NUMBERS(loss_scale, spec->loss_scale)
DEFECT(beta_0, a->spec->beta = 0)
DEFECT(divisor_value_0, a->spec->divisor_value = 0)
DEFECT(loss_scale_0, a->spec->loss_scale = 0)
DEFECT(loss_scale_over, a->spec->loss_scale = 1e300;
       a->spec->divisor_value = 1e-300)
DEFECT(scale_above, a->layout->logit_scale = 0x1.000002p127f)
DEFECT(softcap_above, a->layout->softcap = 65537)
DEFECT(inner_above, a->layout->softcap = 1e-30f;
       a->layout->logit_scale = 1e30f)
DEFECT(inner_below, a->layout->softcap = 100;
       a->layout->logit_scale = 1e-37f)
DEFECT(smoothing_above, a->layout->label_smoothing = 1.0000001f)
DEFECT(flip_above, a->spec->flip_prob = 0.50000006f)
DEFECT(eps_above, a->spec->eps = 1.0000001f)
DEFECT(threads_minus, a->threads = -1)

DEFECT(smoothing_else, a->layout->label_smoothing = 0.1f)
DEFECT(z_loss_else, a->layout->z_loss = 0.1f)
DEFECT(smoothing_dft, a->layout->label_smoothing = 0.1f;
       a->spec->flags = BNFLOSS_DFT)
DEFECT(z_loss_dft, a->layout->z_loss = 0.1f; a->spec->flags = BNFLOSS_DFT)
DEFECT(state_smoothing_else, a->state[3].label_smoothing = 0.1f)
DEFECT(state_z_loss_else, a->state[3].z_loss = 0.1f)
DEFECT(beta_else, a->spec->beta = 0.1f)
DEFECT(flip_else, a->spec->flip_prob = 0.1f)
DEFECT(eps_else, a->spec->eps = 1e-6f)
DEFECT(dft_else, a->spec->flags = BNFLOSS_DFT)
DEFECT(norm_length, a->spec->token_norm = BNFLOSS_NORM_LENGTH)
DEFECT(norm_shortest, a->spec->token_norm = BNFLOSS_NORM_SHORTEST)
DEFECT(accumulate_cols, a->layout->flags = BNFLOSS_ACCUMULATE;
       a->layout->grad_cols = FIX_V + 1; a->grad = fix.grad;
       a->layout->grad_stride = FIX_GRAD_STRIDE)
DEFECT(work_0, a->work_bytes = 0)
DEFECT(work_short, uint64_t n; if (bnfloss_workspace(a->layout, a->spec, 0,
       FIX_S, &n) == BNFLOSS_OK) a->work_bytes = n - 1)
DEFECT(work_short_loss, uint64_t n; if (bnfloss_workspace(NULL, a->spec,
       FIX_N, FIX_S, &n) == BNFLOSS_OK) a->work_bytes = n - 1)

DEFECT(seq_first, fix.seq_start[0] = 1)
DEFECT(seq_first_minus, fix.seq_start[0] = -1)
DEFECT(seq_falls, fix.seq_start[2] = 2)
DEFECT(seq_last_short, fix.seq_start[4] = 11)
DEFECT(seq_last_long, fix.seq_start[4] = 13)
DEFECT(seq_none, a->inputs->sequences = 0)
DEFECT(side_0, fix.side[1] = 0)
DEFECT(side_2, fix.side[1] = 2)
DEFECT(side_minus_128, fix.side[1] = -128)
DEFECT(only_side_0, fix.side[3] = 0; a->inputs->pairing = 0)
DEFECT(side_adjacent, fix.side[2] = -1)
DEFECT(side_halves, a->inputs->pairing = BNFLOSS_PAIRS_HALVES)
DEFECT(pairs_none, a->inputs->pairing = 0)
DEFECT(pairs_none_divisor, a->inputs->pairing = 0;
       a->spec->divisor = BNFLOSS_DIV_PAIRS)
DEFECT(pairs_odd, a->inputs->sequences = 3; fix.seq_start[3] = FIX_N)

DEFECT(ref_above, fix.ref[3] = 0x1.000002p-6f)
DEFECT(ref_inf, fix.ref[3] = HUGE_VALF)
DEFECT(ref_nan, fix.ref[3] = NAN)
DEFECT(logp_above, a->logp_in[9] = 0x1.000002p-6f)
DEFECT(logp_inf, a->logp_in[9] = HUGE_VALF)

DEFECT(place_accumulate, a->grad = a->logits;
       a->layout->grad_stride = FIX_STRIDE;
       a->layout->grad_type = a->layout->logits_type;
       a->layout->flags = BNFLOSS_ACCUMULATE)
DEFECT(place_type, a->grad = a->logits; a->layout->grad_stride = FIX_STRIDE;
       a->layout->grad_type = (a->layout->logits_type + 1) % 3)
DEFECT(place_stride, a->grad = a->logits;
       a->layout->grad_type = a->layout->logits_type;
       a->layout->grad_stride = FIX_STRIDE + 1)
DEFECT(grad_later, a->grad = (char *)a->logits + 4)
DEFECT(grad_at_end, a->grad = (char *)a->logits
       + ((size_t)((FIX_N - 1) * FIX_STRIDE + FIX_V - 1)
          * elem_size(a->layout->logits_type) & ~(size_t)3))
DEFECT(merge_itself, a->other = a->state)
DEFECT(merge_shifted, a->other = a->state + FIX_N - 1)

DEFECT(state_blind, a->state[8].flags &= ~(uint32_t)BNFLOSS_ROW_LABEL)
DEFECT(state_no_entropy, a->state[8].flags &= ~(uint32_t)BNFLOSS_ROW_ENTROPY)
DEFECT(state_no_entropy_rest, a->outputs->entropy = NULL;
       a->state[8].flags &= ~(uint32_t)BNFLOSS_ROW_ENTROPY)
DEFECT(state_label, a->state[8].label_id ^= 1)
DEFECT(state_not_ignored, fix_set_label(a, 8, -1))
DEFECT(state_ignored, a->state[8].flags |= BNFLOSS_ROW_IGNORED;
       a->state[8].label_id = -1)
DEFECT(state_smoothing, a->state[8].label_smoothing = 0.5f)
DEFECT(state_z_loss, a->state[8].z_loss = 0.5f)
DEFECT(state_twice, a->other[8].flags |= BNFLOSS_ROW_LABEL)

#define SIZE_DEFECTS(name, entries)                                           \
    { "E35", entries, ALL, BNFLOSS_E_STRUCT, -1, name##_size_0 },             \
        { "E35", entries, ALL, BNFLOSS_E_STRUCT, -1, name##_size_4 },         \
        { "E36", entries, ALL, BNFLOSS_E_STRUCT, -1, name##_size_4097 },      \
    {                                                                         \
        "E36", entries, ALL, BNFLOSS_E_STRUCT, -1, name##_size_odd            \
    }
#define NUMBER_DEFECTS(id, entries, kinds, name)                              \
    { id, entries, kinds, BNFLOSS_E_VALUE, -1, name##_minus },                \
    { id, entries, kinds, BNFLOSS_E_VALUE, -1, name##_tiny_minus },           \
    { id, entries, kinds, BNFLOSS_E_VALUE, -1, name##_nan },                  \
    { id, entries, kinds, BNFLOSS_E_VALUE, -1, name##_inf }

static const defect defects[] = {
    { "E6", LAYOUT, ALL, BNFLOSS_E_NULL, -1, layout_null },
    { "E7", LOSS, ALL, BNFLOSS_E_NULL, -1, spec_null },
    { "E8", LOSS, REF, BNFLOSS_E_NULL, -1, inputs_null },
    { "E10", LOSS, ALL, BNFLOSS_E_NULL, -1, result_null },
    { "E12", LAYOUT, ALL, BNFLOSS_E_NULL, -1, logits_null },
    { "E13", LAYOUT, ALL, BNFLOSS_E_NULL, -1, labels_null },
    { "E14", FORWARD | OUTPUTS | BACKWARD, ALL, BNFLOSS_E_NULL, -1,
      state_null },
    { "E15", MERGE, ALL, BNFLOSS_E_NULL, -1, state_null },
    { "E15", MERGE, ALL, BNFLOSS_E_NULL, -1, other_null },
    { "E16", STATES, ALL, BNFLOSS_E_NULL, -1, state_null },
    { "E16", LOGPS, ALL, BNFLOSS_E_NULL, -1, logp_null },
    { "E17", BACKWARD, ALL, BNFLOSS_E_NULL, -1, dlogp_null },
    { "E18", BACKWARD, ALL, BNFLOSS_E_NULL, -1, grad_null },
    { "E19", LOSS, ALL, BNFLOSS_E_NULL, -1, seq_null },
    { "E19", LOSS, REF, BNFLOSS_E_NULL, -1, seq_null_one },
    { "E19", LOSS, ALL, BNFLOSS_E_NULL, -1, seq_null_pairs },
    { "E20", LOSS, BNF, BNFLOSS_E_NULL, -1, side_null },
    { "E22", LOSS, REF, BNFLOSS_E_NULL, -1, ref_null },
    { "E23", LOSS, ALL, BNFLOSS_E_NULL, -1, work_null },

    { "E26", LAYOUT, ALL, BNFLOSS_E_ALIGN, -1, layout_off },
    { "E26", LOSS, ALL, BNFLOSS_E_ALIGN, -1, spec_off },
    { "E26", LOSS, ALL, BNFLOSS_E_ALIGN, -1, inputs_off },
    { "E26", FORWARD | OUTPUTS | LOSS, ALL, BNFLOSS_E_ALIGN, -1,
      outputs_off },
    { "E26", EVERY, ALL, BNFLOSS_E_ALIGN, ANY, result_off },
    { "E27", LAYOUT, ALL, BNFLOSS_E_ALIGN, -1, logits_off },
    { "E28", BACKWARD | RUN, ALL, BNFLOSS_E_ALIGN, -1, grad_off },
    { "E29", LAYOUT, ALL, BNFLOSS_E_ALIGN, -1, labels_off },
    { "E30", FORWARD | MERGE | OUTPUTS | STATES | BACKWARD, ALL,
      BNFLOSS_E_ALIGN, -1, state_off },
    { "E30", MERGE, ALL, BNFLOSS_E_ALIGN, -1, other_off },
    { "E31", LOSS, ALL, BNFLOSS_E_ALIGN, -1, seq_off },
    { "E31", LOSS, REF, BNFLOSS_E_ALIGN, -1, ref_off },
    { "E31", LOSS, ALL, BNFLOSS_E_ALIGN, -1, weight_off },
    { "E31", LOGPS, ALL, BNFLOSS_E_ALIGN, -1, logp_off },
    { "E31", LOGPS, ALL, BNFLOSS_E_ALIGN, -1, rest_off },
    { "E31", BACKWARD, ALL, BNFLOSS_E_ALIGN, -1, dlogp_in_off },
    { "E32", STATES | LOGPS, ALL, BNFLOSS_E_ALIGN, -1,
      dlogp_out_off },
    { "E32", FORWARD | OUTPUTS | RUN, ALL, BNFLOSS_E_ALIGN, -1,
      out_logp_off },
    { "E32", FORWARD | OUTPUTS | RUN, ALL, BNFLOSS_E_ALIGN, -1,
      out_rest_off },
    { "E32", FORWARD | OUTPUTS | RUN, ALL, BNFLOSS_E_ALIGN, -1,
      out_entropy_off },
    { "E32", FORWARD | OUTPUTS | RUN, ALL, BNFLOSS_E_ALIGN, -1,
      out_argmax_off },
    { "E32", LOSS, ALL, BNFLOSS_E_ALIGN, -1, out_dlogp_off },
    { "E32", LOSS, ALL, BNFLOSS_E_ALIGN, -1, out_row_loss_off },
    { "E32", LOSS, ALL, BNFLOSS_E_ALIGN, -1, out_seq_logp_off },
    { "E32", LOSS, ALL, BNFLOSS_E_ALIGN, -1, out_seq_loss_off },

    SIZE_DEFECTS(layout, LAYOUT),
    SIZE_DEFECTS(spec, LOSS),
    SIZE_DEFECTS(inputs, LOSS),
    SIZE_DEFECTS(outputs, FORWARD | OUTPUTS | LOSS),
    { "E35", EVERY, ALL, BNFLOSS_E_STRUCT, ANY, result_size_0 },
    { "E35", EVERY, ALL, BNFLOSS_E_STRUCT, ANY, result_size_4 },
    { "E36", EVERY, ALL, BNFLOSS_E_STRUCT, ANY, result_size_4097 },
    { "E36", EVERY, ALL, BNFLOSS_E_STRUCT, ANY, result_size_odd },
    { "E37", LAYOUT, ALL, BNFLOSS_E_STRUCT, -1, layout_unknown },
    { "E37", LOSS, ALL, BNFLOSS_E_STRUCT, -1, spec_unknown },
    { "E37", LOSS, ALL, BNFLOSS_E_STRUCT, -1, inputs_unknown },
    { "E37", FORWARD | OUTPUTS | LOSS, ALL, BNFLOSS_E_STRUCT, -1,
      outputs_unknown },
    { "E40", LAYOUT, ALL, BNFLOSS_E_STRUCT, -1, layout_reserved },
    { "E40", FORWARD | OUTPUTS | LOSS, ALL, BNFLOSS_E_STRUCT, -1,
      outputs_reserved },

    { "E41", LAYOUT, ALL, BNFLOSS_E_ENUM, -1, logits_type_3 },
    { "E41", LAYOUT, ALL, BNFLOSS_E_ENUM, -1, grad_type_3 },
    { "E41", LAYOUT, ALL, BNFLOSS_E_ENUM, -1, label_type_2 },
    { "E42", LAYOUT, ALL, BNFLOSS_E_ENUM, -1, layout_flag_16 },
    { "E42", LAYOUT, ALL, BNFLOSS_E_ENUM, -1, layout_flag_31 },
    { "E42", LOSS, ALL, BNFLOSS_E_ENUM, -1, spec_flag_64 },
    { "E42", LOSS, ALL, BNFLOSS_E_ENUM, -1, spec_flag_31 },
    { "E43", LOSS, ALL, BNFLOSS_E_ENUM, -1, kind_0 },
    { "E43", LOSS, ALL, BNFLOSS_E_ENUM, -1, kind_1000 },
    { "E43", LOSS, ALL, BNFLOSS_E_ENUM, -1, kind_max },
    { "E44", LOSS, ALL, BNFLOSS_E_ENUM, -1, norm_0 },
    { "E44", LOSS, ALL, BNFLOSS_E_ENUM, -1, norm_4 },
    { "E45", LOSS, ALL, BNFLOSS_E_ENUM, -1, divisor_0 },
    { "E45", LOSS, ALL, BNFLOSS_E_ENUM, -1, divisor_5 },
    { "E46", LOSS, ALL, BNFLOSS_E_ENUM, -1, pairing_3 },

    { "E48", LAYOUT, ALL, BNFLOSS_E_SHAPE, -1, vocab_0 },
    { "E49", LAYOUT, ALL, BNFLOSS_E_SHAPE, -1, vocab_minus },
    { "E50", LAYOUT, ALL, BNFLOSS_E_SHAPE, -1, vocab_31 },
    { "E50", LAYOUT, ALL, BNFLOSS_E_SHAPE, -1, vocab_63 },
    { "E50", LAYOUT, ALL, BNFLOSS_E_SHAPE, -1, vocab_63_from_1 },
    { "E54", EVERY, ALL, BNFLOSS_E_SHAPE, -1, rows_minus },
    { "E55", EVERY, ALL, BNFLOSS_E_SHAPE, -1, rows_41 },
    { "E56", LAYOUT, ALL, BNFLOSS_E_SHAPE, -1, stride_short },
    { "E56", LAYOUT, ALL, BNFLOSS_E_SHAPE, -1, stride_minus },
    { "E56", LAYOUT, ALL, BNFLOSS_E_SHAPE, -1, grad_stride_short },
    { "E56", LAYOUT, ALL, BNFLOSS_E_SHAPE, -1, grad_stride_minus },
    { "E57", LAYOUT, ALL, BNFLOSS_E_SHAPE, -1, stride_overflow },
    { "E57", LAYOUT, ALL, BNFLOSS_E_SHAPE, -1,
      stride_overflow_bytes },
    { "E57", LAYOUT, ALL, BNFLOSS_E_SHAPE, -1,
      grad_stride_overflow },
    { "E60", LAYOUT, ALL, BNFLOSS_E_SHAPE, -1, grad_cols_short },
    { "E60", LAYOUT, ALL, BNFLOSS_E_SHAPE, -1, grad_cols_long },
    { "E60", LAYOUT, ALL, BNFLOSS_E_SHAPE, -1, grad_cols_minus },
    { "E62", LAYOUT, ALL, BNFLOSS_E_SHAPE, -1, begin_minus },
    { "E62", LAYOUT, ALL, BNFLOSS_E_SHAPE, -1, begin_huge },
    { "E62", LAYOUT, ALL, BNFLOSS_E_SHAPE, -1, total_short },
    { "E62", LAYOUT, ALL, BNFLOSS_E_SHAPE, -1, total_31 },
    { "E65", FORWARD, ALL, BNFLOSS_E_OPTION, -1, slice_begin },
    { "E65", FORWARD, ALL, BNFLOSS_E_OPTION, -1, slice_total },
    { "E63", FORWARD | BACKWARD, ALL, BNFLOSS_E_SHAPE, -1,
      from_minus },
    { "E63", FORWARD | BACKWARD, ALL, BNFLOSS_E_SHAPE, -1, to_before },
    { "E63", FORWARD | BACKWARD, ALL, BNFLOSS_E_SHAPE, -1, to_beyond },
    { "E64", LOSS, ALL, BNFLOSS_E_SHAPE, -1,
      sequences_minus },
    { "E66", RUN, ALL, BNFLOSS_E_OPTION, -1, slice_begin },
    { "E66", RUN, ALL, BNFLOSS_E_OPTION, -1, slice_total },

    { "E70", LAYOUT, ALL, BNFLOSS_E_LABEL, 5, label_V },
    { "E70", LAYOUT, ALL, BNFLOSS_E_LABEL, 5, label_max },
    { "E70", LAYOUT, ALL, BNFLOSS_E_LABEL, 11, label_last },
    { "E72", LAYOUT, ALL, BNFLOSS_E_LABEL, 2, label_two },
    { "E71", LAYOUT, ALL, BNFLOSS_E_LABEL, 5, label_wrapped },
    { "E77", LOSS, ALL, BNFLOSS_E_WEIGHT, 2, weight_nan },
    { "E77", LOSS, ALL, BNFLOSS_E_WEIGHT, 2, weight_inf },
    { "E77", LOSS, ALL, BNFLOSS_E_WEIGHT, 2, weight_minus_inf },

    NUMBER_DEFECTS("E79", LAYOUT, ALL, scale),
    { "E79", LAYOUT, ALL, BNFLOSS_E_VALUE, -1, scale_above },
    NUMBER_DEFECTS("E80", LAYOUT, ALL, softcap),
    { "E80", LAYOUT, ALL, BNFLOSS_E_VALUE, -1, softcap_above },
    { "E81", LAYOUT, ALL, BNFLOSS_E_VALUE, -1, inner_above },
    { "E81", LAYOUT, ALL, BNFLOSS_E_VALUE, -1, inner_below },
    NUMBER_DEFECTS("E82", LAYOUT, ALL, smoothing),
    { "E82", LAYOUT, ALL, BNFLOSS_E_VALUE, -1, smoothing_above },
    NUMBER_DEFECTS("E83", LAYOUT, ALL, z_loss),
    NUMBER_DEFECTS("E84", LOSS, DPO, beta),
    { "E84", LOSS, DPO, BNFLOSS_E_VALUE, -1, beta_0 },
    NUMBER_DEFECTS("E85", LOSS, DPO, flip),
    { "E85", LOSS, DPO, BNFLOSS_E_VALUE, -1, flip_above },
    NUMBER_DEFECTS("E86", LOSS, BNF, eps),
    { "E86", LOSS, BNF, BNFLOSS_E_VALUE, -1, eps_above },
    NUMBER_DEFECTS("E87", LOSS, ALL, divisor_value),
    { "E87", LOSS, ALL, BNFLOSS_E_VALUE, -1, divisor_value_0 },
    NUMBER_DEFECTS("E88", LOSS, ALL, loss_scale),
    { "E88", LOSS, ALL, BNFLOSS_E_VALUE, -1, loss_scale_0 },
    { "E88", LOSS, ALL, BNFLOSS_E_VALUE, -1, loss_scale_over },
    { "E89", RUN, ALL, BNFLOSS_E_VALUE, -1, threads_minus },

    { "E92", RUN, REF, BNFLOSS_E_OPTION, -1, smoothing_else },
    { "E92", RUN, REF, BNFLOSS_E_OPTION, -1, z_loss_else },
    { "E92", RUN, SFT, BNFLOSS_E_OPTION, -1, smoothing_dft },
    { "E92", RUN, SFT, BNFLOSS_E_OPTION, -1, z_loss_dft },
    { "E92", STATES, REF, BNFLOSS_E_OPTION, ANY,
      state_smoothing_else },
    { "E92", STATES, REF, BNFLOSS_E_OPTION, ANY,
      state_z_loss_else },
    { "E93", LOSS, SFT | BNF, BNFLOSS_E_OPTION, -1, beta_else },
    { "E93", LOSS, SFT | BNF, BNFLOSS_E_OPTION, -1, flip_else },
    { "E94", LOSS, SFT | DPO, BNFLOSS_E_OPTION, -1, eps_else },
    { "E95", LOSS, REF, BNFLOSS_E_OPTION, -1, dft_else },
    { "E96", LOSS, DPO, BNFLOSS_E_OPTION, -1, norm_length },
    { "E96", LOSS, DPO, BNFLOSS_E_OPTION, -1, norm_shortest },
    { "E97", BACKWARD | RUN, ALL, BNFLOSS_E_OPTION, -1,
      accumulate_cols },
    { "E99", BACKWARD | RUN, ALL, BNFLOSS_E_OVERLAP, -1,
      place_accumulate },
    { "E100", LOSS, ALL, BNFLOSS_E_WORK, -1, work_0 },
    { "E100", RUN, ALL, BNFLOSS_E_WORK, -1, work_short },
    { "E100", STATES | LOGPS, ALL, BNFLOSS_E_WORK, -1,
      work_short_loss },

    { "E101", LOSS, ALL, BNFLOSS_E_SEQ, 0, seq_first },
    { "E101", LOSS, ALL, BNFLOSS_E_SEQ, 0, seq_first_minus },
    { "E102", LOSS, ALL, BNFLOSS_E_SEQ, 2, seq_falls },
    { "E103", LOSS, ALL, BNFLOSS_E_SEQ, 4, seq_last_short },
    { "E103", LOSS, ALL, BNFLOSS_E_SEQ, 4, seq_last_long },
    { "E104", LOSS, ALL, BNFLOSS_E_SEQ, 0, seq_none },
    { "E105", LOSS, ALL, BNFLOSS_E_SIDE, 1, side_0 },
    { "E105", LOSS, ALL, BNFLOSS_E_SIDE, 1, side_2 },
    { "E105", LOSS, ALL, BNFLOSS_E_SIDE, 1, side_minus_128 },
    { "E105", LOSS, BNF, BNFLOSS_E_SIDE, 3, only_side_0 },
    { "E106", LOSS, ALL, BNFLOSS_E_SIDE, 2, side_adjacent },
    { "E107", LOSS, ALL, BNFLOSS_E_SIDE, 1, side_halves },
    { "E108", LOSS, DPO, BNFLOSS_E_PAIRING, ANY, pairs_none },
    { "E108", LOSS, ALL, BNFLOSS_E_PAIRING, ANY, pairs_none_divisor },
    { "E109", LOSS, ALL, BNFLOSS_E_PAIRING, ANY, pairs_odd },

    { "E136", LOSS, REF, BNFLOSS_E_REF_LOGP, 3, ref_above },
    { "E136", LOSS, REF, BNFLOSS_E_REF_LOGP, 3, ref_inf },
    { "E136", LOSS, REF, BNFLOSS_E_REF_LOGP, 3, ref_nan },
    { "E139", LOGPS, ALL, BNFLOSS_E_LOGP, 9, logp_above },
    { "E139", LOGPS, ALL, BNFLOSS_E_LOGP, 9, logp_inf },

    { "E149", BACKWARD | RUN, ALL, BNFLOSS_E_OVERLAP, -1, place_type },
    { "E150", BACKWARD | RUN, ALL, BNFLOSS_E_OVERLAP, -1,
      place_stride },
    { "E151", BACKWARD | RUN, ALL, BNFLOSS_E_OVERLAP, -1,
      grad_later },
    { "E151", BACKWARD | RUN, ALL, BNFLOSS_E_OVERLAP, -1,
      grad_at_end },
    { "E152", MERGE, ALL, BNFLOSS_E_OVERLAP, -1, merge_itself },
    { "E152", MERGE, ALL, BNFLOSS_E_OVERLAP, -1, merge_shifted },

    { "E159", OUTPUTS | STATES | BACKWARD, ALL, BNFLOSS_E_STATE, 8,
      state_blind },
    { "E160", OUTPUTS, ALL, BNFLOSS_E_STATE, 8, state_no_entropy },
    { "E160", OUTPUTS, ALL, BNFLOSS_E_STATE, 8,
      state_no_entropy_rest },
    { "E161", MERGE | BACKWARD, ALL, BNFLOSS_E_STATE, 8,
      state_label },
    { "E161", BACKWARD, ALL, BNFLOSS_E_STATE, 8,
      state_not_ignored },
    { "E161", MERGE | BACKWARD, ALL, BNFLOSS_E_STATE, 8,
      state_ignored },
    { "E162", MERGE | BACKWARD, ALL, BNFLOSS_E_STATE, 8,
      state_smoothing },
    { "E162", MERGE | BACKWARD, ALL, BNFLOSS_E_STATE, 8,
      state_z_loss },
    { "E163", MERGE, ALL, BNFLOSS_E_STATE, 8, state_twice },
};

static bnfloss_status knock(unsigned entry, const fix_args *a)
{
    switch (entry) {
    case FORWARD:  return fix_forward(a);
    case MERGE:    return fix_merge(a);
    case OUTPUTS:  return fix_outputs(a);
    case STATES:   return a->state ? fix_loss_state(a) : bnfloss_loss(
        a->spec, a->inputs, a->rows, NULL, NULL, NULL, a->dlogp_out,
        a->outputs, a->work, a->work_bytes, a->result);
    case LOGPS:    return fix_loss_logp(a);
    case BACKWARD: return fix_backward(a);
    default:       return fix_run(a);
    }
}

/* A batch with states of its rows, and others of columns that follow. */
static void batch_with_states(fix_args *a, const variant *w)
{
    bnfloss_layout more;

    fix_make(a, w->kind, w->logits_type, w->grad_type, w->in_place);
    CHECK(fix_forward(a) == BNFLOSS_OK, "forward of the sound batch");
    more = *a->layout;
    more.flags |= BNFLOSS_ENTROPY;
    more.vocab_begin = FIX_V;
    CHECK(bnfloss_forward(&more, a->logits, a->labels, 0, FIX_N, a->other,
                          NULL, NULL) == BNFLOSS_OK, "the other columns");
    /* so that a word written again shows */
    memset(fix.logp, 0xA5, (size_t)((char *)fix.state - (char *)fix.logp));
    memset(fix.result.bytes + 8, 0xA5, sizeof fix.result - 8);
}

/* One defect at one entry point: its status, its index, and nothing else. */
static void one_defect(const defect *d, unsigned entry, const variant *w,
                       const fix_block *sound, const fix_args *args)
{
    static fix_block before;
    fix_args a = *args;
    bnfloss_status status;

    memcpy(&fix, sound, sizeof fix);
    d->make(&a);
    memcpy(&before, &fix, sizeof fix);
    status = knock(entry, &a);
    CHECK(status == d->status,
          "%s defect %d at entry point %u: status %d, not %d "
          "(%s %s %s->%s%s)",
          d->id, (int)(d - defects), entry, (int)status, (int)d->status,
          w->isa, kind_name(w->kind), type_name(w->logits_type),
          type_name(w->grad_type), w->in_place ? " in place" : "");
    if (d->where != ANY && a.result)
        CHECK(fix.result.s.where == d->where,
              "%s at entry point %u: where %lld, not "
              "%lld",
              d->id, entry, (long long)fix.result.s.where,
              (long long)d->where);
    before.result.s.where = fix.result.s.where;
    CHECK(memcmp(&before, &fix, sizeof fix) == 0,
          "%s defect %d at entry %u: something was written (%s %s)", d->id,
          (int)(d - defects), entry, w->isa, kind_name(w->kind));
}

static void errors(const variant *w)
{
    static fix_block sound;
    const unsigned kind = w->kind == BNFLOSS_SFT ? SFT
                          : w->kind == BNFLOSS_BNF ? BNF : DPO;
    const unsigned by_kind = LOSS;  /* entry points that know of losses */
    fix_args a;

    batch_with_states(&a, w);
    memcpy(&sound, &fix, sizeof fix);
    for (unsigned entry = 1; entry < EVERY; entry <<= 1) {
        memcpy(&fix, &sound, sizeof fix);
        CHECK(knock(entry, &a) == BNFLOSS_OK, "sound call at entry %u", entry);
        CHECK(memcmp(&sound, &fix, sizeof fix) != 0, "nothing written");
        if (!(entry & by_kind) && kind != SFT)
            continue;
        for (size_t i = 0; i < sizeof defects / sizeof *defects; i++) {
            edge(defects[i].id);
            if (defects[i].entries & entry && defects[i].kinds & kind)
                one_defect(defects + i, entry, w, &sound, &a);
        }
    }
}

/* ---- Errors: every pair of buffers -------------------------------------- */

typedef struct buffer {
    void **at;                  /* the pointer that the call will use */
    size_t size, elem;
    int written;
} buffer;

/* All buffers of bnfloss_run(), or of the loss stage (loss 1). */
static int list_buffers(fix_args *a, buffer *b, int loss)
{
    const size_t z = elem_size(a->layout->logits_type);
    const size_t g = elem_size(a->layout->grad_type);
    const size_t n = FIX_N * 4, s = FIX_S * 8;
    const size_t pairs = a->spec->kind == BNFLOSS_DPO ? s / 2 : s;
    uint64_t work = 0;
    int k = 0;

#define BUFFER(p, size, elem, written)                                        \
    (b[k++] = (buffer){ (void **)(void *)&(p), size, elem, written })
    BUFFER(a->inputs->seq_start, s + 8, 8, 0);
    BUFFER(a->inputs->side, FIX_S, 1, 0);
    BUFFER(a->inputs->ref_logp, n, 4, 0);
    BUFFER(a->inputs->row_weight, n, 4, 0);
    BUFFER(a->outputs->dlogp, n, 4, 1);
    BUFFER(a->outputs->row_loss, n, 4, 1);
    BUFFER(a->outputs->seq_logp, s, 8, 1);
    BUFFER(a->outputs->seq_loss, pairs, 8, 1);
    BUFFER(a->result, sizeof *a->result, 8, 1);
    if (loss) {
        bnfloss_workspace(NULL, a->spec, FIX_N, FIX_S, &work);
        BUFFER(a->dlogp_out, n, 4, 1);
        BUFFER(a->logp_in, n, 4, 0);
        BUFFER(a->rest_in, n, 4, 0);
    } else {
        bnfloss_workspace(a->layout, a->spec, 0, FIX_S, &work);
        BUFFER(a->logits, ((FIX_N - 1) * FIX_STRIDE + FIX_V) * z, z, 0);
        BUFFER(a->labels, n, 4, 0);
        BUFFER(a->grad, ((FIX_N - 1) * FIX_GRAD_STRIDE + FIX_V) * g, g, 1);
        BUFFER(a->outputs->logp, n, 4, 1);
        BUFFER(a->outputs->rest, n, 4, 1);
        BUFFER(a->outputs->entropy, n, 4, 1);
        BUFFER(a->outputs->argmax, n, 4, 1);
    }
    BUFFER(a->work, (size_t)work, 1, 1);
#undef BUFFER
    return k;
}

/* Moves the pointer of `b` onto the last element of `onto`. */
static void *onto_the_end(const buffer *b, const buffer *onto)
{
    uintptr_t p = (uintptr_t)*onto->at + onto->size - 1;

    return (void *)(p - p % b->elem);
}

static void overlaps(const variant *w, int loss)
{
    static fix_block sound;
    buffer b[24];
    fix_args a;
    int n;

    edge("E152");
    fix_make(&a, w->kind, w->logits_type, w->grad_type, 0);
    memcpy(&sound, &fix, sizeof fix);
    n = list_buffers(&a, b, loss);
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < n; j++) {
            const fix_args saved = a;
            bnfloss_status status;
            static fix_block before;

            /* a result that has moved has lost its size */
            if (i == j || (!b[i].written && !b[j].written)
                || b[i].at == (void **)(void *)&a.result)
                continue;
            memcpy(&fix, &sound, sizeof fix);
            *b[i].at = onto_the_end(b + i, b + j);
            memcpy(&before, &fix, sizeof fix);
            status = loss ? fix_loss_logp(&a) : fix_run(&a);
            before.result.s.where = fix.result.s.where;
            CHECK(memcmp(&before, &fix, sizeof fix) == 0,
                  "overlap %d on %d: something was written", i, j);
            /* an input that was moved may be wrong before it overlaps */
            CHECK(status == BNFLOSS_E_OVERLAP
                  || (!b[i].written && status != BNFLOSS_OK),
                  "overlap of buffers %d and %d: status %d (%s)", i, j,
                  (int)status, kind_name(w->kind));
            a = saved;
        }
    }
    memcpy(&fix, &sound, sizeof fix);
}

/* Outputs may lie wall to wall. */
static void touching(const variant *w)
{
    static float wall[4 * FIX_N];
    fix_args a;

    edge("E153");
    fix_make(&a, w->kind, w->logits_type, w->grad_type, 0);
    a.outputs->logp = wall;
    a.outputs->rest = wall + FIX_N;
    a.outputs->entropy = wall + 2 * FIX_N;
    a.outputs->dlogp = wall + 3 * FIX_N;
    CHECK(fix_run(&a) == BNFLOSS_OK, "wall to wall outputs");
}

/* States and log-probabilities at once. */
static void two_entries(const variant *w)
{
    static fix_block before;
    fix_args a;

    edge("E98");
    batch_with_states(&a, w);
    memcpy(&before, &fix, sizeof fix);
    for (int k = 1; k < 4; k++) {
        CHECK(bnfloss_loss(a.spec, a.inputs, FIX_N, a.state,
                           k & 1 ? a.logp_in : NULL, k & 2 ? a.rest_in : NULL,
                           a.dlogp_out, a.outputs, a.work, a.work_bytes,
                           a.result) == BNFLOSS_E_OPTION, "two entries: %d", k);
        before.result.s.where = fix.result.s.where;
        CHECK(memcmp(&before, &fix, sizeof fix) == 0, "something was written");
    }
}

/* ---- Errors of the entry points without a batch ------------------------ */

static void errors_elsewhere(void)
{
    bnfloss_layout layout = { 0 };
    bnfloss_spec spec;
    uint64_t bytes = 77;
    const char *isa = bnfloss_isa();

    bnfloss_spec_init(&spec, sizeof spec, BNFLOSS_SFT);
    layout.struct_size = sizeof layout;
    layout.rows = 1;
    layout.vocab = 5;
    edge("E24");
    CHECK(bnfloss_workspace(&layout, &spec, 0, 0, NULL) == BNFLOSS_E_NULL,
          "bytes NULL");
    edge("E7");
    CHECK(bnfloss_workspace(&layout, NULL, 0, 0, &bytes) == BNFLOSS_E_NULL,
          "spec NULL");
    edge("E54");
    CHECK(bnfloss_workspace(NULL, &spec, -1, 0, &bytes) == BNFLOSS_E_SHAPE,
          "rows -1");
    edge("E55");
    CHECK(bnfloss_workspace(NULL, &spec, (INT64_C(1) << 40) + 1, 0, &bytes)
          == BNFLOSS_E_SHAPE, "rows 2^40 + 1");
    edge("E64");
    CHECK(bnfloss_workspace(NULL, &spec, 1, -1, &bytes) == BNFLOSS_E_SHAPE,
          "sequences -1");
    edge("E48");
    layout.vocab = 0;
    CHECK(bnfloss_workspace(&layout, &spec, 0, 0, &bytes) == BNFLOSS_E_SHAPE,
          "V = 0");
    edge("E43");
    spec.kind = 99;
    CHECK(bnfloss_workspace(NULL, &spec, 1, 0, &bytes) == BNFLOSS_E_ENUM,
          "kind 99");
    CHECK(bytes == 77, "an error wrote bytes");
    edge("E25");
    CHECK(bnfloss_isa_select(NULL) == BNFLOSS_E_NULL, "isa NULL");
    edge("E47");
    for (int i = 0; i < 5; i++) {
        static const char *const names[] = { "", "avx", "avx5122", "AUTO",
                                             "none" };

        CHECK(bnfloss_isa_select(names[i]) == BNFLOSS_E_ISA, "isa \"%s\"",
              names[i]);
        CHECK(strcmp(bnfloss_isa(), isa) == 0, "the choice has changed");
    }
}

/* ---- Values: what they are compared with -------------------------------- */

/* Row i's z' in double. */
static void row_of(const fix_args *a, int64_t i, double *z)
{
    const double scale = a->layout->logit_scale > 0
                             ? (double)a->layout->logit_scale : 1;

    for (int64_t j = 0; j < FIX_V; j++)
        z[j] = plain_map((double)fix_logit(a, i, j), scale,
                         (double)a->layout->softcap);
}

/* logp, entropy and argmax of the rows that count; saved[] holds the logits
 * as they were before an in-place gradient. */
static void check_rows(const fix_args *a, double (*saved)[FIX_V],
                       const char *what)
{
    for (int64_t i = 0; i < FIX_N; i++) {
        const int64_t y = fix_label(a, i);
        plain_row p;
        double range = 0, low = HUGE_VAL;

        if (y < 0 || (a->inputs && fix.weight[i] == 0))
            continue;
        p = plain_softmax(saved[i], FIX_V, y);
        for (int64_t j = 0; j < FIX_V; j++)
            if (saved[i][j] > -HUGE_VAL && saved[i][j] < low)
                low = saved[i][j];
        range = p.max - low;
        CHECK(fabs((double)fix.logp[i] - p.logp)
              <= (10 + 2 * range) * U * fabs(p.logp) + 1e-13 * fabs(p.max)
                 + 1e-14,
              "%s: row %d logp %.9g, not %.9g", what, (int)i,
              (double)fix.logp[i], p.logp);
        CHECK(fabs((double)fix.entropy[i] - p.entropy)
              <= 20 * U * p.entropy + 1e-13,
              "%s: row %d entropy %.9g, not %.9g", what, (int)i,
              (double)fix.entropy[i], p.entropy);
        CHECK(fix.argmax[i] == p.argmax, "%s: row %d argmax %d, not %d", what,
              (int)i, (int)fix.argmax[i], (int)p.argmax);
    }
}

/* Each gradient is dlogp (onehot - p), within 4u |dlogp| and its rounding. */
static void check_grads(const fix_args *a, double (*saved)[FIX_V],
                        const char *what)
{
    for (int64_t i = 0; i < FIX_N; i++) {
        const int64_t y = fix_label(a, i);
        const double d = (double)fix.dlogp[i];
        const int counts = y >= 0 && !(a->inputs && fix.weight[i] == 0);
        plain_row p = { 0 };
        double worst = 0;

        if (counts)
            p = plain_softmax(saved[i], FIX_V, y);
        for (int64_t j = 0; j < FIX_V; j++) {
            const double pj = counts ? plain_p(&p, saved[i][j]) : 0;
            const double g = counts ? d * ((j == y) - pj) : 0;
            const double e = fabs((double)fix_grad(a, i, j) - g);
            const double bound = 4 * U * fabs(d)
                + (a->layout->grad_type == BNFLOSS_F32 ? 0
                   : elem_rounding(a->layout->grad_type, g)) + 1e-38;

            if (!(e <= bound) && !(worst >= e / bound))
                worst = e / bound;
            if (counts && j != y && saved[i][j] == -HUGE_VAL)
                CHECK(fix_grad(a, i, j) == 0, "%s: row %d col %d is masked",
                      what, (int)i, (int)j);
        }
        CHECK(worst == 0, "%s: row %d gradient off by %.3g bounds (%s)", what,
              (int)i, worst, type_name(a->layout->grad_type));
    }
}

static void save_rows(const fix_args *a, double (*saved)[FIX_V])
{
    for (int64_t i = 0; i < FIX_N; i++)
        row_of(a, i, saved[i]);
}

static double saved_rows[FIX_N][FIX_V];

/* Runs the batch at hand and checks rows and gradients. */
static void run_and_check(const fix_args *a, const char *what)
{
    save_rows(a, saved_rows);
    CHECK(fix_run(a) == BNFLOSS_OK, "%s: run", what);
    check_rows(a, saved_rows, what);
    check_grads(a, saved_rows, what);
}

/* The results of a call as bytes: the loss, all outputs, and the gradient of
 * the vocabulary's columns. */
typedef struct outcome {
    bnfloss_result result;
    unsigned char grad[FIX_N * FIX_V * 4];
    float logp[FIX_N], rest[FIX_N], entropy[FIX_N], dlogp[FIX_N];
    float row_loss[FIX_N];
    int32_t argmax[FIX_N];
    double seq_logp[FIX_S], seq_loss[FIX_S];
} outcome;

static void take(outcome *o, const fix_args *a)
{
    const size_t size = elem_size(a->layout->grad_type);

    memset(o, 0, sizeof *o);
    memcpy(&o->result, a->result, sizeof o->result);
    for (size_t i = 0; i < FIX_N; i++)
        memcpy(o->grad + i * FIX_V * size, (const char *)a->grad
               + i * (size_t)fix_grad_stride(a) * size, FIX_V * size);
    memcpy(o->logp, fix.logp, sizeof o->logp);
    memcpy(o->rest, fix.rest, sizeof o->rest);
    memcpy(o->entropy, fix.entropy, sizeof o->entropy);
    memcpy(o->dlogp, fix.dlogp, sizeof o->dlogp);
    memcpy(o->row_loss, fix.row_loss, sizeof o->row_loss);
    memcpy(o->argmax, fix.argmax, sizeof o->argmax);
    memcpy(o->seq_logp, fix.seq_logp, sizeof o->seq_logp);
    memcpy(o->seq_loss, fix.seq_loss, sizeof o->seq_loss);
}

static void run_and_take(const fix_args *a, outcome *o, const char *what)
{
    CHECK(fix_run(a) == BNFLOSS_OK, "%s: run", what);
    take(o, a);
}

static void same(const outcome *a, const outcome *b, const char *what,
                 const variant *w)
{
    CHECK(memcmp(a, b, sizeof *a) == 0, "%s: other bits (%s %s %s->%s%s)",
          what, w->isa, kind_name(w->kind), type_name(w->logits_type),
          type_name(w->grad_type), w->in_place ? " in place" : "");
}

static void make(fix_args *a, const variant *w)
{
    fix_make(a, w->kind, w->logits_type, w->grad_type, w->in_place);
}

/* A row's gradient is exactly x in all columns. */
static int row_is(const fix_args *a, int64_t i, float x)
{
    for (int64_t j = 0; j < FIX_V; j++)
        if (fix_grad(a, i, j) != x)
            return 0;
    return 1;
}

static int row_is_nan(const fix_args *a, int64_t i)
{
    for (int64_t j = 0; j < FIX_V; j++)
        if (!fix_grad_is_nan(a, i, j))
            return 0;
    return 1;
}

static int row_is_finite(const fix_args *a, int64_t i)
{
    for (int64_t j = 0; j < FIX_V; j++)
        if (!isfinite(fix_grad(a, i, j)))
            return 0;
    return 1;
}

static int is_canonical(double x)
{
    uint64_t b;

    memcpy(&b, &x, sizeof b);
    return b == UINT64_C(0x7FF8000000000000);
}

/* ---- Values: nothing to do, or less ------------------------------------- */

static void value_nothing(const variant *w)
{
    static const int64_t none[1] = { 0 };
    bnfloss_layout layout = { 0 };
    bnfloss_inputs in = { 0 };
    bnfloss_result r = { 0 };
    fix_args a;
    outcome before, after;
    double z, g;                /* aligned for every type */

    make(&a, w);
    take(&before, &a);
    layout.struct_size = sizeof layout;
    layout.logits_type = w->logits_type;
    layout.grad_type = w->grad_type;
    in.struct_size = sizeof in;
    r.struct_size = sizeof r;
    z = 0;
    g = 7;
    edge("E1");
    for (int vocab = 0; vocab < 2; vocab++) {
        layout.vocab = vocab;
        r.loss = 1;
        CHECK(bnfloss_run(&layout, a.spec, NULL, NULL, NULL, NULL, NULL,
                          NULL, 0, 1, &r) == BNFLOSS_OK
              && r.loss == 0 && r.tokens == 0 && r.sequences == 0
              && r.nan_rows == 0 && r.where == -1, "no rows, V = %d", vocab);
        CHECK(bnfloss_run(&layout, a.spec, NULL, &z, NULL, &g, NULL, NULL, 0,
                          1, &r) == BNFLOSS_OK
              && g == 7, "no rows, V = %d, with pointers", vocab);
        CHECK(bnfloss_forward(&layout, NULL, NULL, 0, 0, NULL, NULL, &r)
              == BNFLOSS_OK && r.tokens == 0, "forward of no rows");
        CHECK(bnfloss_backward(&layout, NULL, NULL, 0, 0, NULL, NULL, NULL,
                               &r) == BNFLOSS_OK, "backward of no rows");
    }
    CHECK(bnfloss_row_merge(0, NULL, NULL, &r) == BNFLOSS_OK
          && bnfloss_row_outputs(0, NULL, NULL, &r) == BNFLOSS_OK,
          "states of no rows");
    r.loss = 1;
    CHECK(bnfloss_loss(a.spec, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL, 0,
                       &r) == BNFLOSS_OK
          && r.loss == 0 && r.tokens == 0, "the loss of no rows");
    edge("E2");
    in.seq_start = none;
    r.loss = 1;
    CHECK(bnfloss_run(&layout, a.spec, &in, NULL, NULL, NULL, NULL, NULL, 0, 1,
                      &r) == BNFLOSS_OK
          && r.loss == 0 && r.sequences == 0 && r.empty_sequences == 0,
          "no sequences");
    edge("E3");
    CHECK(bnfloss_forward(a.layout, NULL, NULL, 5, 5, NULL, NULL, &r)
          == BNFLOSS_OK && r.tokens == 0, "forward of rows 5..5");
    CHECK(bnfloss_backward(a.layout, NULL, NULL, FIX_N, FIX_N, NULL, NULL,
                           NULL, &r) == BNFLOSS_OK, "backward of rows N..N");
    take(&after, &a);
    same(&before, &after, "calls without rows", w);
}

static void value_optional(const variant *w)
{
    outcome whole, part;
    fix_args a;

    make(&a, w);
    run_and_take(&a, &whole, "whole");
    edge("E4");
    make(&a, w);
    a.grad = NULL;
    CHECK(fix_run(&a) == BNFLOSS_OK, "grad NULL");
    a.grad = w->in_place ? a.logits : fix.grad;
    take(&part, &a);
    memcpy(part.grad, whole.grad, sizeof whole.grad);
    same(&whole, &part, "the loss alone", w);
    edge("E5");
    make(&a, w);
    a.outputs = NULL;
    CHECK(fix_run(&a) == BNFLOSS_OK, "outputs NULL");
    take(&part, &a);
    CHECK(memcmp(part.grad, whole.grad, sizeof whole.grad) == 0
          && part.result.loss == whole.result.loss, "without outputs");
    edge("E21");
    make(&a, w);
    a.inputs->side = NULL;
    run_and_take(&a, &part, "side NULL");
    same(&whole, &part, "sides from the pairing", w);
    edge("E74");
    make(&a, w);
    {
        int64_t y[FIX_N];

        for (int i = 0; i < FIX_N; i++)
            y[i] = fix_label(&a, i);
        memcpy(a.labels, y, sizeof y);
        a.layout->label_type = BNFLOSS_I64;
    }
    run_and_take(&a, &part, "int64 labels");
    same(&whole, &part, "int64 labels", w);
}

static void value_inputs_null(const variant *w)
{
    outcome whole, part;
    fix_args a;

    if (w->kind != BNFLOSS_SFT)
        return;
    edge("E9");
    make(&a, w);
    fix.seq_start[1] = FIX_N;
    a.inputs->sequences = 1;
    a.inputs->pairing = 0;
    a.inputs->side = NULL;
    a.inputs->row_weight = NULL;
    run_and_take(&a, &whole, "one sequence");
    make(&a, w);
    a.inputs = NULL;
    run_and_take(&a, &part, "inputs NULL");
    same(&whole, &part, "inputs NULL", w);
    CHECK(part.result.tokens == FIX_N - 1 && part.result.sequences == 1,
          "one sequence of all rows");
}

/* The stages without a result, and against bnfloss_run(). */
static void value_result_null(const variant *w)
{
    outcome run, staged;
    fix_args a;
    bnfloss_result r;

    make(&a, w);
    run_and_take(&a, &run, "run");
    edge("E11");
    make(&a, w);
    CHECK(bnfloss_forward(a.layout, a.logits, a.labels, 0, FIX_N, a.state,
                          a.outputs, NULL) == BNFLOSS_OK
          && bnfloss_row_outputs(FIX_N, a.state, a.outputs, NULL)
             == BNFLOSS_OK, "forward without a result");
    CHECK(fix_loss_state(&a) == BNFLOSS_OK, "loss");
    memcpy(&r, a.result, sizeof r);
    CHECK(bnfloss_backward(a.layout, a.logits, a.labels, 0, FIX_N, a.state,
                           a.dlogp_out, a.grad, NULL) == BNFLOSS_OK,
          "backward without a result");
    take(&staged, &a);
    memcpy(&staged.result, &r, sizeof r);
    /* the stages do not know that a weight hides a row from forward */
    staged.logp[FIX_WEIGHTLESS] = staged.rest[FIX_WEIGHTLESS] = 0;
    staged.entropy[FIX_WEIGHTLESS] = 0;
    staged.argmax[FIX_WEIGHTLESS] = -1;
    same(&run, &staged, "staged", w);
}

/* ---- Values: shapes ----------------------------------------------------- */

static void value_vocab_one(const variant *w)
{
    outcome o;
    fix_args a;

    edge("E51");
    make(&a, w);
    a.layout->vocab = 1;
    for (int i = 0; i < FIX_N; i++)
        fix_set_label(&a, i, i == FIX_IGNORED ? -1 : 0);
    CHECK(fix_run(&a) == BNFLOSS_OK, "V = 1");
    take(&o, &a);
    for (int i = 0; i < FIX_N; i++)
        CHECK(o.logp[i] == 0 && o.rest[i] == 0 && o.entropy[i] == 0
              && fix_grad(&a, i, 0) == 0, "V = 1, row %d", i);
    CHECK(w->kind == BNFLOSS_DPO ? o.result.loss > 0 : o.result.loss == 0,
          "V = 1: loss %g", o.result.loss);
}

/* One SFT row of V logits: its logp and gradient against plain double. */
static void one_wide_row(int64_t V, const variant *w)
{
    static double z[32800];
    static uint32_t logits[32800], grad[32800];     /* any type */
    static unsigned char work[8192];
    rng r = { (uint64_t)V };
    bnfloss_layout layout = { 0 };
    bnfloss_result result = { 0 };
    bnfloss_spec spec;
    const int32_t y = (int32_t)rng_below(&r, V);
    plain_row p;
    double worst = 0;

    for (int64_t j = 0; j < V; j++) {
        z[j] = (double)(rng_below(&r, 255) - 127) / 16;
        elem_put(w->logits_type, logits, j, (float)z[j]);
    }
    layout.struct_size = sizeof layout;
    layout.logits_type = w->logits_type;
    layout.grad_type = w->grad_type;
    layout.rows = 1;
    layout.vocab = V;
    result.struct_size = sizeof result;
    bnfloss_spec_init(&spec, sizeof spec, BNFLOSS_SFT);
    CHECK(bnfloss_run(&layout, &spec, NULL, logits, &y,
                      w->in_place ? logits : grad, NULL, work, sizeof work, 1,
                      &result) == BNFLOSS_OK, "V = %d", (int)V);
    p = plain_softmax(z, V, y);
    CHECK(fabs(result.loss + p.logp) <= (10 + 2 * 16) * U * fabs(p.logp)
          + 1e-14, "V = %d: loss %.9g, not %.9g", (int)V, result.loss,
          -p.logp);
    for (int64_t j = 0; j < V; j++) {
        const double g = plain_p(&p, z[j]) - (j == y);
        const double e = fabs((double)elem_get(w->grad_type,
                                  w->in_place ? logits : grad, j) - g);
        const double bound = 4 * U + (w->grad_type == BNFLOSS_F32 ? 0
                                      : elem_rounding(w->grad_type, g));

        worst = e / bound > worst ? e / bound : worst;
    }
    CHECK(worst <= 1, "V = %d: gradient off by %.3g bounds (%s %s->%s)",
          (int)V, worst, w->isa, type_name(w->logits_type),
          type_name(w->grad_type));
}

static void value_vocab_any(const variant *w)
{
    static const int32_t around[] = { 255, 256, 257, 1023, 1024, 1025, 2047,
                                      2048, 2049, 4097, 32767, 32768, 32769 };

    if (w->kind != BNFLOSS_SFT)
        return;
    edge("E52");
    for (int64_t V = 2; V <= 130; V++)
        one_wide_row(V, w);
    for (size_t i = 0; i < sizeof around / sizeof *around; i++)
        one_wide_row(around[i], w);
}

static void value_grad_cols(const variant *w)
{
    fix_args a;

    edge("E61");
    for (int staged = 0; staged < 2; staged++) {
        make(&a, w);
        a.layout->grad_cols = FIX_V + 3;
        for (int64_t i = 0; i < FIX_N; i++)
            fix_set_logit(&a, i, FIX_V + 3, 1);
        CHECK(fix_forward(&a) == BNFLOSS_OK, "forward");
        CHECK((staged ? fix_backward(&a) : fix_run(&a)) == BNFLOSS_OK,
              "grad_cols");
        for (int64_t i = 0; i < FIX_N; i++) {
            for (int64_t j = FIX_V; j < FIX_V + 3; j++)
                CHECK(fix_grad(&a, i, j) == 0, "row %d, col %d", (int)i,
                      (int)j);
            /* the next column: the canary, or the logit of old */
            CHECK(fix_grad(&a, i, FIX_V + 3) != 0, "row %d: one too many",
                  (int)i);
        }
    }
}

/* ---- Values: labels and weights ----------------------------------------- */

/* Row i of the batch is hidden from the call in every way that could show. */
static void poison(const fix_args *a, int64_t i)
{
    for (int64_t j = 0; j < FIX_V; j++)
        fix_set_logit(a, i, j, j % 3 ? NAN : -HUGE_VALF);
    fix.ref[i] = NAN;
}

static void value_weights(const variant *w)
{
    outcome plain, other;
    fix_args a;

    make(&a, w);
    run_and_take(&a, &plain, "plain");
    CHECK(row_is(&a, FIX_WEIGHTLESS, 0) && plain.argmax[FIX_WEIGHTLESS] == -1
          && plain.logp[FIX_WEIGHTLESS] == 0
          && plain.dlogp[FIX_WEIGHTLESS] == 0, "a row of weight 0");
    CHECK(plain.result.tokens == FIX_N - 2, "10 tokens count");
    edge("E75");
    edge("E73");
    edge("E137");
    make(&a, w);
    fix.weight[FIX_WEIGHTLESS] = -0.0f;
    fix_set_label(&a, FIX_WEIGHTLESS, FIX_V + 7);
    poison(&a, FIX_WEIGHTLESS);
    fix.ref[FIX_IGNORED] = HUGE_VALF;
    run_and_take(&a, &other, "weight -0");
    same(&plain, &other, "what an unread row holds", w);
    make(&a, w);
    fix.weight[FIX_WEIGHTLESS] = 1;
    fix_set_label(&a, FIX_WEIGHTLESS, -100);
    run_and_take(&a, &other, "label -100");
    same(&plain, &other, "weight 0 or a negative label", w);
    edge("E76");
    make(&a, w);
    for (int i = 0; i < FIX_N; i++)
        fix.weight[i] = -fix.weight[i];
    run_and_take(&a, &other, "negative weights");
    if (w->kind == BNFLOSS_DPO)
        return;                 /* whose loss is not odd in the weights */
    CHECK(other.result.loss == -plain.result.loss, "loss %.17g, not %.17g",
          other.result.loss, -plain.result.loss);
    for (int i = 0; i < FIX_N; i++)
        CHECK(other.dlogp[i] == -plain.dlogp[i], "dlogp of row %d", i);
    CHECK(row_is(&a, 0, 0) == 0, "row 0 counts");
}

static void value_accumulate(const variant *w)
{
    outcome plain;
    fix_args a;
    const uint32_t t = w->grad_type;

    if (w->in_place)
        return;
    make(&a, w);
    run_and_take(&a, &plain, "plain");
    edge("E69");
    edge("E158");
    for (int staged = 0; staged < 2; staged++) {
        make(&a, w);
        a.layout->flags = BNFLOSS_ACCUMULATE;
        for (int64_t i = 0; i < FIX_N * FIX_GRAD_STRIDE; i++)
            elem_put(t, a.grad, i, 0.25f);
        if (staged)
            CHECK(fix_forward(&a) == BNFLOSS_OK
                  && fix_loss_state(&a) == BNFLOSS_OK
                  && bnfloss_backward(a.layout, a.logits, a.labels, 0, FIX_N,
                                      a.state, a.dlogp_out, a.grad, NULL)
                     == BNFLOSS_OK, "staged, accumulating");
        else
            CHECK(fix_run(&a) == BNFLOSS_OK, "accumulating");
        CHECK(row_is(&a, FIX_IGNORED, 0.25f)
              && row_is(&a, FIX_WEIGHTLESS, 0.25f), "ignored rows change");
        for (int64_t i = 0; i < FIX_N; i++)
            for (int64_t j = 0; j < FIX_V; j++) {
                const double old = (double)elem_get(t, plain.grad,
                                                    i * FIX_V + j);
                const double g = old + 0.25;

                CHECK(fabs((double)fix_grad(&a, i, j) - g)
                      <= elem_rounding(t, old) + elem_rounding(t, g),
                      "row %d col %d: %.9g, not %.9g", (int)i, (int)j,
                      (double)fix_grad(&a, i, j), g);
            }
    }
}

/* ---- Values: sequences and pairs ---------------------------------------- */

static void value_halves(const variant *w)
{
    outcome turn, half;
    fix_args a;
    /* where each row of the halved batch comes from */
    static const int64_t start[] = { 0, 3, 5, 8, 12 };
    static const int row[] = { 0, 1, 2, 6, 7, 3, 4, 5, 8, 9, 10, 11 };
    double scale;

    edge("E110");
    make(&a, w);
    run_and_take(&a, &turn, "in turn");
    {
        fix_args b;
        static fix_block from;

        make(&b, w);
        memcpy(&from, &fix, sizeof from);
        for (int i = 0; i < FIX_N; i++) {
            const size_t z = FIX_STRIDE * elem_size(w->logits_type);

            memcpy((char *)fix.logits + (size_t)i * z,
                   (const char *)from.logits + (size_t)row[i] * z, z);
            memcpy((char *)fix.labels + i * 4,
                   (const char *)from.labels + row[i] * 4, 4);
            fix.ref[i] = from.ref[row[i]];
            fix.weight[i] = from.weight[row[i]];
        }
        memcpy(fix.seq_start, start, sizeof start);
        a = b;
    }
    a.inputs->pairing = BNFLOSS_PAIRS_HALVES;
    a.inputs->side = NULL;
    run_and_take(&a, &half, "halves");
    scale = fabs(turn.result.loss) + 1;
    CHECK(fabs(half.result.loss - turn.result.loss) <= 1e-14 * scale,
          "loss %.17g, in turn %.17g", half.result.loss, turn.result.loss);
    for (int i = 0; i < FIX_N; i++)
        CHECK(half.dlogp[i] == turn.dlogp[row[i]], "dlogp of row %d", i);
    if (w->kind == BNFLOSS_DPO)
        CHECK(memcmp(half.seq_loss, turn.seq_loss, 16) == 0, "pair losses");
}

/* Sequences lo .. hi - 1 lose all their tokens. */
static void empty(fix_args *a, int lo, int hi)
{
    for (int64_t i = fix.seq_start[lo]; i < fix.seq_start[hi]; i++)
        fix_set_label(a, i, -1);
}

static void value_empty_sequences(const variant *w)
{
    outcome o;
    fix_args a;
    double sum = 0, n = 0;

    make(&a, w);
    empty(&a, 1, 2);
    run_and_take(&a, &o, "an empty sequence");
    CHECK(o.result.empty_sequences == 1 && o.result.sequences == 3
          && o.result.pairs == 2, "counts");
    CHECK(isfinite(o.result.loss), "loss %g", o.result.loss);
    if (w->kind == BNFLOSS_DPO) {
        edge("E112");
        CHECK(o.seq_loss[0] > 0 && o.seq_logp[1] == 0, "its sum is 0");
        CHECK(fabs(o.seq_loss[0] - log1p(exp(-(double)a.spec->beta
              * (o.row_loss[0] * (double)fix.weight[0]
                 + o.row_loss[1] * (double)fix.weight[1]
                 + o.row_loss[2] * (double)fix.weight[2]))))
              <= 1e-6 * o.seq_loss[0], "a pair with one side");
    } else {
        edge("E111");
        for (int s = 0; s < FIX_S; s++)
            sum += o.seq_loss[s];
        n = w->kind == BNFLOSS_BNF ? 3 : (double)o.result.tokens;
        CHECK(o.seq_loss[1] == 0 && o.seq_logp[1] == 0, "contributes");
        CHECK(fabs(o.result.loss - sum / n) <= 1e-14 * fabs(sum / n),
              "loss %.17g, not %.17g", o.result.loss, sum / n);
    }
    edge("E113");
    make(&a, w);
    empty(&a, 0, 2);
    a.spec->divisor = BNFLOSS_DIV_PAIRS;
    run_and_take(&a, &o, "an empty pair");
    CHECK(o.result.pairs == 1 && o.result.divisor == 1
          && o.result.empty_sequences == 2, "one pair is left");
    CHECK(row_is(&a, 0, 0) && row_is(&a, 5, 0), "the empty pair's gradient");
    if (w->kind == BNFLOSS_DPO)
        CHECK(o.seq_loss[0] == 0 && o.result.loss == o.seq_loss[1],
              "the empty pair's loss");
    if (w->kind != BNFLOSS_SFT)     /* and it is not won by 0 against 0 */
        CHECK(o.result.rewards_accuracies
              == (o.result.rewards_chosen > o.result.rewards_rejected),
              "accuracies %g", o.result.rewards_accuracies);
}

/* ---- Values: logits that are no numbers --------------------------------- */

/* One logit of row 9 (the last sequence) is replaced by x. */
static void not_a_row(const variant *w, int64_t col, float x)
{
    outcome plain, o;
    fix_args a;

    make(&a, w);
    run_and_take(&a, &plain, "plain");
    make(&a, w);
    fix_set_logit(&a, 9, col < 0 ? fix_label(&a, 9) : col, x);
    run_and_take(&a, &o, "not a row");
    CHECK(is_canonical(o.result.loss), "loss %g (%s, col %d, %s, %g)",
          o.result.loss, w->isa, (int)col, kind_name(w->kind), (double)x);
    CHECK(o.result.nan_rows == 1 && o.argmax[9] == -1, "counted");
    CHECK(is_canonical(o.result.entropy), "the mean entropy is %g",
          o.result.entropy);
    CHECK(elem_is_nan(0, o.logp, 9) && elem_is_nan(0, o.rest, 9)
          && elem_is_nan(0, o.entropy, 9) && elem_is_nan(0, o.row_loss, 9),
          "outputs of the row: %g %g %g %g (%s, col %d, %s, %g)",
          (double)o.logp[9], (double)o.rest[9], (double)o.entropy[9],
          (double)o.row_loss[9], w->isa, (int)col, kind_name(w->kind),
          (double)x);
    for (int i = 0; i < FIX_N; i++) {
        const int nan = w->kind == BNFLOSS_DPO
                            ? i >= 6 && i != FIX_WEIGHTLESS : i == 9;

        CHECK(!nan || row_is_nan(&a, i), "row %d is not NaN (%s, col %d, %g)",
              i, w->isa, (int)col, (double)x);
        CHECK(nan || memcmp(o.grad + (size_t)i * FIX_V
                            * elem_size(w->grad_type),
                            plain.grad + (size_t)i * FIX_V
                            * elem_size(w->grad_type),
                            FIX_V * elem_size(w->grad_type)) == 0,
              "row %d has changed", i);
    }
    if (w->kind == BNFLOSS_DPO)
        CHECK(o.result.nan_pairs == 1 && is_canonical(o.seq_loss[1])
              && o.seq_loss[0] == plain.seq_loss[0], "the pair is counted");
}

/* What the stages count of a batch with one NaN row, one that is ignored. */
static void count_stages(const variant *w)
{
    const bnfloss_result *r = &fix.result.s;
    fix_args a;

    batch_with_states(&a, w);
    fix_set_logit(&a, 9, 5, NAN);
    for (int entry = FORWARD; entry <= BACKWARD; entry <<= 1) {
        if (entry == MERGE || entry == STATES || entry == LOGPS)
            continue;
        CHECK(knock((unsigned)entry, &a) == BNFLOSS_OK && r->nan_rows == 1
                  && r->tokens == FIX_N - 1 && r->where == -1,
              "entry point %d: %d tokens, %d NaN", entry, (int)r->tokens,
              (int)r->nan_rows);
    }
    CHECK(fix_merge(&a) == BNFLOSS_OK && r->nan_rows == 1
          && r->tokens == FIX_N - 1, "merge: %d NaN", (int)r->nan_rows);
}

static void value_not_a_row(const variant *w)
{
    fix_args a;
    int64_t y;

    make(&a, w);
    y = fix_label(&a, 9);
    count_stages(w);
    edge("E114");
    not_a_row(w, -1, NAN);
    edge("E116");
    not_a_row(w, -1, HUGE_VALF);
    edge("E115");
    edge("E117");
    for (int64_t col = 0; col < FIX_V; col += 1 + col % 7) {
        if (col == y)
            continue;
        not_a_row(w, col, NAN);
        not_a_row(w, col, -NAN);
        not_a_row(w, col, HUGE_VALF);
    }
    if (w->kind == BNFLOSS_DPO)
        edge("E118");
    edge("E126");
    {
        outcome o;

        make(&a, w);
        for (int64_t j = 0; j < FIX_V; j++)
            fix_set_logit(&a, 9, j, -HUGE_VALF);
        run_and_take(&a, &o, "all masked");
        CHECK(o.result.nan_rows == 1 && is_canonical(o.result.loss)
              && row_is_nan(&a, 9), "a row all -inf");
    }
    edge("E156");         /* row_is_nan: the canonical one, any type */
}

/* ---- Values: masked logits ---------------------------------------------- */

static void value_masked(const variant *w)
{
    fix_args a;

    edge("E120");
    for (int step = 2; step < 40; step += 9) {
        make(&a, w);
        for (int64_t i = 0; i < FIX_N; i++)
            for (int64_t j = i % step; j < FIX_V; j += step)
                if (j != fix_label(&a, i))
                    fix_set_logit(&a, i, j, -HUGE_VALF);
        run_and_check(&a, "masked");
        CHECK(fix.result.s.nan_rows == 0, "masked is not NaN");
    }
    make(&a, w);                /* all but the label: V = 1 */
    for (int64_t j = 0; j < FIX_V; j++)
        if (j != fix_label(&a, 0))
            fix_set_logit(&a, 0, j, -HUGE_VALF);
    CHECK(fix_run(&a) == BNFLOSS_OK && fix.logp[0] == 0 && fix.entropy[0] == 0
          && row_is(&a, 0, 0), "the label alone is left");
}

static void value_masked_smoothed(const variant *w)
{
    const double ls = 0.25;
    fix_args a;
    outcome o;

    if (w->kind != BNFLOSS_SFT)
        return;
    edge("E122");
    make(&a, w);
    a.layout->label_smoothing = (float)ls;
    for (int64_t i = 0; i < FIX_N; i++)
        for (int64_t j = i % 3; j < FIX_V; j += 3)
            if (j != fix_label(&a, i))
                fix_set_logit(&a, i, j, -HUGE_VALF);
    save_rows(&a, saved_rows);
    run_and_take(&a, &o, "masked, smoothed");
    for (int i = 0; i < FIX_N; i++) {
        plain_row p;
        double want;

        if (i == FIX_IGNORED || i == FIX_WEIGHTLESS)
            continue;
        p = plain_softmax(saved_rows[i], FIX_V, fix_label(&a, i));
        want = -(1 - ls) * p.logp + ls * (p.lse - p.mean);
        CHECK(relative((double)o.row_loss[i], want) <= 4 * U,
              "row %d: %.9g, not %.9g", i, (double)o.row_loss[i], want);
        for (int64_t j = 0; j < FIX_V; j++) {
            const double z = saved_rows[i][j], pj = plain_p(&p, z);
            const double g = z == -HUGE_VAL ? 0 : (double)o.dlogp[i]
                * ((1 - ls) * (j == fix_label(&a, i))
                   + ls / (double)p.finite - pj);

            CHECK(fabs((double)fix_grad(&a, i, j) - g)
                  <= 4 * U * fabs((double)o.dlogp[i])
                     + elem_rounding(w->grad_type, g)
                  && (z > -HUGE_VAL || fix_grad(&a, i, j) == 0),
                  "row %d col %d: %.9g, not %.9g", i, (int)j,
                  (double)fix_grad(&a, i, j), g);
        }
    }
}

static void value_masked_label(const variant *w)
{
    outcome o;
    fix_args a;
    int64_t y;

    make(&a, w);
    y = fix_label(&a, 0);
    fix_set_logit(&a, 0, y, -HUGE_VALF);
    save_rows(&a, saved_rows);
    run_and_take(&a, &o, "masked label");
    CHECK(o.result.nan_rows == 0 && o.logp[0] == -HUGE_VALF, "logp");
    for (int i = 0; i < FIX_N; i++)
        CHECK(row_is_finite(&a, i), "row %d is not finite (%s)", i,
              kind_name(w->kind));
    switch (w->kind) {
    case BNFLOSS_SFT:
        edge("E123");
        CHECK(o.result.loss == HUGE_VAL && !row_is(&a, 0, 0), "SFT");
        check_grads(&a, saved_rows, "masked label");
        break;
    case BNFLOSS_BNF:
        edge("E124");
        CHECK(isfinite(o.result.loss) && o.dlogp[0] == 0 && row_is(&a, 0, 0),
              "BNF: loss %g, dlogp %g", o.result.loss, (double)o.dlogp[0]);
        break;
    default:
        edge("E125");
        CHECK(o.result.loss == HUGE_VAL && o.result.nan_pairs == 0
              && o.result.rewards_margins == -HUGE_VAL, "DPO: loss %g",
              o.result.loss);
        CHECK(o.dlogp[0] != 0 && isfinite(o.dlogp[0]), "DPO: dlogp %g",
              (double)o.dlogp[0]);
        check_grads(&a, saved_rows, "masked label");
        break;
    }
}

/* ---- Values: extreme logits --------------------------------------------- */

static void value_extreme(const variant *w)
{
    const float top = w->logits_type == BNFLOSS_F16 ? 65504
                      : w->logits_type == BNFLOSS_BF16
                            ? float_of(0x7E960000) : 1e38f;
    const float tiny = w->logits_type == BNFLOSS_F16 ? 0x1p-24f
                       : w->logits_type == BNFLOSS_BF16 ? 0x1p-133f
                                                        : 0x1p-149f;
    static const char *const names[] = { "huge", "tiny", "equal", "offset" };
    static const char *const ids[] = { "E127", "E128",
                                       "E129", "E130" };
    fix_args a;

    for (int kind = 0; kind < 4; kind++) {
        edge(ids[kind]);
        make(&a, w);
        for (int64_t i = 0; i < FIX_N; i++) {
            for (int64_t j = 0; j < FIX_V; j++) {
                const float z = fix_logit(&a, i, j);
                /* neighbours near 1e4 are 8 apart in f16, 64 in bf16 */
                const float x[] = { z > 4 ? top : z < -4 ? -top : z,
                                    (float)(int)z * tiny, 3.5f,
                                    8192 + 64 * (float)(int)(z / 2) };

                fix_set_logit(&a, i, j, x[kind]);
            }
        }
        run_and_check(&a, names[kind]);
        if (kind == 2)
            CHECK(relative((double)fix.logp[0], -log(FIX_V)) <= U,
                  "equal: %.9g", (double)fix.logp[0]);
    }
}

/* p next to 1, and another token far ahead. */
static void value_sure(const variant *w)
{
    fix_args a;

    edge("E131");
    for (int gap = 20; gap <= 80; gap += 10) {
        double want;

        make(&a, w);
        for (int64_t j = 0; j < FIX_V; j++)
            fix_set_logit(&a, 0, j, j == fix_label(&a, 0) ? 0 : -(float)gap);
        run_and_check(&a, "sure");
        want = -log1p((FIX_V - 1) * exp(-gap));
        CHECK(relative((double)fix.logp[0], want) <= 12 * U,
              "gap %d: logp %.9g, not %.9g", gap, (double)fix.logp[0], want);
    }
    if (w->kind != BNFLOSS_BNF)
        return;
    edge("E132");
    for (int gap = 15; gap <= 50; gap += 5) {
        plain_row p;
        double f, rest, want;
        const int64_t y = 5;

        make(&a, w);
        fix_set_label(&a, 0, y);
        fix.ref[0] = -1;
        for (int64_t j = 0; j < FIX_V; j++)
            fix_set_logit(&a, 0, j, j == 9 ? (float)gap
                                           : (float)(j % 8) / 4);
        save_rows(&a, saved_rows);
        CHECK(fix_run(&a) == BNFLOSS_OK, "led");
        p = plain_softmax(saved_rows[0], FIX_V, y);
        /* sum over t != y of p_t log p_t, the leader's term by its parts */
        rest = 0;
        want = 0;
        for (int64_t j = 0; j < FIX_V; j++)
            want += j == 9 ? 0 : exp(saved_rows[0][j] - gap);
        for (int64_t j = 0; j < FIX_V; j++)
            if (j != y)
                rest += j == 9 ? -log1p(want) / (1 + want)
                    : exp(saved_rows[0][j] - p.lse) * (saved_rows[0][j]
                                                       - p.lse);
        f = exp(p.logp + 1);
        want = -(f * p.logp + (1 - f) * rest / (1 - p.p));
        CHECK(relative((double)fix.row_loss[0], want)
              <= (10 + 2 * gap) * U, "led by %d: %.9g, not %.9g", gap,
              (double)fix.row_loss[0], want);
    }
}

/* ---- Values: log-probabilities ------------------------------------------ */

static void value_references(const variant *w)
{
    outcome plain, o;
    fix_args a;

    if (w->kind == BNFLOSS_SFT)
        return;
    make(&a, w);
    fix.ref[1] = 0;
    run_and_take(&a, &plain, "a reference of 0");
    CHECK(plain.result.clamped_logps == 0 && plain.result.zero_refs == 0,
          "nothing to count");
    edge("E135");
    make(&a, w);
    fix.ref[1] = 0x1p-6f;
    run_and_take(&a, &o, "a reference of 2^-6");
    CHECK(o.result.clamped_logps == 1, "counted");
    o.result.clamped_logps = 0;
    same(&plain, &o, "a reference of 2^-6", w);
    if (w->kind == BNFLOSS_BNF) {
        edge("E134");
        make(&a, w);
        for (int i = 0; i < FIX_N; i++)
            fix.ref[i] = -HUGE_VALF;
        run_and_take(&a, &o, "q = 0");
        CHECK(o.result.zero_refs == FIX_N - 2
              && o.result.bnf_coefficient == 1
              && o.result.bnf_full_share == 1 && isfinite(o.result.loss),
              "q = 0: g = 1");
        for (int i = 0; i < FIX_N; i++)
            CHECK(o.row_loss[i] == -o.logp[i], "q = 0: f = 1, row %d", i);
        return;
    }
    edge("E145");
    make(&a, w);
    fix.ref[6] = fix.ref[8] = -HUGE_VALF;
    run_and_take(&a, &o, "both references -inf");
    CHECK(o.result.nan_pairs == 1 && o.result.zero_refs == 2
          && is_canonical(o.result.loss) && row_is_nan(&a, 6)
          && row_is_nan(&a, 8) && !row_is_nan(&a, 0), "inf - inf");
    edge("E144");
    for (int sign = -1; sign < 2; sign += 2) {
        make(&a, w);
        a.spec->beta = 1e6f;
        fix.ref[0] = sign < 0 ? 0 : -1000;
        fix.ref[3] = sign < 0 ? -1000 : 0;
        run_and_take(&a, &o, "a huge margin");
        CHECK(o.result.nan_pairs == 0 && isfinite(o.result.loss)
              && (sign > 0 ? o.seq_loss[0] == 0 : o.seq_loss[0] > 1e6),
              "margin: loss %g", o.seq_loss[0]);
        CHECK(isfinite(o.dlogp[0]) && (sign > 0) == (o.dlogp[0] == 0),
              "margin: dlogp %g", (double)o.dlogp[0]);
    }
}

static void value_logps(const variant *w)
{
    outcome plain, o;
    fix_args a;

    make(&a, w);
    a.logp_in[9] = 0;
    CHECK(fix_loss_logp(&a) == BNFLOSS_OK, "the other entry point");
    take(&plain, &a);
    edge("E138");
    make(&a, w);
    a.logp_in[9] = 0x1p-6f;
    CHECK(fix_loss_logp(&a) == BNFLOSS_OK, "logp of 2^-6");
    take(&o, &a);
    CHECK(o.result.clamped_logps == 1, "counted");
    o.result.clamped_logps = 0;
    same(&plain, &o, "logp of 2^-6", w);
    edge("E140");
    make(&a, w);
    a.logp_in[9] = NAN;
    CHECK(fix_loss_logp(&a) == BNFLOSS_OK && fix.result.s.nan_rows == 1
          && is_canonical(fix.result.s.loss) && elem_is_nan(0, fix.dlogp, 9)
          && fix.dlogp[0] == plain.dlogp[0], "logp NaN");
    if (w->kind != BNFLOSS_BNF)
        return;
    edge("E143");
    make(&a, w);
    a.logp_in[9] = 0;
    a.rest_in = NULL;
    CHECK(fix_loss_logp(&a) == BNFLOSS_OK && is_canonical(fix.result.s.loss)
          && memcmp(fix.dlogp, plain.dlogp, sizeof plain.dlogp) == 0,
          "rest NULL");
}

static void value_p_is_q(const variant *w)
{
    fix_args a;

    if (w->kind != BNFLOSS_BNF)
        return;
    edge("E141");
    for (int k = -1; k <= 1; k++) {
        double want = 0, removed;

        make(&a, w);
        for (int i = 0; i < FIX_N; i++)     /* away from 0 for k = -1 */
            a.logp_in[i] = float_of(bits_of(fix.ref[i]) - (uint32_t)k);
        CHECK(fix_loss_logp(&a) == BNFLOSS_OK, "p next to q");
        for (int i = 0; i < FIX_N; i++) {   /* log g = (l-r) / (1-q) */
            const double l = (double)a.logp_in[i], r = (double)fix.ref[i];

            want += fix.weight[i] == 0 ? 0 : (r - l) / -expm1(r) / (FIX_N - 1);
        }
        removed = 1 - fix.result.s.bnf_coefficient;
        CHECK(k < 0 ? relative(removed, want) < 1e-5 : removed == 0,
              "ulp %d: g = 1 - %g, not %g", k, removed, want);
        CHECK(fix.result.s.bnf_full_share == (k < 0 ? 0 : 1), "ulp %d", k);
    }
}

static void value_bad_dlogp(const variant *w)
{
    fix_args a;
    static const float bad[] = { NAN, HUGE_VALF, -HUGE_VALF };

    for (int k = 0; k < 3; k++) {
        make(&a, w);
        CHECK(fix_forward(&a) == BNFLOSS_OK, "forward");
        edge("E146");
        fix.dlogp_in[2] = k ? 0.0f : -0.0f;
        for (int64_t j = 0; j < FIX_V; j++)
            fix_set_logit(&a, 2, j, NAN);
        edge("E147");
        fix.dlogp_in[3] = bad[k];
        CHECK(fix_backward(&a) == BNFLOSS_OK, "backward");
        CHECK(row_is(&a, 2, 0), "dlogp 0");
        CHECK(row_is_nan(&a, 3) && !row_is_nan(&a, 5), "dlogp %g",
              (double)bad[k]);
    }
}

/* ---- Values: gradients of few bits -------------------------------------- */

/* x rounded to the type, to nearest even, by exact arithmetic in double. */
static double rounded(uint32_t type, double x)
{
    int e;
    double unit;

    if (x == 0 || type == BNFLOSS_F32)
        return x;
    frexp(x, &e);
    e -= type == BNFLOSS_BF16 ? 8 : 11;
    if (type == BNFLOSS_F16 && e < -24)
        e = -24;
    unit = ldexp(1, e);
    x = nearbyint(x / unit) * unit;
    return type == BNFLOSS_F16 && fabs(x) >= 65520 ? copysign(HUGE_VAL, x)
                                                   : x;
}

static void value_grad_types(const variant *w)
{
    static const float scales[] = { 1, 0x1p-12f, 3e4f, 1e9f };
    static float wide[FIX_N * FIX_V];
    variant f32 = *w;
    fix_args a;
    int64_t infinite = 0;

    if (w->grad_type == BNFLOSS_F32)
        return;
    edge("E154");
    edge("E155");
    f32.grad_type = BNFLOSS_F32;
    f32.in_place = 0;
    for (int k = 0; k < 4; k++) {
        for (int narrow = 0; narrow < 2; narrow++) {
            make(&a, narrow ? w : &f32);
            CHECK(fix_forward(&a) == BNFLOSS_OK, "forward");
            for (int i = 0; i < FIX_N; i++)
                fix.dlogp_in[i] *= scales[k];
            CHECK(fix_backward(&a) == BNFLOSS_OK, "backward");
            for (int64_t i = 0; i < FIX_N; i++)
                for (int64_t j = 0; j < FIX_V; j++) {
                    float *g = wide + i * FIX_V + j;
                    const double x = (double)fix_grad(&a, i, j);

                    if (!narrow) {
                        *g = (float)x;
                        continue;
                    }
                    infinite += isinf(x) != 0;
                    CHECK(x == rounded(w->grad_type, (double)*g),
                          "row %d col %d: %.9g of %.9g (%s %s)", (int)i,
                          (int)j, x, (double)*g, type_name(w->grad_type),
                          w->isa);
                }
        }
    }
    CHECK((infinite > 0) == (w->grad_type == BNFLOSS_F16),
          "overflow: %d infinite (%s %s->%s%s)", (int)infinite, w->isa,
          type_name(w->logits_type), type_name(w->grad_type),
          w->in_place ? " in place" : "");
}

/* Halfway between two numbers of the type, and at its ends: the label is
 * masked and one token has all the mass, so that the gradient is dlogp. */
static void value_grad_ties(const variant *w)
{
    static const float bf16[] = { 0x1.01p0f, 0x1.03p0f, 0x1.010002p0f,
                                  0x1.00fffep0f, 0x1.01p-120f, 0x1.03p-120f,
                                  0x1.fefffep127f, 0x1.ffp127f };
    static const float f16[] = { 0x1.002p0f, 0x1.006p0f, 0x1.002002p0f,
                                 0x1p-25f, 0x1.8p-24f, 0x1.000002p-25f,
                                 65519.996f, 65520 };
    const float *tie = w->grad_type == BNFLOSS_BF16 ? bf16 : f16;
    fix_args a;

    if (w->grad_type == BNFLOSS_F32)
        return;
    for (int negative = 0; negative < 2; negative++) {
        make(&a, w);
        for (int64_t i = 0; i < 8; i++) {
            fix_set_label(&a, i, 3);
            fix.dlogp_in[i] = negative ? -tie[i] : tie[i];
            for (int64_t j = 0; j < FIX_V; j++)
                fix_set_logit(&a, i, j, j == 20 + i ? 0 : -HUGE_VALF);
        }
        CHECK(fix_forward(&a) == BNFLOSS_OK
              && fix_backward(&a) == BNFLOSS_OK, "ties");
        for (int64_t i = 0; i < 8; i++) {
            const double d = (double)fix.dlogp_in[i];
            double want = rounded(w->grad_type, d);

            if (fabs(want) > 0x1.fep127)
                want = copysign(HUGE_VAL, want);    /* bf16's overflow */
            CHECK((double)fix_grad(&a, i, 3) == want, "label: %a of %a (%s)",
                  (double)fix_grad(&a, i, 3), d, w->isa);
            CHECK((double)fix_grad(&a, i, 20 + i) == -want,
                  "other: %a of %a (%s)", (double)fix_grad(&a, i, 20 + i),
                  -d, w->isa);
        }
    }
}

static void value_loss_scale(const variant *w)
{
    outcome plain, o;
    fix_args a;

    edge("E157");
    make(&a, w);
    run_and_take(&a, &plain, "plain");
    make(&a, w);
    a.spec->loss_scale = 0x1p15;
    run_and_take(&a, &o, "scaled");
    CHECK(o.result.loss == plain.result.loss, "the loss is scaled");
    for (int i = 0; i < FIX_N; i++)
        CHECK(o.dlogp[i] == 0x1p15f * plain.dlogp[i], "row %d", i);
    make(&a, w);                /* beyond float before the divisor, not after */
    a.spec->loss_scale = 1e40;
    a.spec->divisor = BNFLOSS_DIV_GIVEN;
    a.spec->divisor_value = 1e40;
    run_and_take(&a, &o, "scaled by 1e40");
    CHECK(isfinite(o.dlogp[0]) && o.dlogp[0] != 0, "not in double");
}

/* ---- Traps that other libraries fell into ------------------------------- */

/* The mean over no tokens: NaN in pytorch#70348. */
static void trap_mean_over_zero_tokens(const variant *w)
{
    fix_args a;

    edge("E78");
    for (int norm = 1; norm <= 3; norm++) {
        for (int divisor = 1; divisor <= 4; divisor++) {
            make(&a, w);
            if (w->kind != BNFLOSS_DPO)
                a.spec->token_norm = (uint32_t)norm;
            a.spec->divisor = (uint32_t)divisor;
            empty(&a, 0, FIX_S);
            CHECK(fix_run(&a) == BNFLOSS_OK && fix.result.s.loss == 0
                  && fix.result.s.tokens == 0 && fix.result.s.pairs == 0
                  && fix.result.s.empty_sequences == FIX_S,
                  "loss %g of no tokens", fix.result.s.loss);
            for (int i = 0; i < FIX_N; i++)
                CHECK(row_is(&a, i, 0) && fix.dlogp[i] == 0, "row %d", i);
        }
    }
}

/* Smoothing counted ignored rows in pytorch#73205. */
static void trap_smoothing_counts_ignored_rows(const variant *w)
{
    outcome o, poisoned;
    fix_args a;

    if (w->kind != BNFLOSS_SFT)
        return;
    edge("E166");
    make(&a, w);
    a.layout->label_smoothing = 0.3f;
    a.layout->z_loss = 0.01f;
    run_and_take(&a, &o, "smoothed");
    make(&a, w);
    a.layout->label_smoothing = 0.3f;
    a.layout->z_loss = 0.01f;
    poison(&a, FIX_IGNORED);
    poison(&a, FIX_WEIGHTLESS);
    run_and_take(&a, &poisoned, "smoothed");
    same(&o, &poisoned, "ignored rows under smoothing", w);
    CHECK(o.row_loss[FIX_IGNORED] == 0 && row_is(&a, FIX_IGNORED, 0)
          && o.result.divisor == FIX_N - 2, "ignored rows count");
}

/* Padding entered the sum in verl#2656; here it is NaN, and canaries in the
 * gradient's padding must live. */
static void trap_padding_columns(const variant *w)
{
    outcome plain, o;
    fix_args a;
    unsigned char canary[8];
    const size_t size = elem_size(w->grad_type);

    edge("E58");
    make(&a, w);
    run_and_take(&a, &plain, "plain");
    make(&a, w);
    for (int64_t i = 0; i < FIX_N; i++)
        for (int64_t j = FIX_V; j < FIX_STRIDE; j++)
            fix_set_logit(&a, i, j, j % 2 ? NAN : HUGE_VALF);
    memset(canary, 0xA5, sizeof canary);
    for (int64_t i = 0; i < FIX_N; i++)
        for (int64_t j = FIX_V; j < fix_grad_stride(&a); j++)
            memcpy((char *)a.grad + (size_t)(i * fix_grad_stride(&a) + j)
                   * size, canary, size);
    if (w->in_place)                /* the same columns: NaN again */
        for (int64_t i = 0; i < FIX_N; i++)
            for (int64_t j = FIX_V; j < FIX_STRIDE; j++)
                fix_set_logit(&a, i, j, NAN);
    run_and_take(&a, &o, "padded");
    same(&plain, &o, "NaN in the padding", w);
    for (int64_t i = 0; i < FIX_N; i++)
        for (int64_t j = FIX_V; j < fix_grad_stride(&a); j++)
            CHECK(w->in_place ? isnan(fix_logit(&a, i, j))
                  : memcmp((char *)a.grad + (size_t)(i * fix_grad_stride(&a)
                           + j) * size, canary, size) == 0,
                  "row %d col %d: padding written", (int)i, (int)j);
}

/* Softcap turned masked columns into -softcap in unsloth#10616. */
static void trap_softcap_after_masking(const variant *w)
{
    fix_args a;

    edge("E121");
    for (int k = 0; k < 3; k++) {
        make(&a, w);
        a.layout->softcap = k ? 4.0f : 0;
        a.layout->logit_scale = k < 2 ? 0.5f : 0;
        for (int64_t i = 0; i < FIX_N; i++)
            for (int64_t j = 0; j < FIX_V; j++)
                if (j % 4 != 1 && j != fix_label(&a, i))
                    fix_set_logit(&a, i, j, -HUGE_VALF);
        save_rows(&a, saved_rows);
        CHECK(fix_run(&a) == BNFLOSS_OK, "masked and mapped");
        for (int i = 0; i < FIX_N; i++) {
            plain_row p;

            if (i == FIX_IGNORED || i == FIX_WEIGHTLESS)
                continue;
            p = plain_softmax(saved_rows[i], FIX_V, fix_label(&a, i));
            CHECK(fabs((double)fix.logp[i] - p.logp)
                  <= (10 + 32) * U * fabs(p.logp), "row %d: %.9g, not %.9g",
                  i, (double)fix.logp[i], p.logp);
            for (int64_t j = 0; j < FIX_V; j++)
                CHECK(saved_rows[i][j] > -HUGE_VAL || fix_grad(&a, i, j) == 0,
                      "row %d col %d is masked", i, (int)j);
        }
    }
}

/* In-place gradients silently wrong when reused: Liger-Kernel#343. Here the
 * bits are those of a gradient apart, and a second call's too. */
static void trap_in_place_reused(const variant *w)
{
    outcome separate, place;
    variant v = *w;
    fix_args a;

    if (!w->in_place)
        return;
    edge("E148");
    v.in_place = 0;
    for (int again = 0; again < 2; again++) {
        make(&a, &v);
        run_and_take(&a, &separate, "apart");
        make(&a, w);
        run_and_take(&a, &place, "in place");
        same(&separate, &place, "in place", w);
    }
}

/* The mean of means, trl#2175: parts of a batch, each divided by what the
 * whole is divided by, add up to the whole. */
static void trap_mean_of_means(const variant *w)
{
    outcome whole, part[2];
    fix_args a;
    double sum = 0;

    edge("E164");
    make(&a, w);
    run_and_take(&a, &whole, "whole");
    for (int h = 0; h < 2; h++) {       /* sequences 2h and 2h + 1 */
        const int64_t from = h ? 6 : 0, n = 6;
        const size_t z = (size_t)from * elem_size(w->logits_type);

        make(&a, w);
        a.spec->divisor = BNFLOSS_DIV_GIVEN;
        a.spec->divisor_value = whole.result.divisor;
        a.layout->rows = n;
        a.inputs->sequences = 2;
        a.inputs->seq_start = fix.seq_start + 2 * h;
        if (h)
            for (int s = 2; s <= FIX_S; s++)
                fix.seq_start[s] -= from;
        a.inputs->ref_logp = fix.ref + from;
        a.inputs->row_weight = fix.weight + from;
        a.labels = (char *)a.labels + from * 4;
        a.logits = (char *)a.logits + z * FIX_STRIDE;
        if (w->in_place)
            a.grad = a.logits;
        CHECK(fix_run(&a) == BNFLOSS_OK, "part %d", h);
        memcpy(part[h].dlogp, fix.dlogp, sizeof fix.dlogp - 4);
        sum += fix.result.s.loss;
        CHECK(memcmp(part[h].dlogp, whole.dlogp + from, (size_t)n * 4) == 0,
              "dlogp of part %d (%s)", h, kind_name(w->kind));
    }
    CHECK(fabs(sum - whole.result.loss) <= 4e-16 * (fabs(sum) + 1),
          "parts %.17g, whole %.17g", sum, whole.result.loss);
}

/* Labels outside a shard gave plausible losses in ml-cross-entropy#59: here
 * no loss can be read before the shard with the label has been merged. */
static void trap_out_of_shard_labels(const variant *w)
{
    fix_args a;

    edge("E159");
    make(&a, w);
    a.layout->vocab_begin = FIX_V;          /* labels are below it */
    a.layout->vocab_total = 2 * FIX_V;
    CHECK(bnfloss_forward(a.layout, a.logits, a.labels, 0, FIX_N, a.state,
                          NULL, NULL) == BNFLOSS_OK, "the other shard");
    CHECK(fix_outputs(&a) == BNFLOSS_E_STATE && fix.result.s.where == 0,
          "outputs of half a row");
    CHECK(fix_loss_state(&a) == BNFLOSS_E_STATE, "loss of half a row");
    CHECK(fix_backward(&a) == BNFLOSS_E_STATE, "gradient of half a row");
}

/* -inf logits gave NaN even in ignored rows: flash-attention#1930. */
static void trap_nan_in_ignored_rows(const variant *w)
{
    outcome plain, o;
    fix_args a;

    edge("E119");
    make(&a, w);
    run_and_take(&a, &plain, "plain");
    make(&a, w);
    poison(&a, FIX_IGNORED);
    poison(&a, FIX_WEIGHTLESS);
    run_and_take(&a, &o, "poisoned");
    same(&plain, &o, "NaN in ignored rows", w);
    CHECK(row_is(&a, FIX_IGNORED, 0) && row_is(&a, FIX_WEIGHTLESS, 0),
          "their gradient");
}

/* log1p(-exp(x)) near 0, trl#1473: g = odds(p) / odds(q) with p and q next
 * to 1 is (1-q)/(1-p), as exact as the logps that it comes from. */
static void trap_log1mexp_near_zero(const variant *w)
{
    fix_args a;

    if (w->kind != BNFLOSS_BNF)
        return;
    edge("E142");
    for (int e = 4; e <= 120; e += 4) {
        const float r = -(float)ldexp(1, -e), l = -(float)ldexp(1.5, -e);
        double want = expm1((double)r) / expm1((double)l)
                      * exp((double)l - (double)r);

        make(&a, w);
        for (int i = 0; i < FIX_N; i++) {
            a.logp_in[i] = l;
            fix.ref[i] = r;
        }
        CHECK(fix_loss_logp(&a) == BNFLOSS_OK
              && relative(fix.result.s.bnf_coefficient, want) < 1e-13,
              "2^-%d: g %.17g, not %.17g", e, fix.result.s.bnf_coefficient,
              want);
    }
}

/* Two copies of the loss maths drifted apart in trl#7062. There is one here;
 * each option must reach every entry point, and change what it is meant to. */
typedef struct option {
    const char *name;
    unsigned kinds;
    uint32_t norm, divisor, flags;
    float beta, flip, eps;
    double value, scale;
} option;

static const option options[] = {
    { "plain", ALL, 0, 0, 0, 0, 0, 0, 0, 0 },
    { "DFT", SFT, 0, 0, BNFLOSS_DFT, 0, 0, 0, 0, 0 },
    { "length", SFT, BNFLOSS_NORM_LENGTH, 0, 0, 0, 0, 0, 0, 0 },
    { "no norm", BNF, BNFLOSS_NORM_NONE, 0, 0, 0, 0, 0, 0, 0 },
    { "shortest", SFT | BNF, BNFLOSS_NORM_SHORTEST, 0, 0, 0, 0, 0, 0, 0 },
    { "pairs", SFT | BNF, 0, BNFLOSS_DIV_PAIRS, 0, 0, 0, 0, 0, 0 },
    { "tokens", BNF | DPO, 0, BNFLOSS_DIV_TOKENS, 0, 0, 0, 0, 0, 0 },
    { "sequences", SFT | DPO, 0, BNFLOSS_DIV_SEQUENCES, 0, 0, 0, 0, 0, 0 },
    { "given", ALL, 0, BNFLOSS_DIV_GIVEN, 0, 0, 0, 0, 7, 0 },
    { "loss scale", ALL, 0, 0, 0, 0, 0, 0, 0, 3 },
    { "beta", DPO, 0, 0, 0, 0.7f, 0, 0, 0, 0 },
    { "flip", DPO, 0, 0, 0, 0, 0.3f, 0, 0, 0 },
    { "eps", BNF, 0, 0, 0, 0, 0, 1e-2f, 0, 0 },
};

static void set_option(bnfloss_spec *s, const option *o)
{
    s->flags |= o->flags;
    s->token_norm = o->norm ? o->norm : s->token_norm;
    s->divisor = o->divisor ? o->divisor : s->divisor;
    s->beta = o->beta > 0 ? o->beta : s->beta;
    s->flip_prob = o->flip;
    s->eps = o->eps;
    s->divisor_value = o->value > 0 ? o->value : 1;
    s->loss_scale = o->scale > 0 ? o->scale : 1;
}

static void trap_two_copies_drifted(const variant *w)
{
    const unsigned kind = w->kind == BNFLOSS_SFT ? SFT
                          : w->kind == BNFLOSS_BNF ? BNF : DPO;
    double plain_loss = 0, plain_dlogp = 0;

    edge("E165");
    for (size_t k = 0; k < sizeof options / sizeof *options; k++) {
        const option *op = options + k;
        bnfloss_result run, states, logps;
        float dlogp[FIX_N];
        fix_args a;

        if (!(op->kinds & kind))
            continue;
        make(&a, w);
        set_option(a.spec, op);
        a.grad = NULL;
        CHECK(fix_run(&a) == BNFLOSS_OK, "%s: run", op->name);
        memcpy(&run, a.result, sizeof run);
        memcpy(dlogp, fix.dlogp, sizeof dlogp);
        memcpy(a.logp_in, fix.logp, FIX_N * 4);
        memcpy(a.rest_in, fix.rest, FIX_N * 4);
        CHECK(fix_forward(&a) == BNFLOSS_OK && fix_loss_state(&a)
              == BNFLOSS_OK, "%s: states", op->name);
        memcpy(&states, a.result, sizeof states);
        CHECK(memcmp(&run, &states, sizeof run) == 0
              && memcmp(dlogp, a.dlogp_out, sizeof dlogp) == 0,
              "%s: states are not run", op->name);
        fix.weight[FIX_IGNORED] = 0;        /* no labels at this entry point */
        CHECK(fix_loss_logp(&a) == BNFLOSS_OK, "%s: logps", op->name);
        memcpy(&logps, a.result, sizeof logps);
        CHECK(relative(logps.loss, run.loss) <= 1e-5
              && relative((double)a.dlogp_out[0], (double)dlogp[0]) <= 1e-5
              && logps.divisor == run.divisor, "%s: logp entry: %.9g, %.9g",
              op->name, logps.loss, run.loss);
        if (k == 0) {
            plain_loss = run.loss;
            plain_dlogp = (double)dlogp[0];
        }
        CHECK(k == 0 || (run.loss != plain_loss) + 2 * ((double)dlogp[0]
              != plain_dlogp) == (op->scale > 0 ? 2 : 3)
              || (op->norm == BNFLOSS_NORM_SHORTEST),
              "%s changes nothing (%s)", op->name, kind_name(w->kind));
    }
}

/* A masked row that still gets softmax as its gradient: ggml. */
static void trap_masked_row_gets_softmax(const variant *w)
{
    fix_args a;

    edge("E68");
    for (int staged = 0; staged < 2; staged++) {
        make(&a, w);
        poison(&a, FIX_IGNORED);
        fix.dlogp_in[FIX_IGNORED] = 1;
        CHECK(fix_forward(&a) == BNFLOSS_OK && fix.result.s.tokens
              == FIX_N - 1, "forward");
        CHECK((staged ? fix_backward(&a) : fix_run(&a)) == BNFLOSS_OK,
              "backward");
        CHECK(row_is(&a, FIX_IGNORED, 0) && fix.logp[FIX_IGNORED] == 0
              && fix.argmax[FIX_IGNORED] == -1, "the masked row");
        CHECK(staged || (fix.result.s.tokens == FIX_N - 2
                         && fix.dlogp[FIX_IGNORED] == 0), "is counted");
    }
}

/* A running maximum that starts at -10000: llm.c. */
static void trap_running_max_minus_10000(const variant *w)
{
    fix_args a;

    edge("E133");
    make(&a, w);
    for (int64_t i = 0; i < FIX_N; i++)
        for (int64_t j = 0; j < FIX_V; j++)
            fix_set_logit(&a, i, j, -16384 - 128 * (float)(int)
                          (fix_logit(&a, i, j) / 2));
    run_and_check(&a, "below -10000");
}

#if defined(HAVE_MMAP) && UINTPTR_MAX > 0xFFFFFFFF
/* Three rows 2^31 + 64 elements apart, apart in address space only. */
static void wide_rows(const variant *w, char *space, char *separate)
{
    const int64_t stride = (INT64_C(1) << 31) + 64;
    const size_t z = elem_size(w->logits_type), g = elem_size(w->grad_type);
    bnfloss_result near, far;
    static float near_grad[3][FIX_V];
    fix_args a;

    make(&a, w);
    a.layout->rows = 3;
    a.inputs->sequences = 2;
    a.inputs->pairing = BNFLOSS_PAIRS_ADJACENT;
    fix.seq_start[1] = 1;
    fix.seq_start[2] = 3;
    for (int64_t i = 0; i < 3; i++) {       /* before it is overwritten */
        char *row = space + (size_t)i * (size_t)stride * z;

        CHECK(mprotect((void *)((uintptr_t)row & ~(uintptr_t)4095), 8192,
                       PROT_READ | PROT_WRITE) == 0, "mprotect");
        memcpy(row, (char *)a.logits + (size_t)i * FIX_STRIDE * z, FIX_V * z);
    }
    CHECK(fix_run(&a) == BNFLOSS_OK, "near");
    memcpy(&near, a.result, sizeof near);
    for (int64_t i = 0; i < 3; i++)
        for (int64_t j = 0; j < FIX_V; j++)
            near_grad[i][j] = fix_grad(&a, i, j);
    a.logits = space;
    a.grad = w->in_place ? space : separate;
    a.layout->logits_stride = a.layout->grad_stride = stride;
    for (int64_t i = 0; i < 3 && !w->in_place; i++)
        CHECK(mprotect((void *)((uintptr_t)(separate
                                            + (size_t)i * (size_t)stride * g)
                                & ~(uintptr_t)4095),
                       8192, PROT_READ | PROT_WRITE)
                  == 0,
              "mprotect");
    CHECK(fix_run(&a) == BNFLOSS_OK, "far");
    memcpy(&far, a.result, sizeof far);
    CHECK(memcmp(&near, &far, sizeof near) == 0, "loss %g, near %g",
          far.loss, near.loss);
    for (int64_t i = 0; i < 3; i++)
        for (int64_t j = 0; j < FIX_V; j++)
            CHECK(elem_get(w->grad_type, a.grad, i * stride + j)
                  == near_grad[i][j], "row %d col %d", (int)i, (int)j);
}
#endif

/* row * stride in 32 bits: Liger-Kernel#803, pytorch#111484. */
static void trap_int32_stride(const variant *w)
{
#if defined(HAVE_MMAP) && UINTPTR_MAX > 0xFFFFFFFF
    const size_t size = (size_t)3 * 4 << 31;
    char *space, *separate;

    edge("E59");
    space = (char *)mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS
                         | MAP_NORESERVE, -1, 0);
    separate = (char *)mmap(NULL, size, PROT_NONE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                            0);
    if (space == (char *)MAP_FAILED || separate == (char *)MAP_FAILED) {
        static int told;

        if (!told++)
            test_skip("strides of 2^31: no address space for them");
    } else {
        wide_rows(w, space, separate);
    }
    if (space != (char *)MAP_FAILED)
        munmap(space, size);
    if (separate != (char *)MAP_FAILED)
        munmap(separate, size);
#else
    static int told;

    (void)w;
    edge("E59");
    if (!told++)
        test_skip("strides of 2^31: they need mmap and 64 bits");
#endif
}

/* ---- EDGES.md, which must be what is tested ----------------------------- */

#ifdef BNFLOSS_TEST_DIR
static char text[1 << 17];

static int read_text(const char *file)
{
    char path[1024];
    FILE *f;
    size_t n;

    snprintf(path, sizeof path, "%s/%s", BNFLOSS_TEST_DIR, file);
    f = fopen(path, "rb");
    if (!f)
        return 0;
    n = fread(text, 1, sizeof text - 1, f);
    text[n] = 0;
    fclose(f);
    return n < sizeof text - 1;
}

/* Whether the text has this id as a word. */
static int has_id(const char *id)
{
    const size_t n = strlen(id);

    for (const char *p = text; (p = strstr(p, id)) != NULL; p++)
        if (!(p[n] >= '0' && p[n] <= '9')
            && (p == text || p[-1] == '"' || p[-1] == ' ' || p[-1] == '('))
            return 1;
    return 0;
}

/* One "| E12 | ... | V | ... | test |": the id, whether it is undefined, and
 * its test. */
static int read_line(const char *line, char *id, char *verdict, char *test)
{
    const char *cell[6];
    int n = 0;

    for (const char *p = line; *p && *p != '\n' && n < 6; p++)
        if (*p == '|')
            cell[n++] = p + 1;
    return n == 6 && sscanf(cell[0], " E%7[0-9]", id + 1) == 1
           && sscanf(cell[2], " %15s", verdict) == 1
           && sscanf(cell[4], " %63s", test) == 1;
}

static void check_ids(void)
{
    static char names[1000][64];
    char id[12] = "E", verdict[16], test[64], file[80];
    int lines = 0, last = 0;

    if (!CHECK(read_text("EDGES.md"), "EDGES.md cannot be read"))
        return;
    for (const char *p = text; (p = strstr(p, "\n| E")) != NULL; p++) {
        if (!CHECK(read_line(p + 1, id, verdict, test), "%.60s", p + 1))
            continue;
        CHECK(atoi(id + 1) == last + 1 && last < 999, "%s after E%d", id,
              last);
        last = atoi(id + 1);
        lines++;
        if (strcmp(verdict, "UB") == 0)
            CHECK(!cited[last] && strcmp(test, "none") == 0,
                  "%s is undefined and cited", id);
        else if (strncmp(test, "test_", 5) == 0
                 && strcmp(test, "test_edges") != 0)
            snprintf(names[last], sizeof names[last], "%s", test);
        else
            CHECK(cited[last], "%s is not cited", id);
    }
    CHECK(lines > 100, "only %d lines", lines);
    for (int i = 1; i < 1000; i++) {
        CHECK(!cited[i] || i <= last, "E%d has no line", i);
        if (!names[i][0])
            continue;
        snprintf(id, sizeof id, "E%d", i);
        snprintf(file, sizeof file, "%.60s.c", names[i]);
        CHECK(read_text(file) && has_id(id), "%s is not cited in %s", id,
              file);
    }
}
#else
static void check_ids(void)
{
    test_skip("the ids of EDGES.md: built without BNFLOSS_TEST_DIR");
}
#endif

/* ---- All of it ---------------------------------------------------------- */

static void values(const variant *w)
{
    value_nothing(w);
    value_optional(w);
    value_inputs_null(w);
    value_result_null(w);
    value_vocab_one(w);
    value_vocab_any(w);
    value_grad_cols(w);
    value_weights(w);
    value_accumulate(w);
    value_halves(w);
    value_empty_sequences(w);
    value_not_a_row(w);
    value_masked(w);
    value_masked_smoothed(w);
    value_masked_label(w);
    value_extreme(w);
    value_sure(w);
    value_references(w);
    value_logps(w);
    value_p_is_q(w);
    value_bad_dlogp(w);
    value_grad_types(w);
    value_grad_ties(w);
    value_loss_scale(w);
}

static void traps(const variant *w)
{
    trap_mean_over_zero_tokens(w);
    trap_smoothing_counts_ignored_rows(w);
    trap_padding_columns(w);
    trap_softcap_after_masking(w);
    trap_in_place_reused(w);
    trap_mean_of_means(w);
    trap_out_of_shard_labels(w);
    trap_nan_in_ignored_rows(w);
    trap_log1mexp_near_zero(w);
    trap_two_copies_drifted(w);
    trap_masked_row_gets_softmax(w);
    trap_running_max_minus_10000(w);
    trap_int32_stride(w);
}

int main(void)
{
    static const uint32_t kinds[] = { BNFLOSS_SFT, BNFLOSS_BNF, BNFLOSS_DPO };
    variant w;

    FOR_EACH_ISA(isa) {
        for (int n = 0; n < 3 * 3 * 3 * 2; n++) {
            w.isa = isa;
            w.kind = kinds[n % 3];
            w.logits_type = (uint32_t)(n / 3 % 3);
            w.grad_type = (uint32_t)(n / 9 % 3);
            w.in_place = n / 27;
            if (w.in_place && w.logits_type != w.grad_type)
                continue;
            errors(&w);
            if (!w.in_place) {
                overlaps(&w, 0);
                overlaps(&w, 1);
                touching(&w);
                two_entries(&w);
            }
            values(&w);
            traps(&w);
        }
    }
    errors_elsewhere();
    check_ids();
    return test_end();
}
