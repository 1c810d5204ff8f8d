"""The structs for ctypes; test_python.py holds them against the header."""
import ctypes as c

f32p, f64p = c.POINTER(c.c_float), c.POINTER(c.c_double)
i32p, i64p = c.POINTER(c.c_int32), c.POINTER(c.c_int64)


def struct(name, *groups):
    """groups: (type, "names")."""
    fields = [(n, t) for t, names in groups for n in names.split()]
    return type(name, (c.Structure,), {"_fields_": fields})


Layout = struct(
    "bnfloss_layout",
    (c.c_uint32, "struct_size logits_type grad_type label_type flags"),
    (c.c_float, "logit_scale softcap label_smoothing z_loss"),
    (c.c_uint32, "reserved"),
    (c.c_int64, "rows vocab logits_stride grad_stride grad_cols vocab_begin"
                " vocab_total"))
Spec = struct(
    "bnfloss_spec",
    (c.c_uint32, "struct_size kind token_norm divisor flags also"),
    (c.c_double, "weight divisor_value loss_scale"),
    (c.c_float, "beta flip_prob eps gamma alpha penalty tau tau_max rho cap"
                " desirable_weight undesirable_weight sft_weight"),
    (c.c_uint32, "sft_norm"), (c.c_float, "ld_alpha"),
    (c.c_uint32, "f_divergence"), (c.c_float, "f_alpha"),
    (c.c_uint32, "reserved"))
Inputs = struct(
    "bnfloss_inputs",
    (c.c_uint32, "struct_size pairing"), (c.c_int64, "sequences"),
    (i64p, "seq_start"), (c.POINTER(c.c_int8), "side"),
    (f32p, "ref_logp row_weight seq_weight pair_weight pair_scale pair_margin"
           " soft_label distance"),
    (c.POINTER(c.c_uint8), "row_mask"), (f32p, "log_square"),
    (f64p, "mismatched"), (c.c_int64, "mismatches"),
    (c.c_double, "kl shift_mean shift_count"))
Row = struct(
    "bnfloss_row",
    (c.c_double, "leader sum dot label shift finite"),
    (c.c_int64, "leader_id label_id"), (c.c_float, "label_smoothing z_loss"),
    (c.c_uint32, "flags reserved"), (c.c_double, "square"))
Outputs = struct(
    "bnfloss_outputs",
    (c.c_uint32, "struct_size reserved"),
    (f32p, "logp rest entropy log_square"), (i32p, "argmax"),
    (f32p, "dlogp row_loss row_scale"),
    (f64p, "seq_logp seq_ratio seq_loss"), (f32p, "distance_grad"),
    (f64p, "spec_loss"))
Result = struct(
    "bnfloss_result",
    (c.c_uint32, "struct_size reserved"), (c.c_int64, "where"),
    (c.c_double, "loss divisor"),
    (c.c_int64, "tokens sequences pairs empty_sequences skipped_pairs nan_rows"
                " nan_pairs clamped_logps zero_refs"),
    (c.c_double, "rewards_chosen rewards_rejected rewards_margins"
                 " rewards_accuracies logps_chosen logps_rejected"
                 " logps_mean_chosen logps_mean_rejected logits_chosen"
                 " logits_rejected entropy token_accuracy z_loss sft_loss"
                 " bnf_coefficient bnf_full_share kl shift shift_count"))
Shifts = struct(
    "bnfloss_shifts",
    (c.c_uint32, "struct_size reserved"), (c.c_int64, "where"),
    (c.c_double, "logp_chosen logp_rejected logit_chosen logit_rejected"
                 " centred_chosen centred_rejected logp_gini_chosen"
                 " logp_gini_rejected logit_gini_chosen logit_gini_rejected"))


def sized(kind, **values):
    return kind(struct_size=c.sizeof(kind), **values)
