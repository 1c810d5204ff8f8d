/* Bad input: a sound call, one defect, the status and the index that EDGES.md
 * promises, and the whole block of memory as it was. Then buffers that
 * overlap, buffers that only touch, and calls of a single row.
 *
 * SPDX-License-Identifier: MIT */
#include "fixture.h"
#include "edges.h"

#include <float.h>

/* ---- One defect each ----------------------------------------------------- */

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
DEFECT(state_null_one, a->state = NULL; a->rows = 1)
DEFECT(other_null_one, a->other = NULL; a->rows = 1)
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
    DEFECT(name##_size_4097, a->name->struct_size = 4097)                     \
    DEFECT(name##_size_4104, a->name->struct_size = 4104)
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
DEFECT(rows_40, a->rows = INT64_C(1) << 40; a->state = NULL;
       a->logp_in = a->rest_in = NULL; a->inputs = NULL)
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
DEFECT(sequences_41, a->inputs->sequences = (INT64_C(1) << 40) + 1)
DEFECT(sequences_40, a->inputs->sequences = INT64_C(1) << 40;
       a->inputs->seq_start = NULL)
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
DEFECT(softcap_above, a->layout->softcap = 0x1.000002p16f)
DEFECT(inner_above, a->layout->softcap = 1e-30f;
       a->layout->logit_scale = 1e30f)
DEFECT(inner_below, a->layout->softcap = 100;
       a->layout->logit_scale = 1e-37f)
DEFECT(inner_denormal, a->layout->softcap = 65536;
       a->layout->logit_scale = 0x1.8p-111f)
DEFECT(softcap_below, a->layout->softcap = 0x1p-128f)
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
DEFECT(seq_falls_last, fix.seq_start[3] = FIX_N + 1)
DEFECT(seq_last_short, fix.seq_start[4] = 11)
DEFECT(seq_last_long, fix.seq_start[4] = 13)
DEFECT(seq_none, a->inputs->sequences = 0)
DEFECT(side_0, fix.side[1] = 0)
DEFECT(side_2, fix.side[1] = 2)
DEFECT(side_minus_128, fix.side[1] = -128)
DEFECT(first_side_0, fix.side[0] = 0; a->inputs->pairing = 0)
DEFECT(only_side_0, fix.side[3] = 0; a->inputs->pairing = 0)
DEFECT(side_adjacent, fix.side[2] = -1)
DEFECT(side_halves, a->inputs->pairing = BNFLOSS_PAIRS_HALVES)
DEFECT(pairs_none, a->inputs->pairing = 0)
DEFECT(pairs_none_divisor, a->inputs->pairing = 0;
       a->spec->divisor = BNFLOSS_DIV_PAIRS)
DEFECT(pairs_odd, a->inputs->sequences = 3; fix.seq_start[3] = FIX_N)

DEFECT(ref_above, fix.ref[3] = 0x1.000002p-6f)
DEFECT(ref_first, fix.ref[0] = 1)
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
        { "E36", entries, ALL, BNFLOSS_E_STRUCT, -1, name##_size_4104 },      \
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
    { "E14", OUTPUTS, ALL, BNFLOSS_E_NULL, -1, state_null_one },
    { "E15", MERGE, ALL, BNFLOSS_E_NULL, -1, state_null_one },
    { "E15", MERGE, ALL, BNFLOSS_E_NULL, -1, other_null_one },
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
    { "E36", EVERY, ALL, BNFLOSS_E_STRUCT, ANY, result_size_4104 },
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
    /* as many as there may be */
    { "E55", MERGE | OUTPUTS | STATES | LOGPS, SFT, BNFLOSS_E_NULL, -1,
      rows_40 },
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
    { "E64", LOSS, ALL, BNFLOSS_E_SHAPE, -1, sequences_41 },
    { "E64", LOSS, ALL, BNFLOSS_E_NULL, -1, sequences_40 },
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
    { "E81", LAYOUT, ALL, BNFLOSS_E_VALUE, -1, inner_denormal },
    { "E80", LAYOUT, ALL, BNFLOSS_E_VALUE, -1, softcap_below },
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
    { "E102", LOSS, ALL, BNFLOSS_E_SEQ, 4, seq_falls_last },
    { "E103", LOSS, ALL, BNFLOSS_E_SEQ, 4, seq_last_short },
    { "E103", LOSS, ALL, BNFLOSS_E_SEQ, 4, seq_last_long },
    { "E104", LOSS, ALL, BNFLOSS_E_SEQ, 0, seq_none },
    { "E105", LOSS, ALL, BNFLOSS_E_SIDE, 1, side_0 },
    { "E105", LOSS, ALL, BNFLOSS_E_SIDE, 1, side_2 },
    { "E105", LOSS, ALL, BNFLOSS_E_SIDE, 1, side_minus_128 },
    { "E105", LOSS, BNF, BNFLOSS_E_SIDE, 0, first_side_0 },
    { "E105", LOSS, BNF, BNFLOSS_E_SIDE, 3, only_side_0 },
    { "E106", LOSS, ALL, BNFLOSS_E_SIDE, 2, side_adjacent },
    { "E107", LOSS, ALL, BNFLOSS_E_SIDE, 1, side_halves },
    { "E108", LOSS, DPO, BNFLOSS_E_PAIRING, ANY, pairs_none },
    { "E108", LOSS, ALL, BNFLOSS_E_PAIRING, ANY, pairs_none_divisor },
    { "E109", LOSS, ALL, BNFLOSS_E_PAIRING, 1, pairs_odd },

    { "E136", LOSS, REF, BNFLOSS_E_REF_LOGP, 3, ref_above },
    { "E136", LOSS, REF, BNFLOSS_E_REF_LOGP, 0, ref_first },
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

static bnfloss_status call_entry(unsigned entry, const fix_args *a)
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
    status = call_entry(entry, &a);
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
        CHECK(call_entry(entry, &a) == BNFLOSS_OK, "sound call at entry %u",
              entry);
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
/* ---- Every pair of buffers ----------------------------------------------- */

typedef struct buffer {
    const char *name;
    void **at;                  /* the pointer that the call will use */
    size_t size, elem;
    int written;
} buffer;

/* What bnfloss_run(), or the loss stage by log-probabilities, is called with
 * on the batch at hand. */
typedef struct pointers {
    void *logits, *labels, *grad, *work, *logp, *rest, *dlogp;
    bnfloss_result *result;
    uint64_t work_bytes;
    int loss;
} pointers;

static bnfloss_status call(const pointers *p)
{
    if (p->loss)
        return bnfloss_loss(fam.spec, &fam.in, FAM_N, NULL, (float *)p->logp,
                            (float *)p->rest, (float *)p->dlogp, &fam.out,
                            p->work, p->work_bytes, p->result);
    return bnfloss_run(&fam.layout, fam.spec, &fam.in, p->logits,
                       (int32_t *)p->labels, p->grad, &fam.out, p->work,
                       p->work_bytes, 1, p->result);
}

static void make_pointers(pointers *p, int loss)
{
    p->logits = fam.logits;
    p->labels = fam.label;
    p->grad = fam.grad;
    p->logp = fam.logp_in;
    p->rest = fam.rest_in;
    p->dlogp = fam.dlogp_out;
    p->work = fam.work;
    p->result = &fam.result;
    p->loss = loss;
    CHECK(bnfloss_workspace(loss ? NULL : &fam.layout, fam.spec, FAM_N, FAM_S,
                            &p->work_bytes) == BNFLOSS_OK, "workspace");
}

static int list_buffers(buffer *b, pointers *p)
{
    const size_t z = elem_size(fam.layout.logits_type);
    const size_t g = elem_size(fam.layout.grad_type);
    const size_t n = FAM_N * 4, s = FAM_S * 4, pairs = FAM_P * 4;
    int k = 0;

    for (int i = 0; i < FAM_ARRAYS; i++) {
        const fam_array *a = fam_arrays + i;

        if (*fam_pointer(a))
            b[k++] = (buffer){ a->name, fam_pointer(a), a->size * a->count,
                               a->size, 0 };
    }
#define BUFFER(p, size, elem, written)                                        \
    if (p)                                                                    \
    b[k++] = (buffer){ #p, (void **)(void *)&(p), size, elem, written }
    BUFFER(fam.out.dlogp, n, 4, 1);
    BUFFER(fam.out.row_loss, n, 4, 1);
    BUFFER(fam.out.seq_logp, 2 * s, 8, 1);
    BUFFER(fam.out.seq_ratio, 2 * s, 8, 1);
    BUFFER(fam.out.seq_loss,
           2 * (is_paired(fam.spec[0].kind) ? pairs : s), 8, 1);
    BUFFER(fam.out.distance_grad, s, 4, 1);
    BUFFER(fam.out.spec_loss, 8 * (size_t)(1 + fam.spec[0].also), 8, 1);
    BUFFER(p->result, sizeof *p->result, 8, 1);
    BUFFER(p->work, (size_t)p->work_bytes, 1, 1);
    if (p->loss) {
        BUFFER(p->dlogp, n, 4, 1);
        BUFFER(p->logp, n, 4, 0);
        BUFFER(p->rest, n, 4, 0);
    } else {
        BUFFER(p->logits, ((FAM_N - 1) * FAM_STRIDE + FAM_V) * z, z, 0);
        BUFFER(p->labels, n, 4, 0);
        BUFFER(p->grad, ((FAM_N - 1) * FAM_GRAD_STRIDE + FAM_V) * g, g, 1);
        BUFFER(fam.out.logp, n, 4, 1);
        BUFFER(fam.out.rest, n, 4, 1);
        BUFFER(fam.out.entropy, n, 4, 1);
        BUFFER(fam.out.log_square, n, 4, 1);
        BUFFER(fam.out.argmax, n, 4, 1);
        BUFFER(fam.out.row_scale, n, 4, 1);
    }
#undef BUFFER
    return k;
}

/* A batch with all arrays that the loss may have. */
static void make_full(uint32_t kind, int loss)
{
    fam_make(kind, 7, 1);
    fam.layout.logits_type = kind % 3;
    fam.layout.grad_type = kind / 3 % 3;
    fam.out.log_square = fam.log_square;
    if (loss && flags_taken(kind) & BNFLOSS_WPO) {
        fam.spec[0].flags = BNFLOSS_WPO;
        fam.in.log_square = fam.square;
    }
    if (!loss) {
        fam.spec[0].flags |= BNFLOSS_DEFER_SCALE;
        fam.out.row_scale = fam.row_scale;
    } else {
        fam.spec[0].also = 2;
    }
    fam_save();
}

/* The pointer of each buffer in turn is moved to the last element of each
 * other one. */
static void overlaps(uint32_t kind, int loss)
{
    static fam_block before;
    buffer b[40];
    pointers p;
    int n;

    edge("E152");
    edge("E212");
    make_full(kind, loss);
    make_pointers(&p, loss);
    CHECK(call(&p) == BNFLOSS_OK, "%s: sound", bnfloss_kind_name(kind));
    fam_restore();
    n = list_buffers(b, &p);
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < n; j++) {
            const uintptr_t last = (uintptr_t)*b[j].at + b[j].size - 1;
            const pointers saved = p;
            bnfloss_status got;

            /* a result that has moved has lost its size */
            if (i == j || (!b[i].written && !b[j].written)
                || b[i].at == (void **)(void *)&p.result)
                continue;
            *b[i].at = (void *)(last - last % b[i].elem);
            memcpy(&before, &fam, sizeof fam);
            got = call(&p);
            before.result.where = fam.result.where;
            CHECK(memcmp(&before, &fam, sizeof fam) == 0, "%s: %s on %s: "
                  "something was written", bnfloss_kind_name(kind), b[i].name,
                  b[j].name);
            /* an input that was moved may be wrong before it overlaps */
            CHECK(got == BNFLOSS_E_OVERLAP
                  || (!b[i].written && got != BNFLOSS_OK),
                  "%s: %s on %s: status %d", bnfloss_kind_name(kind),
                  b[i].name, b[j].name, (int)got);
            p = saved;
            fam_restore();
        }
    }
    /* behind this one lies another input, so an output all within it */
    if (fam.in.log_square) {
        fam.out.seq_loss = (double *)(void *)(fam.square
                               + ((uintptr_t)fam.square % 8 ? 1 : 0));
        CHECK(call(&p) == BNFLOSS_E_OVERLAP, "%s: seq_loss in log_square",
              bnfloss_kind_name(kind));
        fam_restore();
    }
}

/* Outputs may touch. */
static void touching(const variant *w)
{
    static float room[4 * FIX_N];
    fix_args a;

    edge("E153");
    fix_make(&a, w->kind, w->logits_type, w->grad_type, 0);
    a.outputs->logp = room;
    a.outputs->rest = room + FIX_N;
    a.outputs->entropy = room + 2 * FIX_N;
    a.outputs->dlogp = room + 3 * FIX_N;
    CHECK(fix_run(&a) == BNFLOSS_OK, "outputs that touch");
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

/* Buffers that touch do not overlap, and those that are only read may be the
 * same. */
static void neighbours(void)
{
    enum { N = 4, V = 9 };
    struct {
        int64_t start[N + 1];
        double seq_loss[N];
        float weight[N];            /* and the reference */
        float grad[N * V];          /* whose row 1 ends in dlogp */
    } b = { { 0, 1, 2, 3, 4 }, { 0 }, { -1, -2, -3, -1 }, { 0 } };
    float *const dlogp = b.grad + 2 * V - N;
    fix_args a;

    edge("E153");
    fix_make(&a, BNFLOSS_BNF, 0, 0, 0);
    a.layout->rows = N;
    a.layout->vocab = a.layout->grad_stride = V;
    for (int i = 0; i < N; i++)
        fix_set_label(&a, i, i);
    a.inputs->seq_start = b.start;
    a.inputs->ref_logp = a.inputs->row_weight = b.weight;
    a.outputs->seq_loss = b.seq_loss;
    a.grad = b.grad;
    CHECK(fix_run(&a) == BNFLOSS_OK, "neighbours");
    a.from = 2;
    a.to = N;
    a.dlogp_in = dlogp;
    CHECK(bnfloss_forward(a.layout, a.logits, a.labels, 0, N, a.state, NULL,
                          NULL) == BNFLOSS_OK
          && fix_backward(&a) == BNFLOSS_OK,
          "dlogp, and behind it the last rows' gradient");
}

/* A result that lies in a buffer of the call. */
static void results_in_buffers(void)
{
    bnfloss_result r;
    fix_args a;

    edge("E152");
    EMPTY(r);
    fix_make(&a, BNFLOSS_SFT, 0, 0, 0);
    CHECK(fix_forward(&a) == BNFLOSS_OK, "forward");
    a.result = (bnfloss_result *)(void *)fix.work;
    memcpy(a.result, &r, sizeof r);
    a.outputs->logp = (float *)(void *)(fix.work + 4);
    CHECK(fix_forward(&a) == BNFLOSS_E_OVERLAP, "in an output of forward");
    CHECK(fix_outputs(&a) == BNFLOSS_E_OVERLAP, "in an output of a row");
    a.grad = fix.work + 4;
    a.to = 1;
    CHECK(fix_backward(&a) == BNFLOSS_E_OVERLAP, "in the gradient");
    a.outputs->logp = (float *)(void *)(a.state + 2) - 1;
    a.rows = 2;
    CHECK(fix_outputs(&a) == BNFLOSS_E_OVERLAP,
          "the first row's output in the last state");
    a.result = (bnfloss_result *)(void *)((double *)(void *)a.state + 2);
    memcpy(a.result, &r, sizeof r);
    a.rows = 1;
    CHECK(fix_merge(&a) == BNFLOSS_E_OVERLAP, "in a state that is merged");
}

/* Calls for the rows from the third on look at the buffers of these rows. */
static void later_rows(void)
{
    enum { N = 4, FROM = 2, V = 9, STRIDE = 200 };
    static double room[N * STRIDE];
    float *const z = (float *)(void *)room;
    /* states FROM and on begin with the logits of row FROM */
    bnfloss_row *const at = (bnfloss_row *)(void *)((char *)room
        + FROM * STRIDE * sizeof *z - FROM * sizeof(bnfloss_row));
    fix_args a;

    edge("E152");
    fix_make(&a, BNFLOSS_SFT, 0, 0, 0);
    a.layout->rows = a.to = N;
    a.layout->vocab = V;
    a.layout->logits_stride = a.layout->grad_stride = STRIDE;
    a.layout->flags = 0;
    for (int i = 0; i < N; i++)
        fix_set_label(&a, i, i);
    a.logits = a.grad = room;
    a.outputs = NULL;
    a.from = FROM;
    CHECK(fix_forward(&a) == BNFLOSS_OK, "later rows");
    a.dlogp_in = z + FROM * STRIDE - FROM;
    CHECK(fix_backward(&a) == BNFLOSS_E_OVERLAP,
          "dlogp in the gradients of its rows");
    a.dlogp_in = fix.dlogp_in;
    a.grad = (float *)(void *)(a.state + N) - FROM * V;
    a.layout->grad_stride = V;
    CHECK(fix_backward(&a) == BNFLOSS_OK, "gradients behind the states");
    a.layout->grad_stride = STRIDE;
    a.grad = room;
    a.state = at;
    CHECK(fix_backward(&a) == BNFLOSS_E_OVERLAP,
          "states in the gradients of their rows");
    CHECK(fix_forward(&a) == BNFLOSS_E_OVERLAP,
          "states over the logits of their rows");
    a.state = at + FROM;
    a.from = 0;
    a.to = 1;
    CHECK(fix_forward(&a) == BNFLOSS_OK, "states over those of other rows");
    a.inputs = NULL;
    a.labels = z + 1;
    memset(room, 0, sizeof room);
    CHECK(fix_run(&a) == BNFLOSS_E_OVERLAP, "labels in a gradient in place");
}

/* ---- A single row -------------------------------------------------------- */

static bnfloss_status one_row(uint32_t kind, uint32_t flags,
                              const bnfloss_inputs *in)
{
    static const float logp = -1;
    double work[64];
    bnfloss_result r;
    bnfloss_spec s;
    float dlogp;

    EMPTY(r);
    bnfloss_spec_init(&s, sizeof s, kind);
    s.flags = flags;
    return bnfloss_loss(&s, in, 1, NULL, &logp, NULL, &dlogp, NULL, work,
                        sizeof work, &r);
}

/* What one row lacks is missed as well as what many lack. */
static void single_rows(void)
{
    static const int64_t start[] = { 0, 1, 1 };
    static const float ref = -2, far = -FLT_MAX;
    static const int8_t side = 1;
    bnfloss_inputs pair, in;
    bnfloss_shifts shifts;
    double work[64];

    EMPTY(shifts);
    EMPTY(in);
    in.sequences = 2;
    CHECK(one_row(BNFLOSS_SFT, 0, &in) == BNFLOSS_E_NULL,
          "two sequences that begin nowhere");
    in.side = &side;
    in.sequences = 1;
    CHECK(one_row(BNFLOSS_SFT, BNFLOSS_CHOSEN_ONLY, &in) == BNFLOSS_E_NULL,
          "a sequence that has a side and begins nowhere");
    in.sequences = 0;
    in.ref_logp = &ref;
    CHECK(one_row(BNFLOSS_BNF, 0, &in) == BNFLOSS_E_NULL, "no sequence");
    in.seq_start = start;
    CHECK(one_row(BNFLOSS_BNF, 0, &in) == BNFLOSS_E_SEQ, "a row of none");
    in.sequences = 1;
    CHECK(one_row(BNFLOSS_DPO, 0, &in) == BNFLOSS_E_PAIRING, "no pair");
    CHECK(bnfloss_measure_shifts(&in, 1, NULL, fix.state, work, sizeof work,
                                 &shifts) == BNFLOSS_E_NULL, "no state");
    in.pairing = BNFLOSS_PAIRS_ADJACENT;
    in.sequences = 2;
    in.side = NULL;
    pair = in;
    CHECK(one_row(BNFLOSS_DPO, 0, &in) == BNFLOSS_OK, "a pair of one row");
    in.ref_logp = NULL;
    CHECK(one_row(BNFLOSS_DPO, 0, &in) == BNFLOSS_E_NULL, "no reference");
    in = pair;
    in.mismatches = 1;
    CHECK(one_row(BNFLOSS_DPO, 0, &in) == BNFLOSS_E_OPTION, "mismatches");
    in = pair;
    CHECK(one_row(BNFLOSS_DPO, BNFLOSS_WPO, &in) == BNFLOSS_E_NULL,
          "no log_square");
    in.log_square = &far;
    CHECK(one_row(BNFLOSS_DPO, BNFLOSS_WPO, &in) == BNFLOSS_OK,
          "the least log_square");
    CHECK(one_row(BNFLOSS_IREPO, 0, &pair) == BNFLOSS_E_NULL,
          "no soft label");
}

/* ---- Entry points without a batch ---------------------------------------- */

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

/* ---- The deferred scale -------------------------------------------------- */

static void deferred(uint32_t kind)
{
    fam.spec[0].flags = BNFLOSS_DEFER_SCALE;
    edge("E191");
    fam_refused("the loss stage, deferred", FAM_STATES | FAM_LOGPS,
                BNFLOSS_E_OPTION, -1);
    edge("E193");
    fam.spec[0].flags = BNFLOSS_DEFER_SCALE;
    fam_refused("deferred without row_scale", FAM_RUN, BNFLOSS_E_NULL, -1);
    edge("E194");
    fam.out.row_scale = fam.row_scale;
    fam_refused("row_scale of no use", FAM_ALL, BNFLOSS_E_OPTION, -1);
    edge("E247");
    fam.spec[0].flags = BNFLOSS_DEFER_SCALE;
    fam.out.row_scale = fam.row_scale;
    fam.layout.flags |= BNFLOSS_ACCUMULATE;
    fam_refused("rows that lack a scale, accumulated", FAM_RUN,
                BNFLOSS_E_OPTION, -1);
    edge("E192");
    if (!is_paired(kind))
        return;
    fam.spec[0].flags = BNFLOSS_DEFER_SCALE;
    fam.spec[0].sft_weight = 0x1p-149f;
    fam.spec[0].ld_alpha = kind == BNFLOSS_BMC ? 0 : 0.5f;
    fam.out.row_scale = fam.row_scale;
    fam_refused("two scales a row", FAM_RUN, BNFLOSS_E_OPTION, -1);
}

/* ---- Inputs -------------------------------------------------------------- */

static float ulp_after(float x, int up)
{
    return nextafterf(x, up ? HUGE_VALF : -HUGE_VALF);
}

/* Whether a loss reads array x, from seq_weight on. */
static int reads(uint32_t kind, int x)
{
    switch (x) {
    case FAM_SEQ_WEIGHT:  return !is_paired(kind);
    case FAM_PAIR_WEIGHT: return shape_of(kind) == BN_BY_PAIR;
    case FAM_PAIR_SCALE:
    case FAM_PAIR_MARGIN: return has_margin(kind);
    case FAM_MISMATCHED:  return has_trait(kind, BN_KL);
    default:              return has_trait(kind, fam_arrays[x].needed);
    }
}

static void given_inputs(uint32_t kind)
{
    for (int x = FAM_SEQ_WEIGHT; x < FAM_ARRAYS; x++) {
        if (has_trait(kind, fam_arrays[x].needed)) {
            edge("E202");
            fam_give(fam_arrays + x, NULL);
            fam_refused(fam_arrays[x].name, FAM_ALL, BNFLOSS_E_NULL, -1);
        }
        fam_give(fam_arrays + x, fam_arrays[x].numbers);
        edge("E204");
        if (reads(kind, x))
            fam_taken(fam_arrays[x].name, FAM_ALL);
        else
            fam_refused(fam_arrays[x].name, FAM_ALL, BNFLOSS_E_OPTION, -1);
        edge("E206");
        for (size_t off = 1; off < fam_arrays[x].size && off < FIX_ALIGN_NUMBER;
             off++) {
            fam_give(fam_arrays + x, (char *)fam_arrays[x].numbers + off);
            fam_refused(fam_arrays[x].name, FAM_ALL, BNFLOSS_E_ALIGN, -1);
        }
    }
}

static void log_squares(uint32_t kind)
{
    static const float bad[] = { NAN, HUGE_VALF, -HUGE_VALF,
                                 0x1.000002p-6f };
    static fam_block with;

    if (!(flags_taken(kind) & BNFLOSS_WPO))
        return;
    fam.spec[0].flags = BNFLOSS_WPO;
    edge("E203");
    fam_refused("no log_square", FAM_LOGPS, BNFLOSS_E_NULL, -1);
    fam.spec[0].flags = BNFLOSS_WPO;
    fam_taken("squares of its own", FAM_RUN | FAM_STATES);
    fam.spec[0].flags = BNFLOSS_WPO;
    fam.state[8].flags &= ~(uint32_t)BNFLOSS_ROW_SQUARES;
    fam_refused("states without squares", FAM_STATES, BNFLOSS_E_STATE, 8);
    edge("E205");
    fam.spec[0].flags = BNFLOSS_WPO;
    fam.in.log_square = fam.square;
    memcpy(&with, &fam, sizeof fam);
    fam_refused("log_square beside logits", FAM_RUN | FAM_STATES,
                BNFLOSS_E_OPTION, -1);
    edge("E208");
    for (int k = 0; k < 4; k++) {
        memcpy(&fam, &with, sizeof fam);
        fam.square[9] = bad[k];
        fam.square[FAM_WEIGHTLESS] = NAN;
        fam_refused("log_square", FAM_LOGPS, BNFLOSS_E_INPUT, 9);
    }
    memcpy(&fam, &with, sizeof fam);
    fam.square[9] = 0x1p-6f;
    fam.square[3] = -30;
    fam.square[FAM_WEIGHTLESS] = NAN;
    fam_taken("log_square at its ends", FAM_LOGPS);
}

/* One bad number in an array, and the good ones at its ends. */
static void bad_number(int x, int64_t i, float low, float high, int open)
{
    float *p = (float *)fam_arrays[x].numbers;
    const float bad[] = { NAN, HUGE_VALF, -HUGE_VALF,
                          open ? low : ulp_after(low, 0),
                          open ? high : ulp_after(high, 1) };
    const float fine[] = { open ? ulp_after(low, 1) : low,
                           open ? ulp_after(high, 0) : high };

    edge("E207");
    for (int k = 0; k < 5; k++) {
        fam_give(fam_arrays + x, fam_arrays[x].numbers);
        p[i] = bad[k];
        fam_refused(fam_arrays[x].name, FAM_ALL, BNFLOSS_E_INPUT, i);
    }
    for (int k = 0; k < 2; k++) {
        fam_give(fam_arrays + x, fam_arrays[x].numbers);
        p[i] = fine[k];
        fam_taken(fam_arrays[x].name, FAM_ALL);
    }
}

static void bad_numbers(uint32_t kind)
{
    static const double bad[] = { NAN, HUGE_VAL, -HUGE_VAL };

    for (int x = FAM_SEQ_WEIGHT; x < FAM_ARRAYS; x++) {
        const int soft = fam_arrays[x].needed == BN_SOFT;
        const int open = x == FAM_PAIR_SCALE || soft;
        const float high = soft                  ? 1
                           : x == FAM_PAIR_SCALE ? HUGE_VALF
                                                 : FLT_MAX;

        if (fam_arrays[x].size == sizeof(float) && reads(kind, x)) {
            bad_number(x, 0, open ? 0 : -FLT_MAX, high, open);
            bad_number(x, (int64_t)fam_arrays[x].count - 1,
                       open ? 0 : -FLT_MAX, high, open);
        }
    }
    for (int k = 0; k < 3 && reads(kind, FAM_MISMATCHED); k++) {
        edge("E207");
        fam_give(fam_arrays + FAM_MISMATCHED, fam.mismatched);
        fam.mismatched[2] = bad[k];
        fam_refused("mismatched", FAM_ALL, BNFLOSS_E_INPUT, 2);
    }
    for (int k = 0; k < 4; k++) {
        const double x = k < 3 ? bad[k] : -0x1p-1000;
        const int kto = kind == BNFLOSS_KTO, bco = kind == BNFLOSS_BCO;

        edge("E209");
        fam.in.kl = x;
        fam_refused("kl", FAM_ALL, kto ? BNFLOSS_E_VALUE : BNFLOSS_E_OPTION,
                    -1);
        fam.in.shift_count = x;
        fam_refused("shift_count", FAM_ALL, bco ? BNFLOSS_E_VALUE
                                                : BNFLOSS_E_OPTION, -1);
        fam.in.shift_mean = x;
        if (bco && k == 3)
            fam_taken("a small shift_mean", FAM_ALL);
        else
            fam_refused("shift_mean", FAM_ALL, bco ? BNFLOSS_E_VALUE
                                                   : BNFLOSS_E_OPTION, -1);
    }
    if (kind == BNFLOSS_BCO) {
        fam.in.shift_mean = -1e200;
        fam.in.shift_count = 1e200;
        fam_refused("the sum of all shifts", FAM_ALL, BNFLOSS_E_VALUE, -1);
    }
}

static void mismatches(void)
{
    fam_make_sound(BNFLOSS_KTO, 1);
    edge("E210");
    fam.in.kl = 0.5;
    fam_refused("mismatched and kl", FAM_ALL, BNFLOSS_E_OPTION, -1);
    edge("E211");
    fam.in.mismatches = -1;
    fam_refused("mismatches -1", FAM_ALL, BNFLOSS_E_SHAPE, -1);
    fam.in.mismatches = 0;
    fam_refused("mismatches 0", FAM_ALL, BNFLOSS_E_SHAPE, -1);
    fam.in.mismatches = (INT64_C(1) << 40) + 1;
    fam_refused("mismatches 2^40 + 1", FAM_ALL, BNFLOSS_E_SHAPE, -1);
    fam.in.mismatched = NULL;
    fam_refused("mismatched NULL", FAM_ALL, BNFLOSS_E_NULL, -1);
    fam.mismatched[0] = HUGE_VAL;           /* the first of as many as may be */
    fam.in.mismatches = INT64_C(1) << 40;
    fam.out.seq_loss = NULL;
    CHECK(fam_logps() == BNFLOSS_E_INPUT && fam.result.where == 0,
          "2^40 mismatches");
    fam_restore();
    memcpy(fam.state, fam.mismatched, sizeof fam.mismatched);
    fam.in.mismatched = (double *)(void *)fam.state;
    fam.out.seq_loss = (double *)(void *)fam.state + FAM_M;
    CHECK(fam_logps() == BNFLOSS_OK, "an output behind mismatched");
}

static void sides(uint32_t kind)
{
    edge("E214");
    if (is_paired(kind)) {
        fam.in.pairing = 0;
        fam.in.pair_weight = fam.in.pair_scale = fam.in.pair_margin = NULL;
        fam_refused("no pairing", FAM_ALL, BNFLOSS_E_PAIRING, -1);
    }
    fam.in.side = NULL;
    if (has_trait(kind, BN_SIDES)) {
        edge("E213");
        fam_refused("no sides", FAM_ALL, BNFLOSS_E_NULL, -1);
        fam.in.side = NULL;
        fam.in.pairing = BNFLOSS_PAIRS_HALVES;
    }
    fam_taken("sides of the pairing", FAM_ALL);
    if (kind == BNFLOSS_SFT) {
        fam.in.side = NULL;
        fam.spec[0].flags = BNFLOSS_CHOSEN_ONLY;
        fam_refused("CHOSEN_ONLY without sides", FAM_ALL, BNFLOSS_E_NULL, -1);
    }
    edge("E228");
    if (has_trait(kind, BN_REFERENCE)) {
        fam.in.ref_logp = NULL;
        fam_refused("no reference", FAM_ALL, BNFLOSS_E_NULL, -1);
        fam.ref[3] = NAN;
        fam_refused("a NaN reference", FAM_ALL, BNFLOSS_E_REF_LOGP, 3);
        if (!(flags_taken(kind) & BNFLOSS_REFERENCE_FREE))
            return;
        fam.in.ref_logp = NULL;
        fam.spec[0].flags = BNFLOSS_REFERENCE_FREE;
        fam_taken("reference-free", FAM_ALL);
        fam.spec[0].flags = BNFLOSS_REFERENCE_FREE;
    }
    fam.ref[3] = NAN;
    fam_taken("a NaN that is not read", FAM_ALL);
}

/* ---- States without a sum ------------------------------------------------ */

static void row_sums(void)
{
    edge("E234");
    fam_make_sound(BNFLOSS_SFT, 0);
    for (int k = 0; k < 3; k++) {
        static fam_block before;
        const int64_t at = k == 2 ? 0 : 8;

        for (int i = 0; i < FAM_N; i++)
            fam.other[i].flags &= ~(uint32_t)BNFLOSS_ROW_LABEL;
        fam.other[at].flags ^= k == 0 ? BNFLOSS_ROW_MEAN
                               : k == 1 ? BNFLOSS_ROW_SQUARES
                                        : BNFLOSS_ROW_ENTROPY;
        memcpy(&before, &fam, sizeof fam);
        CHECK(bnfloss_row_merge(FAM_N, fam.state, fam.other, &fam.result)
              == BNFLOSS_E_STATE && fam.result.where == at, "sums differ");
        before.result.where = at;
        CHECK(memcmp(&before, &fam, sizeof fam) == 0, "merged none the less");
        fam_restore();
    }
    edge("E235");
    fam.state[8].flags &= ~(uint32_t)BNFLOSS_ROW_SQUARES;
    fam.out.log_square = fam.log_square;
    fam.log_square[0] = 7;
    CHECK(bnfloss_row_outputs(FAM_N, fam.state, &fam.out, &fam.result)
          == BNFLOSS_E_STATE && fam.result.where == 8
          && fam.log_square[0] == 7, "no squares");
}

/* A layout from a newer header, as large as one may be. */
static void largest_struct(void)
{
    static union { bnfloss_layout layout; unsigned char bytes[4096]; } large;

    large.layout.struct_size = 4096;
    CHECK(bnfloss_forward(&large.layout, NULL, NULL, 0, 0, NULL, NULL, NULL)
          == BNFLOSS_OK, "a struct of 4096 bytes");
}

/* The ends of what scale, softcap and z-loss may be. */
static void ends_of_layout(void)
{
    static const float fine[][3] = {    /* softcap, logit_scale, z_loss */
        { 0x1p-127f, 0, 0 }, { 0x1p-126f, 0x1.fffffep1f, 0 }, { 65536, 0, 0 },
        { 65536, 0x1p-110f, 0 }, { 0, 0, FLT_MAX }
    };
    fix_args a;

    for (int i = 0; i < 5; i++) {
        fix_make(&a, BNFLOSS_SFT, 0, 0, 0);
        a.layout->softcap = fine[i][0];
        a.layout->logit_scale = fine[i][1];
        a.layout->z_loss = fine[i][2];
        CHECK(fix_forward(&a) == BNFLOSS_OK, "softcap %a, scale %a, z-loss %a",
              (double)fine[i][0], (double)fine[i][1], (double)fine[i][2]);
    }
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
                touching(&w);
                two_entries(&w);
            }
        }
    }
    for (uint32_t kind = 1; kind <= BN_KINDS; kind++) {
        fam_make_sound(kind, 0);
        fam_taken("the sound batch", FAM_ALL);
        deferred(kind);
        fam_restore();
        given_inputs(kind);
        log_squares(kind);
        bad_numbers(kind);
        sides(kind);
        overlaps(kind, 0);
        overlaps(kind, 1);
    }
    mismatches();
    neighbours();
    results_in_buffers();
    later_rows();
    single_rows();
    row_sums();
    largest_struct();
    ends_of_layout();
    errors_elsewhere();
    edges_end("test_errors");
    return test_end();
}
